// Tiles (AMX): registers of 16 rows of 64 bytes. One instruction multiplies 16 rows of 32 bfloat16 with 16 rows of 16 pairs and
// adds to 16 rows of 16 floats. Each row's sums depend on that row alone.
#pragma once
#include "simd.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && LANES == 16
#define HAS_TILES 1
enum { TILE_ROWS = 16, TILE_WORDS = 16 };

// All eight tiles whole. Others in this process use tiles too (torch): who opens them closes them.
static inline void open_tiles(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape __attribute__((aligned(64))) = {.palette = 1};
    for (int t = 0; t < 8; t++) shape.bytes[t] = 4 * TILE_WORDS, shape.rows[t] = TILE_ROWS;
    _tile_loadconfig(&shape);
}
static inline void close_tiles(void) { _tile_release(); }
#else
#define HAS_TILES 0
#endif
