// What the files of the attention kernel share: the call, and the running sums of a row.
#pragma once
#include "kernels.h"
#include "simd.h"

#include <math.h>

// Keys are taken BLOCK at a time: with head_dim 64 their panels stay in the L1 cache while all rows pass over them.
// Rows are taken ROWS at a time, which with their sums fill the registers, or MOST_ROWS where there are tiles.
enum { BLOCK = 64, ROWS = 6, MOST_ROWS = 16 };
// Key vectors (or value vectors) that are multiplied at once: with ROWS rows they fill the registers.
#define WIDE (LANES == 8 ? 2 : 4)

// Of each row the sum of 2^(s - m) v, and behind it LANES partial sums of 2^(s - m): one memory, scaled together.
// m is the largest score s so far (as a power of two), -inf before the first key. The weight of the largest is then 1, which
// bfloat16 does not round: the error of the whole is a quarter less than with a bound that only has to be large enough.
typedef struct {
    float *sums;     // [rows][stride]
    float *largest;  // [rows]
    int64_t stride;
} state;

static inline int64_t padded(int64_t dim) { return (dim + LANES - 1) / LANES * LANES; }
// Tiles write whole ones: there is room for rows that do not exist.
static inline int64_t filled(int64_t rows) { return (rows + MOST_ROWS - 1) / MOST_ROWS * MOST_ROWS; }
static inline int64_t state_size(const attention *a, int64_t rows) { return filled(rows) * (padded(a->dim) + LANES + 1); }
static inline state state_at(const attention *a, float *memory, int64_t rows) {
    rows = filled(rows);
    int64_t stride = padded(a->dim) + LANES;
    return (state){memory, memory + rows * stride, stride};
}
static inline void clear(state s, int64_t rows) {
    memset(s.sums, 0, (size_t)(rows * s.stride) * 4);
    for (int64_t r = 0; r < rows; r++) s.largest[r] = -INFINITY;
}

static inline float exp2_one(float x) { return exp2_negative(splat(x))[0]; }

// Joins what row `r` of `from` knows into row `r` of `to`.
static inline void merge_row(state to, state from, int64_t r) {
    float m = to.largest[r] > from.largest[r] ? to.largest[r] : from.largest[r];
    if (m == -INFINITY) return;
    vf old = splat(exp2_one(to.largest[r] - m)), new = splat(exp2_one(from.largest[r] - m));
    float *into = to.sums + r * to.stride, *row = from.sums + r * to.stride;
    for (int64_t i = 0; i < to.stride; i += LANES) store(into + i, load(into + i) * old + load(row + i) * new);
    to.largest[r] = m;
}
