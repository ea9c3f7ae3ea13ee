// Products of a few rows with a weight matrix that is read once. Every output is added up in one fixed order, so that a
// row's result does not depend on how many rows or threads there are.
#include "linear.h"
#include "tiles.h"

// R rows of x from `row` on times T tiles from `tile` on, LANES of their rows from `lane` on.
INLINE void packed_block(const int format, const int dot, const int R, const int T, const job *j, int64_t tile, int lane,
                         int64_t row) {
    (void)dot;
    const matrix *w = j->w;
    const int64_t cols = w->cols, groups = cols / group_size(format);
    const int words = group_words(format), per_word = group_size(format) / words;
    vf total[4][8];
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int r = 0; r < R; r++) total[t][r] = splat(0);
    for (int64_t g = 0; g < groups; g++) {
        vf part[4][8];
        UNROLL for (int t = 0; t < T; t++)
            UNROLL for (int r = 0; r < R; r++) part[t][r] = splat(0);
        for (int i = 0; i < words; i++) {
            const int64_t column = g * group_size(format) + i * per_word;
            UNROLL for (int t = 0; t < T; t++) {
                vu word = load_words(group_codes(format, w, tile + t, g, lane) + i * TILE);
#if HAS_DOT
                if (dot) {
                    UNROLL for (int p = 0; p < per_word / 2; p++) {
                        __m512bh pairs = code_pairs(format, (__m512i)word, p);
                        UNROLL for (int r = 0; r < R; r++) {
                            int32_t x;
                            memcpy(&x, (const bf16 *)j->x + (row + r) * cols + column + 2 * p, 4);
                            part[t][r] = (vf)_mm512_dpbf16_ps((__m512)part[t][r], pairs, (__m512bh)_mm512_set1_epi32(x));
                        }
                    }
                    continue;
                }
#endif
                UNROLL for (int c = 0; c < per_word; c++) {
                    vf code = code_float(format, word, c);
                    UNROLL for (int r = 0; r < R; r++)
                        part[t][r] += code * splat(((const float *)j->x)[(row + r) * cols + column + c]);
                }
            }
        }
        UNROLL for (int t = 0; t < T; t++) {
            vf scale, minimum = splat(0);
            group_scales(format, w, tile + t, g, lane, &scale, &minimum);
            UNROLL for (int r = 0; r < R; r++) {
                total[t][r] += scale * part[t][r];
                if (has_minimum(format)) total[t][r] += minimum * splat(j->sums[(row + r) * groups + g]);
            }
        }
    }
    UNROLL for (int t = 0; t < T; t++) {
        int64_t first = (tile + t) * TILE + lane;
        int count = w->rows - first < LANES ? (int)(w->rows - first) : LANES;
        UNROLL for (int r = 0; r < R; r++) put(j, row + r, first, count, total[t][r]);
    }
}

// The registers hold R x T sums twice; with one row, several tiles hide the latency of the additions.
#define MOST_ROWS (LANES == 16 ? 8 : 4)
INLINE void packed_rows(const int format, const int dot, const int R, const int T, const job *j, int64_t first,
                        int64_t last, int64_t row) {
    for (int lane = 0; lane < TILE; lane += LANES) {
        int64_t tile = first;
        for (; tile + T <= last; tile += T) packed_block(format, dot, R, T, j, tile, lane, row);
        for (; tile < last; tile++) packed_block(format, dot, R, 1, j, tile, lane, row);
    }
}

INLINE void packed_tiles(const int format, const int dot, const job *j, int64_t index) {
    int64_t tiles = (j->w->rows + TILE - 1) / TILE;
    int64_t first = index * j->block, last = first + j->block < tiles ? first + j->block : tiles;
    for (int64_t row = 0; row < j->n;) {
        int64_t left = j->n - row;
        if (left >= 8 && MOST_ROWS >= 8) packed_rows(format, dot, 8, 1, j, first, last, row), row += 8;
        else if (left >= 6 && MOST_ROWS >= 8) packed_rows(format, dot, 6, 1, j, first, last, row), row += 6;
        else if (left >= 4) packed_rows(format, dot, 4, 2, j, first, last, row), row += 4;
        else if (left == 3) packed_rows(format, dot, 3, 2, j, first, last, row), row += 3;
        else if (left == 2) packed_rows(format, dot, 2, 4, j, first, last, row), row += 2;
        else packed_rows(format, dot, 1, 4, j, first, last, row), row += 1;
    }
}

#define TASK(name, format, dot) \
    static void name(void *j, int64_t index) { packed_tiles(format, dot, j, index); }
TASK(q4_float, Q4, 0)
TASK(q4k_float, Q4_K, 0)
TASK(q8_float, Q8, 0)
TASK(q6k_float, Q6_K, 0)
#if HAS_DOT
TASK(q4_dot, Q4, 1)
TASK(q4k_dot, Q4_K, 1)
TASK(q8_dot, Q8, 1)
TASK(q6k_dot, Q6_K, 1)
static const task packed_tasks[2][4] = {{q4_float, q4k_float, q8_float, q6k_float}, {q4_dot, q4k_dot, q8_dot, q6k_dot}};
#else
static const task packed_tasks[2][4] = {{q4_float, q4k_float, q8_float, q6k_float}};
#endif

// R rows of x times T rows of a dense matrix: lanes are columns, added up at the end.
INLINE void dense_block(const int wide, const int dot, const int R, const int T, const job *j, int64_t output, int64_t row) {
    const int64_t cols = j->w->cols;
    const char *weights = j->w->codes;
    vf total[4][8];
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int r = 0; r < R; r++) total[t][r] = splat(0);
    const int step = dot ? 2 * LANES : LANES;
    int64_t c = 0;
    for (; c + step <= cols; c += step) {
        UNROLL for (int t = 0; t < T; t++) {
            int64_t at = (output + t) * cols + c;
#if HAS_DOT
            if (dot) {
                __m512bh pairs = (__m512bh)_mm512_loadu_si512((const bf16 *)weights + at);
                UNROLL for (int r = 0; r < R; r++) {
                    __m512bh x = (__m512bh)_mm512_loadu_si512((const bf16 *)j->x + (row + r) * cols + c);
                    total[t][r] = (vf)_mm512_dpbf16_ps((__m512)total[t][r], pairs, x);
                }
                continue;
            }
#endif
            vf weight = wide ? load((const float *)weights + at) : load_bf16((const bf16 *)weights + at);
            UNROLL for (int r = 0; r < R; r++) total[t][r] += weight * load((const float *)j->x + (row + r) * cols + c);
        }
    }
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int r = 0; r < R; r++) {
            float sum = sum_lanes(total[t][r]);
            for (int64_t rest = c; rest < cols; rest++) {
                int64_t at = (output + t) * cols + rest, from = (row + r) * cols + rest;
                float weight = wide ? ((const float *)weights)[at] : widen(((const bf16 *)weights)[at]);
                sum += weight * (dot ? widen(((const bf16 *)j->x)[from]) : ((const float *)j->x)[from]);
            }
            put(j, row + r, output + t, 1, splat(sum));
        }
}

INLINE void dense_rows(const int wide, const int dot, const int R, const int T, const job *j, int64_t first, int64_t last,
                       int64_t row) {
    for (; first + T <= last; first += T) dense_block(wide, dot, R, T, j, first, row);
    for (; first < last; first++) dense_block(wide, dot, R, 1, j, first, row);
}

INLINE void dense_outputs(const int wide, const int dot, const job *j, int64_t index) {
    int64_t first = index * j->block, last = first + j->block < j->w->rows ? first + j->block : j->w->rows;
    for (int64_t row = 0; row < j->n;) {
        int64_t left = j->n - row;
        if (left >= 4) dense_rows(wide, dot, 4, LANES == 16 ? 4 : 2, j, first, last, row), row += 4;
        else if (left >= 2) dense_rows(wide, dot, 2, 4, j, first, last, row), row += 2;
        else dense_rows(wide, dot, 1, 4, j, first, last, row), row += 1;
    }
}

static void bf16_float(void *j, int64_t index) { dense_outputs(0, 0, j, index); }
static void f32_float(void *j, int64_t index) { dense_outputs(1, 0, j, index); }
#if HAS_DOT
static void bf16_dot(void *j, int64_t index) { dense_outputs(0, 1, j, index); }
#endif

// What the tasks of a product need beside its operands; gives the task and how many there are.
static task prepare(job *j, int threads, int64_t *count) {
    const matrix *w = j->w;
    const int dense = w->format == DENSE_BF16 || w->format == DENSE_F32;
    const int dot = HAS_DOT && j->x_bf16 && w->format != DENSE_F32;
    if (j->x_bf16 && !dot) {
        float *wide = scratch(SCRATCH_ROWS, (size_t)(j->n * w->cols) * 4);
        for (int64_t i = 0; i < j->n * w->cols; i++) wide[i] = widen(((const bf16 *)j->x)[i]);
        j->x = wide;
    }
    if (!dense && has_minimum((int)w->format)) {
        int64_t groups = w->cols / 32;
        float *sums = scratch(SCRATCH_SUMS, (size_t)(j->n * groups) * 4);
        for (int64_t i = 0; i < j->n * groups; i++) {
            vf sum = splat(0);
            for (int c = 0; c < 32; c += LANES)
                sum += dot ? load_bf16((const bf16 *)j->x + 32 * i + c) : load((const float *)j->x + 32 * i + c);
            sums[i] = sum_lanes(sum);
        }
        j->sums = sums;
    }
    int64_t units = dense ? w->rows : (w->rows + TILE - 1) / TILE, grain = dense ? 16 : 4;
    // Small tasks even out a thread that is held up; each still reads some ten kilobytes.
    int64_t block = units / (threads * 8) / grain * grain, bytes = w->cols * (dense ? 2 : TILE / 2);
    while (block < grain || (block * bytes < 8192 && block < units)) block += grain;
    j->block = block;
    *count = (units + block - 1) / block;
    if (!dense) return packed_tasks[dot][w->format];
    if (w->format == DENSE_F32) return f32_float;
#if HAS_DOT
    if (dot) return bf16_dot;
#endif
    return bf16_float;
}

// Width of a task: columns of the product. By tiles where the rows are many and that can be.
static task choose_task(job *j, int threads, int64_t *count, int64_t *width) {
#if HAS_TILES
    if (j->n > FEW_ROWS && longleaf_takes_many(j->w, j->x_bf16)) {
        *width = STRIP;
        return prepare_tiles(j, count);
    }
#endif
    task run = prepare(j, threads, count);
    *width = j->block * (j->w->format == DENSE_BF16 || j->w->format == DENSE_F32 ? 1 : TILE);
    return run;
}

void longleaf_linear(const matrix *w, const void *x, int x_bf16, int64_t n, const void *residual, void *out, int out_bf16,
                     int threads) {
    job j = {.w = w, .x = x, .residual = residual, .out = out, .n = n, .x_bf16 = x_bf16, .out_bf16 = out_bf16};
    int64_t count, width;
    task run = choose_task(&j, threads, &count, &width);
    pool_run(threads, count, run, &j);
}

typedef struct {
    job product;
    task run;
    int64_t width;  // columns of one task
    float *most;    // [tasks, n]
    int64_t *best;  // [tasks, n]
} head_job;

// The columns that a task has written are in this core's cache; afterwards half of them lie in another's.
static void head_task(void *context, int64_t index) {
    head_job *h = context;
    const int64_t rows = h->product.w->rows, from = index * h->width, end = from + h->width < rows ? from + h->width : rows;
    h->run(&h->product, index);
    for (int64_t row = 0; row < h->product.n; row++) {
        const float *x = (const float *)h->product.out + row * rows;
        vf largest = splat(x[from]);
        int64_t i = from, at = from;
        for (; i + LANES <= end; i += LANES) largest = vmax(load(x + i), largest);
        float most = max_lanes(largest);
        for (; i < end; i++) most = x[i] > most ? x[i] : most;
        while (at < end - 1 && x[at] != most) at++;
        h->most[index * h->product.n + row] = most, h->best[index * h->product.n + row] = at;
    }
}

void longleaf_head(const matrix *w, const void *x, int x_bf16, int64_t n, float *out, int64_t *best, int threads) {
    head_job h = {.product = {.w = w, .x = x, .out = out, .n = n, .x_bf16 = x_bf16}};
    int64_t count;
    h.run = choose_task(&h.product, threads, &count, &h.width);
    h.best = scratch(SCRATCH_PARTS, (size_t)(count * n) * (sizeof *h.best + sizeof *h.most));
    h.most = (float *)(h.best + count * n);
    pool_run(threads, count, head_task, &h);
    for (int64_t row = 0; row < n; row++) {
        int64_t first = 0;
        for (int64_t task = 1; task < count; task++)
            if (h.most[task * n + row] > h.most[first * n + row]) first = task;
        best[row] = h.best[first * n + row];
    }
}
