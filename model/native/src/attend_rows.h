// A few rows over one block: their scores, the weights of these, and the sum of values by the weights.
#pragma once
#include "attend_panel.h"

INLINE vf multiply_add(const int dot, vf sum, vu a, uint32_t b) {
#if HAS_DOT
    if (dot) return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)b));
#endif
    (void)dot;
    float x;
    memcpy(&x, &b, 4);
    return sum + (vf)a * splat(x);
}

// scores[r][key] of C vectors of keys from `key` on.
INLINE void score(const int dot, const int R, const int C, panel p, const uint32_t *rows, int key, float *scores) {
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
        UNROLL for (int c = 0; c < C; c++) store(scores + r * BLOCK + key + c * LANES, sum[r][c]);
}

// Makes `largest` what a row's weights are relative to.
INLINE void raise_to(float largest, float *row, int64_t stride, float *before) {
    vf factor = exp2_negative(splat(*before - largest));
    for (int64_t i = 0; i < stride; i += LANES) store(row + i, load(row + i) * factor);
    *before = largest;
}

// Turns one row's scores into weights 2^(s - m) and adds them to the partial sums at the row's end.
// `visible`: how many of the keys the row sees.
INLINE void weigh(const int dot, const float *scores, int visible, float scale, float *row, int64_t stride,
                  float *largest, uint32_t *weights) {
    enum { COUNT = BLOCK / LANES };
    vf s[COUNT], top;
    UNROLL for (int c = 0; c < COUNT; c++) s[c] = load(scores + c * LANES);
    if (visible < BLOCK) {
        if (visible <= 0) {
            memset(weights, 0, BLOCK * (dot ? 2 : 4));
            return;
        }
        // Finite, because the exponential wants it so.
        UNROLL for (int c = 0; c < COUNT; c++)
            s[c] = choose(lane_numbers() + c * LANES < visible - (vi){0}, s[c], splat(-1e30f));
    }
    top = s[0];
    UNROLL for (int c = 1; c < COUNT; c++) top = vmax(top, s[c]);
    top *= splat(scale);
    if (any_above(top, *largest)) raise_to(max_lanes(top), row, stride, largest);
    vf total = load(row + stride - LANES), m = splat(*largest);
    UNROLL for (int c = 0; c < COUNT; c++) {
        s[c] = exp2_negative_as(dot, s[c] * splat(scale) - m);
        total += s[c];
#if HAS_DOT
        if (dot) {
            if (c % 2 == 0) continue;
            __m512bh pair = _mm512_cvtne2ps_pbh((__m512)s[c], (__m512)s[c - 1]);
            _mm512_store_si512(weights + c / 2 * LANES, (__m512i)pair);
            continue;
        }
#endif
        store((float *)weights + c * LANES, s[c]);
    }
    store(row + stride - LANES, total);
}

// Adds to C vectors of each row's sums, from `column` on, the values times the weights.
INLINE void mix(const int dot, const int R, const int C, panel p, int64_t width, int64_t column, int steps,
                const uint32_t *weights, float *sums, int64_t stride) {
    vf sum[ROWS][WIDE];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) sum[r][c] = load(sums + r * stride + column + c * LANES);
    for (int k = 0; k < steps; k++) {
        vu v[WIDE];
        UNROLL for (int c = 0; c < C; c++) v[c] = load_words(p.values + k * width + column + c * LANES);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int c = 0; c < C; c++)
                sum[r][c] = multiply_add(dot, sum[r][c], v[c], weights[r * BLOCK + k]);
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) store(sums + r * stride + column + c * LANES, sum[r][c]);
}

// R rows over one block, from row `row` of `s` on. visible[r]: how many of the block's keys row r sees, `most` at most.
INLINE void attend_rows(const int dot, const int R, panel p, const uint32_t *rows, const int *visible, int most,
                        float scale, state s, int64_t row) {
    float scores[ROWS * BLOCK] __attribute__((aligned(64)));
    uint32_t weights[ROWS * BLOCK] __attribute__((aligned(64)));
    const int64_t stride = s.stride, width = stride - LANES;
    float *sums = s.sums + row * stride;
    int key = 0, steps = dot ? (most + 1) / 2 : most;
    for (; key + WIDE * LANES <= most; key += WIDE * LANES) score(dot, R, WIDE, p, rows, key, scores);
    for (; key < most; key += LANES) score(dot, R, 1, p, rows, key, scores);
    UNROLL for (int r = 0; r < R; r++)
        weigh(dot, scores + r * BLOCK, visible[r], scale, sums + r * stride, stride, s.largest + row + r, weights + r * BLOCK);
    int64_t column = 0;
    for (; column + WIDE * LANES <= width; column += WIDE * LANES)
        mix(dot, R, WIDE, p, width, column, steps, weights, sums, stride);
    for (; column < width; column += LANES) mix(dot, R, 1, p, width, column, steps, weights, sums, stride);
}
