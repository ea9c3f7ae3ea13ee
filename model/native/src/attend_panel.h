// One block of keys and values, gathered from their pages and laid out for the registers.
#pragma once
#include "attend.h"

// Pairs of bfloat16 where the processor multiplies them (`dot`), floats elsewhere.
typedef struct {
    uint32_t *keys;    // [key / LANES][depth][LANES]
    uint32_t *values;  // dot: [key / 2][padded dim], a pair of keys in each word; else [key][padded dim]
    uint32_t *rows;    // queries [rows / ROWS][depth][ROWS]; for tiles [rows][depth]
    int64_t depth;     // words of a key: dim / 2 or dim
} panel;

// Where in its pool each key of the block begins, in bytes.
static void locate(const attention *a, const int64_t *table, int64_t head, int64_t first, int count, int64_t *places) {
    int64_t page = first / a->block_size, within = first % a->block_size;
    const int64_t size = a->is_bf16 ? 2 : 4;
    for (int k = 0; k < count; k++) {
        places[k] = ((table[page] * a->block_size + within) * a->key_stride + head * a->dim) * size;
        if (++within == a->block_size) within = 0, page++;
    }
}

// Asks for keys `from` to `to` of a block that is needed soon.
static void prefetch(const attention *a, const int64_t *places, int64_t from, int64_t to) {
    const int64_t size = a->dim * (a->is_bf16 ? 2 : 4);
    for (int64_t k = from; k < to; k++)
        for (int64_t i = 0; i < size; i += 64) {
            __builtin_prefetch((const char *)a->keys + places[k] + i, 0, 2);
            __builtin_prefetch((const char *)a->values + places[k] + i, 0, 2);
        }
}

static void pack_keys(const attention *a, const int dot, panel p, const int64_t *places, int count) {
    for (int k = 0; k < count; k += LANES) {
        uint32_t *to = p.keys + k * p.depth;
        const char *rows[LANES];
        for (int i = 0; i < LANES; i++) rows[i] = k + i < count ? (const char *)a->keys + places[k + i] : NULL;
        int64_t w = 0;
#if defined(__AVX512F__)
        for (; w + 16 <= p.depth; w += 16) {
            __m512i in[16], turned[16];
            for (int i = 0; i < 16; i++) {
                in[i] = _mm512_setzero_si512();
                if (rows[i] && (dot || !a->is_bf16)) in[i] = _mm512_loadu_si512(rows[i] + 4 * w);
                else if (rows[i]) in[i] = (__m512i)load_bf16((const bf16 *)rows[i] + w);
            }
            transpose16(turned, in);
            for (int i = 0; i < 16; i++) _mm512_store_si512(to + (w + i) * 16, turned[i]);
        }
#endif
        for (; w < p.depth; w++)
            for (int i = 0; i < LANES; i++) {
                uint32_t word = 0;
                if (rows[i] && (dot || !a->is_bf16)) memcpy(&word, rows[i] + 4 * w, 4);
                else if (rows[i]) word = (uint32_t)((const bf16 *)rows[i])[w] << 16;
                to[w * LANES + i] = word;
            }
    }
}

static vf value_lanes(const attention *a, const char *row, int64_t i) {
    if (!row) return splat(0);
    if (i + LANES <= a->dim) return a->is_bf16 ? load_bf16((const bf16 *)row + i) : load((const float *)row + i);
    float values[LANES] = {0};
    for (int64_t c = i; c < a->dim; c++) values[c - i] = a->is_bf16 ? widen(((const bf16 *)row)[c]) : ((const float *)row)[c];
    return load(values);
}

static void pack_values(const attention *a, const int dot, panel p, const int64_t *places, int count) {
    int64_t width = padded(a->dim);
#if HAS_DOT
    // Word i of a pair: lane i of the one row, lane i of the other.
    const vi lanes = lane_numbers(), pairs = (lanes | lanes << 16) + (32 << 16);
    const __m512i low = (__m512i)pairs, high = (__m512i)(pairs + 0x00100010);
#endif
    for (int k = 0; k < count; k += dot ? 2 : 1) {
        const char *row = (const char *)a->values + places[k];
        if (!dot) {
            for (int64_t i = 0; i < width; i += LANES) store((float *)p.values + k * width + i, value_lanes(a, row, i));
            continue;
        }
        const char *next = k + 1 < count ? (const char *)a->values + places[k + 1] : NULL;
        int64_t i = 0;
#if HAS_DOT
        for (; i + 32 <= a->dim; i += 32) {
            __m512i one = _mm512_loadu_si512(row + 2 * i), two = _mm512_setzero_si512();
            if (next) two = _mm512_loadu_si512(next + 2 * i);
            _mm512_store_si512(p.values + k / 2 * width + i, _mm512_permutex2var_epi16(one, low, two));
            _mm512_store_si512(p.values + k / 2 * width + i + 16, _mm512_permutex2var_epi16(one, high, two));
        }
#endif
        for (; i < width; i += LANES) {
            vu word = (vu)value_lanes(a, row, i) >> 16 | (vu)value_lanes(a, next, i);
            memcpy(p.values + k / 2 * width + i, &word, sizeof word);
        }
    }
}
