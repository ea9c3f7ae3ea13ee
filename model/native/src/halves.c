// Inner products of rows of half floats with one query, added up in float32.
#include "simd.h"

enum { TOGETHER = 4, AHEAD = 16, LINE = 64 };

// Of `n` rows at once, each in an order of its own sums that no other row changes: a row's result is the same to the
// bit wherever it stands.
INLINE void products(const half *const rows[], const int n, int64_t dimension, const float *query, float *out) {
    vf even[TOGETHER], odd[TOGETHER];
    UNROLL
    for (int r = 0; r < n; r++) even[r] = odd[r] = splat(0);
    int64_t i = 0;
    for (; i + 2 * LANES <= dimension; i += 2 * LANES) {
        vf first = load(query + i), second = load(query + i + LANES);
        UNROLL
        for (int r = 0; r < n; r++) {
            even[r] += load_half(rows[r] + i) * first;
            odd[r] += load_half(rows[r] + i + LANES) * second;
        }
    }
    for (; i < dimension; i += LANES) {  // the end, filled with zeros
        size_t left = (size_t)(dimension - i < LANES ? dimension - i : LANES);
        float own[LANES] = {0};
        memcpy(own, query + i, left * sizeof *own);
        UNROLL
        for (int r = 0; r < n; r++) {
            half some[LANES] = {0};
            memcpy(some, rows[r] + i, left * sizeof *some);
            even[r] += load_half(some) * load(own);
        }
    }
    UNROLL
    for (int r = 0; r < n; r++) out[r] = sum_lanes(even[r] + odd[r]);
}

// out [count] = the rows `which` of `vectors` [..., dimension], or the first `count` where that is NULL, times `query`.
EXPORT void longleaf_halves(const half *vectors, const int64_t *which, int64_t count, int64_t dimension,
                            const float *query, float *out) {
    int64_t i = 0;
    for (; i + TOGETHER <= count; i += TOGETHER) {
        const half *rows[TOGETHER];
        for (int r = 0; r < TOGETHER; r++) rows[r] = vectors + (which ? which[i + r] : i + r) * dimension;
        // Left to the processor a scan takes 2.5 times as long: it fetches no row before the one ahead of it is read.
        for (int64_t next = i + AHEAD; next < i + AHEAD + TOGETHER && next < count; next++) {
            const half *row = vectors + (which ? which[next] : next) * dimension;
            for (int64_t at = 0; at < dimension; at += LINE / (int64_t)sizeof *row) __builtin_prefetch(row + at);
        }
        products(rows, TOGETHER, dimension, query, out + i);
    }
    for (; i < count; i++) {
        const half *row = vectors + (which ? which[i] : i) * dimension;
        products(&row, 1, dimension, query, out + i);
    }
}
