// A product's operands, and where its sums go.
#pragma once
#include "kernels.h"

typedef struct {
    const matrix *w;
    const void *x;      // [n, cols], bfloat16 pairs or float
    const float *sums;  // [n, cols / 32] sums of x over the groups, for the minima
    const void *rest;   // the last rows of x and some of zeros, a tile together
    const void *residual;  // like out, or NULL; may be out itself
    void *out;          // [n, rows]
    int64_t n, block;   // rows of x; tiles or rows of w that are one task
    int x_bf16, out_bf16;
} job;

// LANES sums to their place in the product, which is rounded before the residual is added, as where these are two operations.
INLINE void put_lanes(const job *j, int64_t at, vf v) {
    if (j->out_bf16) {
        vf base = j->residual ? load_bf16((const bf16 *)j->residual + at) : v;
        store_bf16((bf16 *)j->out + at, v);
        if (j->residual) store_bf16((bf16 *)j->out + at, base + load_bf16((const bf16 *)j->out + at));
    } else store((float *)j->out + at, j->residual ? load((const float *)j->residual + at) + v : v);
}

// The same for `count` of them. Not inline: it ends hundreds of unrolled tiles, and compiling them took minutes.
static __attribute__((noinline)) void put(const job *j, int64_t row, int64_t column, int count, vf v) {
    const int64_t at = row * j->w->rows + column;
    if (count == LANES) {
        put_lanes(j, at, v);
        return;
    }
    float values[LANES];
    store(values, v);
    for (int i = 0; i < count; i++) {
        if (j->out_bf16) {
            bf16 value = narrow(values[i]), *out = (bf16 *)j->out + at + i;
            *out = j->residual ? narrow(widen(((const bf16 *)j->residual)[at + i]) + widen(value)) : value;
        } else ((float *)j->out)[at + i] = j->residual ? ((const float *)j->residual)[at + i] + values[i] : values[i];
    }
}

// What the tasks of a product by tiles need (linear_tiles.c), STRIP of its columns each; gives the task and how many there are.
enum { STRIP = 2 * TILE };
task prepare_tiles(job *j, int64_t *count);
