// Products of many rows with a packed weight matrix, by tiles. A strip of the matrix is unpacked once, in the order in which
// tiles want it, and stays in the core's cache while all rows pass over it.
#include "kernels.h"
#include "tiles.h"

#if HAS_TILES
#include "linear.h"

// Rows `first` and `first` + 16 of the matrix as pairs of bfloat16 [cols / 32][2][16 pairs][16 rows].
INLINE void unpack_strip(const int format, const matrix *w, int64_t tile, int tiles, uint32_t *to) {
    const int words = group_words(format), size = group_size(format), per_word = size / words;
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                                5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int t = 0; t < tiles; t++)
        for (int64_t g = 0; g < w->cols / size; g++) {
            vf scale, minimum = splat(0);
            group_scales(format, w, tile + t, g, 0, &scale, &minimum);
            uint32_t *pairs = to + (g * size / 32 * 2 + t) * (TILE_ROWS * TILE_WORDS) + g * size % 32 / 2 * TILE_WORDS;
            for (int i = 0; i < words; i++) {
                vu word = load_words(group_codes(format, w, tile + t, g, 0) + i * TILE);
                UNROLL for (int c = 0; c < per_word; c += 2) {
                    vf even = scale * code_float(format, word, c) + minimum;
                    vf odd = scale * code_float(format, word, c + 1) + minimum;
                    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
                    _mm512_store_si512(pairs, _mm512_permutexvar_epi16(interleave, both));
                    pairs += TILE_WORDS;
                }
            }
        }
}

// 16 or 32 rows of x (`stride` bytes apart) times a strip: sums [rows][32].
INLINE void multiply(const int two, const void *x, size_t stride, int64_t cols, const uint32_t *strip, float *sums) {
    const char *low = x, *high = low + TILE_ROWS * stride;
    const size_t line = 4 * TILE_WORDS, row = 4 * STRIP;
    _tile_zero(0);
    _tile_zero(1);
    if (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t c = 0; c < cols; c += 32, strip += 2 * TILE_ROWS * TILE_WORDS) {
        _tile_loadd(4, low + 2 * c, stride);
        _tile_loadd(6, strip, line);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, strip + TILE_ROWS * TILE_WORDS, line);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
            _tile_loadd(5, high + 2 * c, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, row);
    _tile_stored(1, sums + TILE, row);
    if (two) {
        _tile_stored(2, sums + TILE_ROWS * STRIP, row);
        _tile_stored(3, sums + TILE_ROWS * STRIP + TILE, row);
    }
}

static void run_strip(void *context, int64_t index) {
    const job *j = context;
    const matrix *w = j->w;
    const int64_t first = index * STRIP, whole = j->n / TILE_ROWS * TILE_ROWS;
    const int tiles = w->rows - first > TILE ? 2 : 1;
    const size_t stride = (size_t)w->cols * 2;
    uint32_t *strip = scratch(SCRATCH_TILE, (size_t)w->cols * STRIP * 2);
    float sums[2 * TILE_ROWS * STRIP] __attribute__((aligned(64)));
    switch (w->format) {
    case Q4: unpack_strip(Q4, w, index * 2, tiles, strip); break;
    case Q4_K: unpack_strip(Q4_K, w, index * 2, tiles, strip); break;
    case Q8: unpack_strip(Q8, w, index * 2, tiles, strip); break;
    default: unpack_strip(Q6_K, w, index * 2, tiles, strip);
    }
    open_tiles();
    for (int64_t row = 0; row < j->n;) {
        const int two = whole - row >= 2 * TILE_ROWS;
        // What is left of the last rows lies in memory of its own, with room for those that are missing.
        const char *x = row < whole ? (const char *)j->x + row * stride : (const char *)j->rest;
        if (two) multiply(1, x, stride, w->cols, strip, sums);
        else multiply(0, x, stride, w->cols, strip, sums);
        const int64_t left = j->n - row, many = two ? 2 * TILE_ROWS : left < TILE_ROWS ? left : TILE_ROWS;
        for (int64_t r = 0; r < many; r++)
            for (int t = 0; t < tiles; t++) {
                const int64_t column = first + t * TILE, width = w->rows - column;
                const vf v = load(sums + r * STRIP + t * TILE);
                if (width >= TILE) put_lanes(j, (row + r) * w->rows + column, v);
                else put(j, row + r, column, (int)width, v);
            }
        row += many;
    }
    close_tiles();
}

task prepare_tiles(job *j, int64_t *count) {
    const int64_t whole = j->n / TILE_ROWS * TILE_ROWS;
    const size_t row = (size_t)j->w->cols * 2;
    if (whole < j->n) {
        char *rest = scratch(SCRATCH_ROWS, TILE_ROWS * row);
        memset(rest, 0, TILE_ROWS * row);
        memcpy(rest, (const char *)j->x + whole * row, (size_t)(j->n - whole) * row);
        j->rest = rest;
    }
    *count = (j->w->rows + STRIP - 1) / STRIP;
    return run_strip;
}
#endif

int longleaf_takes_many(const matrix *w, int x_bf16) {
    return HAS_TILES && x_bf16 && w->format != DENSE_BF16 && w->format != DENSE_F32;
}
