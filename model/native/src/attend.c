// Causal attention over paged keys with the scores never in memory (Dao 2022), for one query or thousands.
//
// Keys are taken BLOCK at a time on an absolute grid; what a block gives is merged into its SPLIT, and the splits into the
// whole, always in order (Milakov & Gimelshein 2018). So a row's result depends on its own keys alone, not on what else is
// computed, on how the work is cut, or on the threads.
#include "pool.h"
#include "simd.h"

#include <math.h>

enum { BLOCK = 256, SPLIT = 512, ROWS = 6, FEW = 32, TILE_ROWS = 192 };
// Key vectors (or value vectors) that are multiplied at once: with ROWS rows they fill the registers.
#define WIDE (LANES == 8 ? 2 : 4)

typedef struct {
    const void *queries, *keys, *values;
    void *out;
    float *lse;               // [heads, n], or NULL
    const int64_t *segments;  // [][4]: first row, start, count, offset in `table`
    const int64_t *table;     // block ids
    int64_t n, segment_count, heads, kv_heads, dim, block_size, query_stride;
    int64_t is_bf16;
} attention;

typedef struct {
    int64_t segment, head, query, count;  // queries of the segment
    int64_t split;                        // only this one, its result to `part`; all of them where it is -1
    float *part;
} piece;

typedef struct {
    const attention *a;
    const piece *pieces;
} job;

typedef struct {
    float *o, *m, *l;  // [rows, padded dim], [rows], [rows]: sum of exp2(s - m) v, largest s, sum of exp2(s - m)
} state;

static int64_t padded(int64_t dim) { return (dim + LANES - 1) / LANES * LANES; }
static int64_t state_size(const attention *a, int64_t rows) { return rows * (padded(a->dim) + 2); }
static state state_at(const attention *a, float *memory, int64_t rows) {
    float *m = memory + rows * padded(a->dim);
    return (state){memory, m, m + rows};
}
static void clear(const attention *a, state s, int64_t rows) {
    memset(s.o, 0, (size_t)(rows * padded(a->dim)) * 4);
    for (int64_t r = 0; r < rows; r++) s.m[r] = -INFINITY, s.l[r] = 0;
}

INLINE float exp2_one(float x) { return exp2_negative(splat(x))[0]; }

// Joins what `from` knows about row `r` into row `r` of `to`.
static void merge_row(const attention *a, state to, state from, int64_t r) {
    if (from.l[r] == 0) return;
    float m = to.m[r] > from.m[r] ? to.m[r] : from.m[r];
    float old = exp2_one(to.m[r] - m), new = exp2_one(from.m[r] - m);
    to.m[r] = m, to.l[r] = to.l[r] * old + from.l[r] * new;
    int64_t width = padded(a->dim);
    for (int64_t i = 0; i < width; i += LANES) {
        vf sum = load(to.o + r * width + i) * splat(old) + load(from.o + r * width + i) * splat(new);
        store(to.o + r * width + i, sum);
    }
}

// The registers of one block: pairs of bfloat16 where the processor multiplies them (`dot`), floats elsewhere.
typedef struct {
    uint32_t *keys;    // [key / LANES][depth][LANES]
    uint32_t *values;  // dot: [key / 2][padded dim], a pair of keys in each word; else [key][padded dim]
    uint32_t *rows;    // queries [rows / ROWS][depth][ROWS]
    int64_t depth;     // words of a key: dim / 2 or dim
} panel;

static const char *token(const attention *a, const void *pool, const int64_t *table, int64_t position, int64_t head) {
    int64_t slot = table[position / a->block_size] * a->block_size + position % a->block_size;
    return (const char *)pool + (slot * a->kv_heads + head) * a->dim * (a->is_bf16 ? 2 : 4);
}

static void pack_keys(const attention *a, const int dot, panel p, const int64_t *table, int64_t head, int64_t first, int count) {
    for (int k = 0; k < count; k += LANES) {
        uint32_t *to = p.keys + k * p.depth;
        const char *rows[LANES];
        for (int i = 0; i < LANES; i++) rows[i] = k + i < count ? token(a, a->keys, table, first + k + i, head) : NULL;
        int64_t w = 0;
#if defined(__AVX512F__)
        for (; w + 16 <= p.depth; w += 16) {
            __m512i in[16], turned[16];
            for (int i = 0; i < 16; i++) {
                in[i] = _mm512_setzero_si512();
                if (rows[i] && (dot || !a->is_bf16)) in[i] = _mm512_loadu_si512(rows[i] + 4 * w);
                else if (rows[i]) in[i] = (__m512i)load_bf16((const bf16 *)rows[i] + w);
            }
            transpose16(turned, in);
            for (int i = 0; i < 16; i++) _mm512_store_si512(to + (w + i) * 16, turned[i]);
        }
#endif
        for (; w < p.depth; w++)
            for (int i = 0; i < LANES; i++) {
                uint32_t word = 0;
                if (rows[i] && (dot || !a->is_bf16)) memcpy(&word, rows[i] + 4 * w, 4);
                else if (rows[i]) word = (uint32_t)((const bf16 *)rows[i])[w] << 16;
                to[w * LANES + i] = word;
            }
    }
}

static vf value_lanes(const attention *a, const char *row, int64_t i) {
    if (!row) return splat(0);
    if (i + LANES <= a->dim) return a->is_bf16 ? load_bf16((const bf16 *)row + i) : load((const float *)row + i);
    float values[LANES] = {0};
    for (int64_t c = i; c < a->dim; c++) values[c - i] = a->is_bf16 ? widen(((const bf16 *)row)[c]) : ((const float *)row)[c];
    return load(values);
}

static void pack_values(const attention *a, const int dot, panel p, const int64_t *table, int64_t head, int64_t first,
                        int count) {
    int64_t width = padded(a->dim);
    for (int k = 0; k < count; k += dot ? 2 : 1) {
        const char *row = token(a, a->values, table, first + k, head);
        if (!dot) {
            for (int64_t i = 0; i < width; i += LANES) store((float *)p.values + k * width + i, value_lanes(a, row, i));
            continue;
        }
        const char *next = k + 1 < count ? token(a, a->values, table, first + k + 1, head) : NULL;
        for (int64_t i = 0; i < width; i += LANES) {
            vu word = (vu)value_lanes(a, row, i) >> 16 | (vu)value_lanes(a, next, i);
            memcpy(p.values + k / 2 * width + i, &word, sizeof word);
        }
    }
}

INLINE vf multiply_add(const int dot, vf sum, vu a, uint32_t b) {
#if HAS_DOT
    if (dot) return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)b));
#endif
    (void)dot;
    float x;
    memcpy(&x, &b, 4);
    return sum + (vf)a * splat(x);
}

// scores[r][key] of C vectors of keys from `key` on, masked, times `scale`.
INLINE void score(const int dot, const int R, const int C, panel p, const uint32_t *rows, int key, const int *visible,
                  float scale, float *scores, vf *largest) {
    vf sum[ROWS][WIDE];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) sum[r][c] = splat(0);
    const uint32_t *keys = p.keys + key * p.depth;
    for (int64_t w = 0; w < p.depth; w++) {
        vu k[WIDE];
        UNROLL for (int c = 0; c < C; c++) k[c] = load_words(keys + (c * p.depth + w) * LANES);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int c = 0; c < C; c++) sum[r][c] = multiply_add(dot, sum[r][c], k[c], rows[w * ROWS + r]);
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) {
            int from = key + c * LANES;
            vf s = sum[r][c] * splat(scale);
            if (from + LANES > visible[r]) s = choose(lane_numbers() + from < visible[r] - (vi){0}, s, splat(-INFINITY));
            store(scores + r * BLOCK + from, s);
            largest[r] = vmax(largest[r], s);
        }
}

// out[r] = C vectors, from `column` on, of the weighted sum of values.
INLINE void mix(const int dot, const int R, const int C, panel p, int64_t width, int64_t column, int steps,
                const uint32_t *weights, float *out) {
    vf sum[ROWS][WIDE];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) sum[r][c] = splat(0);
    for (int k = 0; k < steps; k++) {
        vu v[WIDE];
        UNROLL for (int c = 0; c < C; c++) v[c] = load_words(p.values + k * width + column + c * LANES);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int c = 0; c < C; c++) sum[r][c] = multiply_add(dot, sum[r][c], v[c], weights[r * BLOCK + k]);
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) store(out + r * width + column + c * LANES, sum[r][c]);
}

// R rows over one block, merged into `s` from row `row` on. visible[r]: how many of the block's keys row r sees.
INLINE void attend_rows(const int dot, const int R, const attention *a, panel p, const uint32_t *rows, const int *visible,
                        float scale, state s, int64_t row, float *own) {
    float scores[ROWS * BLOCK] __attribute__((aligned(64)));
    uint32_t weights[ROWS * BLOCK] __attribute__((aligned(64)));
    const int64_t width = padded(a->dim);
    int most = 0;
    UNROLL for (int r = 0; r < R; r++) most = visible[r] > most ? visible[r] : most;
    int end = (most + LANES - 1) / LANES * LANES, key = 0;
    vf largest[ROWS];
    UNROLL for (int r = 0; r < R; r++) largest[r] = splat(-INFINITY);
    for (; key + WIDE * LANES <= end; key += WIDE * LANES)
        score(dot, R, WIDE, p, rows, key, visible, scale, scores, largest);
    for (; key < end; key += LANES) score(dot, R, 1, p, rows, key, visible, scale, scores, largest);
    state block = state_at(a, own, R);
    UNROLL for (int r = 0; r < R; r++) {
        block.m[r] = max_lanes(largest[r]), block.l[r] = 0;
        vf sum = splat(0), m = splat(visible[r] > 0 ? block.m[r] : 0.0f);
        for (int k = 0; k < end; k += LANES) {
            vf e = exp2_negative(load(scores + r * BLOCK + k) - m);
            sum += e;
#if HAS_DOT
            if (dot) {
                _mm256_store_si256((__m256i *)((bf16 *)(weights + r * BLOCK) + k), (__m256i)_mm512_cvtneps_pbh((__m512)e));
                continue;
            }
#endif
            store((float *)weights + r * BLOCK + k, e);
        }
        if (visible[r] > 0) block.l[r] = sum_lanes(sum);
    }
    int steps = dot ? (most + 1) / 2 : most;
    int64_t column = 0;
    for (; column + WIDE * LANES <= width; column += WIDE * LANES)
        mix(dot, R, WIDE, p, width, column, steps, weights, block.o);
    for (; column < width; column += LANES) mix(dot, R, 1, p, width, column, steps, weights, block.o);
    UNROLL for (int r = 0; r < R; r++) {
        state from = {block.o + r * width, block.m + r, block.l + r};
        merge_row(a, (state){s.o + (row + r) * width, s.m + row + r, s.l + row + r}, from, 0);
    }
}

static void finish(const attention *a, const int64_t *segment, const piece *t, state s) {
    const int64_t group = a->heads / a->kv_heads, width = padded(a->dim);
    for (int64_t r = 0; r < t->count * group; r++) {
        int64_t n = segment[0] + t->query + r / group, head = t->head * group + r % group;
        int64_t at = (n * a->heads + head) * a->dim;
        for (int64_t i = 0; i < a->dim; i++) {
            float value = s.o[r * width + i] / s.l[r];
            if (a->is_bf16) ((bf16 *)a->out)[at + i] = narrow(value);
            else ((float *)a->out)[at + i] = value;
        }
        if (a->lse) a->lse[head * a->n + n] = (s.m[r] + log2f(s.l[r])) * 0.6931471805599453f;
    }
}

INLINE void run_piece(const int dot, const attention *a, const piece *t) {
    const int64_t *segment = a->segments + 4 * t->segment, *table = a->table + segment[3];
    const int64_t group = a->heads / a->kv_heads, rows = t->count * group, first = segment[1] + t->query;
    const int64_t end = first + t->count, width = padded(a->dim), size = state_size(a, rows);
    panel p = {.depth = dot ? a->dim / 2 : a->dim};
    p.keys = scratch(SCRATCH_ROWS, (size_t)(BLOCK * (p.depth + width) + (rows + ROWS) * p.depth) * 4);
    p.values = p.keys + BLOCK * p.depth;
    p.rows = p.values + BLOCK * width;
    float *memory = scratch(SCRATCH_TILE, (size_t)(2 * size + state_size(a, ROWS)) * 4);
    state part = state_at(a, t->part ? t->part : memory, rows), whole = state_at(a, memory + size, rows);
    const float scale = 1.4426950408889634f / sqrtf((float)a->dim);

    for (int64_t r = 0; r < rows; r++) {
        int64_t at = (segment[0] + t->query + r / group) * a->query_stride + (t->head * group + r % group) * a->dim;
        uint32_t *to = p.rows + r / ROWS * ROWS * p.depth + r % ROWS;
        for (int64_t w = 0; w < p.depth; w++) {
            if (dot) memcpy(to + w * ROWS, (const bf16 *)a->queries + at + 2 * w, 4);
            else if (a->is_bf16) to[w * ROWS] = (uint32_t)((const bf16 *)a->queries)[at + w] << 16;
            else memcpy(to + w * ROWS, (const float *)a->queries + at + w, 4);
        }
    }
    if (!t->part) clear(a, whole, rows);
    int64_t from = t->part ? t->split * SPLIT : 0;
    int64_t to = t->part && from + SPLIT < end ? from + SPLIT : end;
    for (int64_t split = from; split < to; split += SPLIT) {
        clear(a, part, rows);
        for (int64_t key = split; key < to && key < split + SPLIT; key += BLOCK) {
            int count = to - key < BLOCK ? (int)(to - key) : BLOCK;
            pack_keys(a, dot, p, table, t->head, key, count);
            pack_values(a, dot, p, table, t->head, key, count);
            for (int64_t r = 0; r < rows; r += ROWS) {
                int many = rows - r < ROWS ? (int)(rows - r) : ROWS, visible[ROWS], most = 0;
                for (int i = 0; i < many; i++) {
                    int64_t sees = first + (r + i) / group + 1 - key;
                    visible[i] = sees < 0 ? 0 : sees < count ? (int)sees : count;
                    most = visible[i] > most ? visible[i] : most;
                }
                if (!most) continue;
                const uint32_t *q = p.rows + r * p.depth;
                float *own = memory + 2 * size;
                switch (many) {
                case 1: attend_rows(dot, 1, a, p, q, visible, scale, part, r, own); break;
                case 2: attend_rows(dot, 2, a, p, q, visible, scale, part, r, own); break;
                case 3: attend_rows(dot, 3, a, p, q, visible, scale, part, r, own); break;
                case 4: attend_rows(dot, 4, a, p, q, visible, scale, part, r, own); break;
                case 5: attend_rows(dot, 5, a, p, q, visible, scale, part, r, own); break;
                default: attend_rows(dot, 6, a, p, q, visible, scale, part, r, own);
                }
            }
        }
        if (!t->part)
            for (int64_t r = 0; r < rows; r++) merge_row(a, whole, part, r);
    }
    if (!t->part) finish(a, segment, t, whole);
}

static void run_task(void *context, int64_t index) {
    const job *j = context;
#if HAS_DOT
    if (j->a->is_bf16 && j->a->dim % 2 == 0) {
        run_piece(1, j->a, j->pieces + index);
        return;
    }
#endif
    run_piece(0, j->a, j->pieces + index);
}

EXPORT void longleaf_attend(const attention *a, int threads) {
    const int64_t group = a->heads / a->kv_heads;
    int64_t pieces = 0, part_size = 0;
    int64_t tile = TILE_ROWS / group > 8 ? TILE_ROWS / group : 8;
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        int64_t splits = (segment[1] + segment[2] + SPLIT - 1) / SPLIT;
        if (segment[2] > FEW) pieces += (segment[2] + tile - 1) / tile * a->kv_heads;
        else {
            pieces += splits * a->kv_heads;
            if (splits > 1) part_size += splits * a->kv_heads * state_size(a, segment[2] * group);
        }
    }
    piece *list = scratch(SCRATCH_SUMS, (size_t)pieces * sizeof *list);
    float *part = scratch(SCRATCH_PARTS, (size_t)part_size * 4 + 64);
    int64_t count = 0;
    // The latest queries see the most keys: their tiles go first, so that no thread ends with a long one.
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        if (segment[2] <= FEW) continue;
        for (int64_t t = (segment[2] - 1) / tile; t >= 0; t--)
            for (int64_t h = 0; h < a->kv_heads; h++) {
                int64_t rest = segment[2] - t * tile;
                list[count++] = (piece){s, h, t * tile, rest < tile ? rest : tile, -1, NULL};
            }
    }
    int64_t few = count;
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        if (segment[2] > FEW) continue;
        int64_t splits = (segment[1] + segment[2] + SPLIT - 1) / SPLIT;
        for (int64_t h = 0; h < a->kv_heads; h++)
            for (int64_t k = 0; k < splits; k++) {
                list[count++] = (piece){s, h, 0, segment[2], k, splits > 1 ? part : NULL};
                if (splits > 1) part += state_size(a, segment[2] * group);
            }
    }
    job j = {a, list};
    pool_run(threads, count, run_task, &j);
    for (int64_t i = few; i < count; i++) {
        const int64_t *segment = a->segments + 4 * list[i].segment;
        int64_t rows = segment[2] * group;
        if (!list[i].part) continue;
        float *memory = scratch(SCRATCH_TILE, (size_t)state_size(a, rows) * 4);
        state whole = state_at(a, memory, rows);
        clear(a, whole, rows);
        piece t = list[i];
        for (; i < count && list[i].segment == t.segment && list[i].head == t.head; i++)
            for (int64_t r = 0; r < rows; r++) merge_row(a, whole, state_at(a, list[i].part, rows), r);
        i--;
        finish(a, segment, &t, whole);
    }
}
