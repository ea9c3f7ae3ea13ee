// What the files here offer to each other. Python calls them by the same names (model/native/library.py).
#pragma once
#include "matrix.h"
#include "pool.h"

// out [n, rows] = x [n, cols] times w transposed, rounded; where `residual` is not NULL, it is added to that and the sum
// rounded again, as two operations would. It may be `out` itself.
EXPORT void longleaf_linear(const matrix *w, const void *x, int x_bf16, int64_t n, const void *residual, void *out,
                            int out_bf16, int threads);

// Whether that is the way for many rows, too: by tiles. Otherwise it is meant for some thirty of them.
EXPORT int longleaf_takes_many(const matrix *w, int x_bf16);
enum { FEW_ROWS = 32 };  // as in model/native/__init__.py

// The same without residual, out [n, rows] in float32; best [n]: in which column each row is largest, the first of equals.
EXPORT void longleaf_head(const matrix *w, const void *x, int x_bf16, int64_t n, float *out, int64_t *best, int threads);

// out [n, cols] = rows `ids` of the matrix; a dense one has the dtype of `out`.
EXPORT void longleaf_take(const matrix *w, const int64_t *ids, int64_t n, void *out, int out_bf16, int threads);

// out [n, width] = x / sqrt(mean(x^2) + eps) * weight, row by row; where `added` is not NULL, x += added first.
EXPORT void longleaf_norm(void *x, const void *added, const void *weight, float eps, int64_t n, int64_t width, int is_bf16,
                          void *out, int threads);

// out [n, width] = silu(x[:, :width]) * x[:, width:].
EXPORT void longleaf_gate(const void *x, int64_t n, int64_t width, int is_bf16, void *out, int threads);

// qkv [n, heads + 2 kv_heads, dim]: queries rotated to `queries` [n, heads, dim]; keys rotated, and values as they are, to
// the rows `slots` of `keys` and `values` [slots, kv_heads, dim]. `table` [n, dim / 2] complex.
EXPORT void longleaf_rotate(const void *qkv, const float *table, const int64_t *slots, int64_t n, int64_t heads,
                            int64_t kv_heads, int64_t dim, int is_bf16, void *queries, void *keys, void *values,
                            int threads);

typedef struct {
    const void *queries, *keys, *values;
    void *out;
    float *lse;               // [heads, n], or NULL
    const int64_t *segments;  // [][4]: first row, start, count, offset in `table`
    const int64_t *table;     // block ids
    int64_t n, segment_count, heads, kv_heads, dim, block_size;
    int64_t query_stride, key_stride;  // numbers from one query, or key, to the next
    int64_t is_bf16, is_causal;        // not causal: a row sees the whole segment
} attention;
EXPORT void longleaf_attend(const attention *a, int threads);
