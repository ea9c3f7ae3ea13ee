// Packed weights back to rows of floats: whole matrices for products of many rows, single rows for embeddings.
#include "kernels.h"

typedef struct {
    const matrix *w;
    const int64_t *ids;
    void *out;
    int out_bf16;
} job;

// 16 columns of 16 rows from buffer [column][row] to out, row by row.
static void put_square(const job *j, const float *buffer, int64_t row, int64_t column, int rows) {
    const int64_t cols = j->w->cols;
#if defined(__AVX512F__)
    __m512i in[16], turned[16];
    for (int i = 0; i < 16; i++) in[i] = _mm512_loadu_si512(buffer + 16 * i);
    transpose16(turned, in);
    for (int r = 0; r < rows; r++) {
        int64_t at = (row + r) * cols + column;
        if (j->out_bf16) store_bf16((bf16 *)j->out + at, (vf)turned[r]);
        else store((float *)j->out + at, (vf)turned[r]);
    }
#else
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 16; c++) {
            int64_t at = (row + r) * cols + column + c;
            if (j->out_bf16) ((bf16 *)j->out)[at] = narrow(buffer[16 * c + r]);
            else ((float *)j->out)[at] = buffer[16 * c + r];
        }
#endif
}

INLINE void unpack_tile(const int format, const job *j, int64_t tile) {
    const matrix *w = j->w;
    const int size = group_size(format), words = group_words(format), per_word = size / words;
    int rows = w->rows - tile * TILE < TILE ? (int)(w->rows - tile * TILE) : TILE;
    float buffer[32 * TILE] __attribute__((aligned(64)));
    for (int64_t g = 0; g < w->cols / size; g++) {
        for (int lane = 0; lane < TILE; lane += LANES) {
            vf scale, minimum = splat(0);
            group_scales(format, w, tile, g, lane, &scale, &minimum);
            for (int i = 0; i < words; i++) {
                vu word = load_words(group_codes(format, w, tile, g, lane) + i * TILE);
                for (int c = 0; c < per_word; c++)
                    store(buffer + (i * per_word + c) * TILE + lane, scale * code_float(format, word, c) + minimum);
            }
        }
        for (int c = 0; c < size; c += 16) put_square(j, buffer + c * TILE, tile * TILE, g * size + c, rows);
    }
}

static void unpack_task(void *context, int64_t tile) {
    const job *j = context;
    switch (j->w->format) {
    case Q4: unpack_tile(Q4, j, tile); break;
    case Q4_K: unpack_tile(Q4_K, j, tile); break;
    case Q8: unpack_tile(Q8, j, tile); break;
    default: unpack_tile(Q6_K, j, tile);
    }
}

// out [rows, cols] = the matrix.
EXPORT void longleaf_unpack(const matrix *w, void *out, int out_bf16, int threads) {
    job j = {.w = w, .out = out, .out_bf16 = out_bf16};
    pool_run(threads, (w->rows + TILE - 1) / TILE, unpack_task, &j);
}

static void take_task(void *context, int64_t index) {
    const job *j = context;
    const matrix *w = j->w;
    const int format = (int)w->format, size = group_size(format), words = group_words(format), per_word = size / words;
    const int64_t tile = j->ids[index] / TILE;
    const int within = (int)(j->ids[index] % TILE), lane = within / LANES * LANES;
    for (int64_t g = 0; g < w->cols / size; g++) {
        vf scale, minimum = splat(0);
        group_scales(format, w, tile, g, lane, &scale, &minimum);
        float values[32];
        for (int c = 0; c < size; c++) {
            uint32_t word = group_codes(format, w, tile, g, within)[c / per_word * TILE];
            values[c] = code_alone(format, word, c % per_word);
        }
        for (int c = 0; c < size; c += LANES) {
            vf v = splat(scale[within - lane]) * load(values + c) + splat(minimum[within - lane]);
            int64_t at = index * w->cols + g * size + c;
            if (j->out_bf16) store_bf16((bf16 *)j->out + at, v);
            else store((float *)j->out + at, v);
        }
    }
}

void longleaf_take(const matrix *w, const int64_t *ids, int64_t n, void *out, int out_bf16, int threads) {
    if (w->format == DENSE_BF16 || w->format == DENSE_F32) {
        const size_t row = (size_t)w->cols * (out_bf16 ? 2 : 4);
        for (int64_t i = 0; i < n; i++) memcpy((char *)out + i * row, (const char *)w->codes + ids[i] * row, row);
        return;
    }
    job j = {.w = w, .ids = ids, .out = out, .out_bf16 = out_bf16};
    pool_run(n < 8 ? 1 : threads, n, take_task, &j);
}
