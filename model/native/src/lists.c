// Sums over inverted lists: for each row, what the lists that hold it add to it, in whole units.
#include <math.h>
#include "simd.h"

enum { BLOCK = 256, LOOK_UP = 64 };

typedef struct {
    const int32_t *rows;          // of all lists, ascending within each
    const uint8_t *counts;        // beside them: how often a row is in the list
    const float *norm;            // [rows]: a count c is worth c / (norm + c)
    const int32_t *among;         // [width] the rows to be summed, ascending, or NULL for all
    const int32_t *place;         // [rows] where each of them is in `among`, -1 for the others; NULL with it
    const int64_t *first, *last;  // [lists] where in `rows` each list is
    const float *weights;         // [lines][lists] whole units
    int32_t *out;                 // [lines][width], a line `stride` after the one before
    int64_t lists, lines, width, stride, height;  // `height` is how many rows there are
    int64_t saturated;            // bit by line: whether weights are multiplied with what counts are worth
    int64_t more;                 // how many of these follow this one
} sums;

// Adds n postings of a list: their rows and counts, and where each belongs.
static void add(const sums *a, int64_t list, const int32_t *rows, const uint8_t *counts, const int32_t *at, int n) {
    float worth[BLOCK];
    int32_t units[BLOCK];
    if (a->saturated)
        for (int i = 0; i < n; i++) {
            float count = counts[i];
            worth[i] = count / (a->norm[rows[i]] + count);
        }
    for (int64_t line = 0; line < a->lines; line++) {
        float weight = a->weights[line * a->lists + list];
        int32_t *out = a->out + line * a->stride;
        if (weight == 0) continue;
        if (a->saturated >> line & 1) {
            for (int i = 0; i < n; i++) units[i] = (int32_t)rintf(worth[i] * weight);
            for (int i = 0; i < n; i++) out[at[i]] += units[i];
        } else {
            for (int i = 0; i < n; i++) out[at[i]] += (int32_t)weight;
        }
    }
}

typedef struct {
    int32_t rows[BLOCK], at[BLOCK];
    uint8_t counts[BLOCK];
    int n;
} chosen;

static void flush(const sums *a, int64_t list, chosen *c) {
    add(a, list, c->rows, c->counts, c->at, c->n);
    c->n = 0;
}

// Appends posting i of a list, whose row is the one at `at` of `among`.
INLINE void keep(const sums *a, int64_t list, chosen *c, int64_t i, int32_t at) {
    c->rows[c->n] = a->rows[i];
    c->counts[c->n] = a->counts[i];
    c->at[c->n++] = at;
    if (c->n == BLOCK) flush(a, list, c);
}

// Each posting of a list is looked up in `place`.
static void scan(const sums *a, int64_t list) {
    chosen c = {.n = 0};
    int64_t i = a->first[list], last = a->last[list];
#if defined(__AVX512F__)
    for (; i + 16 <= last; i += 16) {
        __m512i at = _mm512_i32gather_epi32(_mm512_loadu_si512(a->rows + i), a->place, 4);
        for (unsigned here = _mm512_cmpge_epi32_mask(at, _mm512_setzero_si512()); here; here &= here - 1) {
            int64_t posting = i + __builtin_ctz(here);
            keep(a, list, &c, posting, a->place[a->rows[posting]]);
        }
    }
#endif
    for (; i < last; i++) {
        int32_t at = a->place[a->rows[i]];
        if (at >= 0) keep(a, list, &c, i, at);
    }
    flush(a, list, &c);
}

// The first posting of [at, last) whose row is not below `row`. Rows lie about evenly in a list, so the search begins
// where the row would be if they did, and goes on in steps that double.
INLINE int64_t find(const sums *a, int64_t first, int64_t at, int64_t last, int32_t row) {
    int64_t guess = first + (int64_t)((double)row / (double)a->height * (double)(last - first));
    int64_t low = at, high = last, step = 8;
    if (guess < at) guess = at;
    if (guess >= last) guess = last - 1;
    if (a->rows[guess] < row) {
        low = guess + 1;
        for (int64_t next = guess + step; next < last; next += step *= 2) {
            if (a->rows[next] >= row) {
                high = next;
                break;
            }
            low = next + 1;
        }
    } else {
        high = guess;
        for (int64_t next = guess - step; next >= at; next -= step *= 2) {
            if (a->rows[next] < row) {
                low = next + 1;
                break;
            }
            high = next;
        }
    }
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (a->rows[middle] < row) low = middle + 1;
        else high = middle;
    }
    return low;
}

// A list that is much longer than `among`: each row of that is looked for.
static void search(const sums *a, int64_t list) {
    chosen c = {.n = 0};
    int64_t first = a->first[list], at = first, last = a->last[list];
    for (int64_t i = 0; i < a->width && at < last; i++) {
        at = find(a, first, at, last, a->among[i]);
        if (at < last && a->rows[at] == a->among[i]) keep(a, list, &c, at, (int32_t)i);
    }
    flush(a, list, &c);
}

static void all(const sums *a) {
    for (int64_t list = 0; list < a->lists; list++) {
        int64_t first = a->first[list], size = a->last[list] - first;
        if (a->among == NULL)
            for (int64_t i = first; i < a->last[list]; i += BLOCK) {
                int n = a->last[list] - i < BLOCK ? (int)(a->last[list] - i) : BLOCK;
                add(a, list, a->rows + i, a->counts + i, a->rows + i, n);
            }
        else if (size > LOOK_UP * a->width) search(a, list);
        else if (size) scan(a, list);
    }
}

EXPORT void longleaf_lists(const sums *a) {
    for (;; a++) {
        if (a->width) all(a);
        if (!a->more) return;
    }
}
