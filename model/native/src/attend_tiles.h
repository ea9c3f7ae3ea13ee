// Sixteen rows over one block, by tiles. What the panel holds is in a tile's order as it is.
#pragma once
#include "attend_rows.h"
#include "tiles.h"

#if HAS_TILES
enum { COLUMNS = 4 * TILE_WORDS };  // keys, or dimensions, that four tiles add up at once

// Adds to tiles 0 to 3 one tile of rows times four of pairs, `apart` words from each other.
INLINE void add_products(const uint32_t *rows, size_t row, const uint32_t *pairs, int64_t apart, size_t line) {
    _tile_loadd(4, rows, row);
    _tile_loadd(5, pairs, line);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, pairs + apart, line);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(5, pairs + 2 * apart, line);
    _tile_dpbf16ps(2, 4, 5);
    _tile_loadd(6, pairs + 3 * apart, line);
    _tile_dpbf16ps(3, 4, 6);
}

// Tiles 0 to 3 side by side.
INLINE void store_sums(float *to, size_t row) {
    _tile_stored(0, to, row);
    _tile_stored(1, to + TILE_WORDS, row);
    _tile_stored(2, to + 2 * TILE_WORDS, row);
    _tile_stored(3, to + 3 * TILE_WORDS, row);
}

// scores[r][key] of the block's first `keys` keys.
INLINE void score_tiles(panel p, const uint32_t *rows, int keys, float *scores) {
    const size_t row = (size_t)p.depth * 4, line = TILE_WORDS * 4;
    int key = 0;
    for (; key + COLUMNS - TILE_WORDS < keys; key += COLUMNS) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t w = 0; w < p.depth; w += TILE_WORDS)
            add_products(rows + w, row, p.keys + key * p.depth + w * LANES, LANES * p.depth, line);
        store_sums(scores + key, BLOCK * 4);
    }
    for (; key < keys; key += TILE_WORDS) {
        _tile_zero(0);
        for (int64_t w = 0; w < p.depth; w += TILE_WORDS) {
            _tile_loadd(4, rows + w, row);
            _tile_loadd(5, p.keys + key * p.depth + w * LANES, line);
            _tile_dpbf16ps(0, 4, 5);
        }
        _tile_stored(0, scores + key, BLOCK * 4);
    }
}

// Adds to each row's sums the values of the block's first `keys` keys times the weights.
INLINE void mix_tiles(panel p, int64_t width, int keys, const uint32_t *weights, float *sums, int64_t stride) {
    const size_t row = (size_t)stride * 4, line = (size_t)width * 4;
    int64_t column = 0;
    for (; column + COLUMNS <= width; column += COLUMNS) {
        float *to = sums + column;
        _tile_loadd(0, to, row);
        _tile_loadd(1, to + TILE_WORDS, row);
        _tile_loadd(2, to + 2 * TILE_WORDS, row);
        _tile_loadd(3, to + 3 * TILE_WORDS, row);
        for (int key = 0; key < keys; key += 2 * TILE_ROWS)
            add_products(weights + key / 2, BLOCK * 2, p.values + key / 2 * width + column, TILE_WORDS, line);
        store_sums(to, row);
    }
    for (; column < width; column += TILE_WORDS) {
        _tile_loadd(0, sums + column, row);
        for (int key = 0; key < keys; key += 2 * TILE_ROWS) {
            _tile_loadd(4, weights + key / 2, BLOCK * 2);
            _tile_loadd(5, p.values + key / 2 * width + column, line);
            _tile_dpbf16ps(0, 4, 5);
        }
        _tile_stored(0, sums + column, row);
    }
}

// Zero times what memory happens to hold may not be zero: values behind the last key are zero up to a whole tile.
INLINE void pad_values(panel p, int64_t width, int count) {
    int pairs = (count + 1) / 2, whole = (count + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS) * TILE_ROWS;
    memset(p.values + pairs * width, 0, (size_t)((whole - pairs) * width) * 4);
}

// A tile's rows and one block.
typedef struct {
    float scores[TILE_ROWS * BLOCK] __attribute__((aligned(64)));
    uint32_t weights[TILE_ROWS * BLOCK / 2] __attribute__((aligned(64)));
    int visible[TILE_ROWS], most;
} meeting;

// Rows `first` to `first` + 16 of `rows`, of which those beyond see nothing, and the block of `count` keys that begins at `key`;
// ends[r]: the keys that row r sees.
INLINE void meet(meeting *g, int64_t first, int64_t rows, const int64_t *ends, int64_t key, int count) {
    g->most = 0;
    for (int i = 0; i < TILE_ROWS; i++) {
        int64_t sees = first + i < rows ? ends[first + i] - key : 0;
        g->visible[i] = sees < 0 ? 0 : sees < count ? (int)sees : count;
        g->most = g->visible[i] > g->most ? g->visible[i] : g->most;
    }
}

// All rows over one block; as `attend_block`.
static void attend_tiles(const attention *a, panel p, int64_t rows, const int64_t *ends, int64_t key, int count, float scale,
                         state s, const int64_t *places, int64_t ahead) {
    meeting g;
    for (int64_t first = 0; first < rows; first += TILE_ROWS) {
        prefetch(a, places, ahead * first / rows, ahead * (first + TILE_ROWS < rows ? first + TILE_ROWS : rows) / rows);
        meet(&g, first, rows, ends, key, count);
        if (!g.most) continue;
        float *sums = s.sums + first * s.stride;
        score_tiles(p, p.rows + first * p.depth, g.most, g.scores);
        for (int r = 0; r < TILE_ROWS; r++)
            weigh(1, g.scores + r * BLOCK, g.visible[r], scale, sums + r * s.stride, s.stride, s.largest + first + r,
                  g.weights + r * BLOCK / 2);
        mix_tiles(p, s.stride - LANES, g.most, g.weights, sums, s.stride);
    }
}
#endif
