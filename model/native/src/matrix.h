// Weight matrices [rows, cols] as the kernels read them; model/native/matrix.py makes them and says what they mean.
#pragma once
#include "simd.h"

enum { TILE = 16 };  // rows of a packed matrix that lie side by side, one in each lane

// Codes of a packed matrix are words: word [tile][i][lane] holds some consecutive columns of row tile * 16 + lane. Four bits:
// columns 8i + 2j and 8i + 2j + 1 in nibbles j and 4 + j. Eight bits: columns 4i to 4i + 3 in its bytes.
typedef enum {
    Q4,    // w = scale * code + minimum; scales: float16 [tile][cols / 32][scale, minimum][lane]
    Q4_K,  // w = scale * code - minimum, both six-bit times float16; scales: uint8 [tile][cols / 32][2][lane],
           // supers: float16 [tile][cols / 256][2][lane]
    Q8,    // w = scale * code; scales: float16 [tile][cols / 32][lane]
    Q6_K,  // w = scale * code, scale eight-bit times float16; scales: int8 [tile][cols / 16][lane],
           // supers: float16 [tile][cols / 256][lane]
    DENSE_BF16,  // row by row
    DENSE_F32,
} format;

typedef struct {
    int64_t format, rows, cols;
    const void *codes, *scales, *supers;
} matrix;

// Columns that share a scale, and code words of one lane for them.
INLINE int group_size(int format) { return format == Q6_K ? 16 : 32; }
INLINE int group_words(int format) { return format == Q4 || format == Q4_K ? 4 : format == Q8 ? 8 : 4; }
INLINE int has_minimum(int format) { return format == Q4 || format == Q4_K; }

// Scale and minimum of LANES rows from `lane` of a tile on.
INLINE void group_scales(int format, const matrix *w, int64_t tile, int64_t group, int lane, vf *scale, vf *minimum) {
    int64_t groups = w->cols / group_size(format), at = tile * groups + group, super = tile * (w->cols / 256) + group / 8;
    switch (format) {
    case Q4:
        *scale = load_half((const half *)w->scales + at * 32 + lane);
        *minimum = load_half((const half *)w->scales + at * 32 + 16 + lane);
        break;
    case Q4_K: {
        vb s, m;
        memcpy(&s, (const uint8_t *)w->scales + at * 32 + lane, sizeof s);
        memcpy(&m, (const uint8_t *)w->scales + at * 32 + 16 + lane, sizeof m);
        *scale = __builtin_convertvector(s, vf) * load_half((const half *)w->supers + super * 32 + lane);
        *minimum = -(__builtin_convertvector(m, vf) * load_half((const half *)w->supers + super * 32 + 16 + lane));
        break;
    }
    case Q8:
        *scale = load_half((const half *)w->scales + at * 16 + lane);
        break;
    default: {
        vc s;
        memcpy(&s, (const int8_t *)w->scales + at * 16 + lane, sizeof s);
        super = tile * (w->cols / 256) + group / 16;
        *scale = __builtin_convertvector(s, vf) * load_half((const half *)w->supers + super * 16 + lane);
    }
    }
}

INLINE const uint32_t *group_codes(int format, const matrix *w, int64_t tile, int64_t group, int lane) {
    int64_t groups = w->cols / group_size(format);
    return (const uint32_t *)w->codes + (tile * groups + group) * group_words(format) * TILE + lane;
}

// The code of one column of LANES rows as a float; `columns` are those of the word.
INLINE vf code_float(int format, vu word, int column) {
    if (format == Q4 || format == Q4_K) {
        int nibble = column / 2 + 4 * (column % 2);
        vu shifted = word >> (4 * nibble);
#if defined(__AVX512F__)
        // The table look-up reads four bits of each word and ignores the rest.
        const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        return (vf)_mm512_permutexvar_ps((__m512i)shifted, table);
#else
        return __builtin_convertvector((vi)(shifted & 15), vf);
#endif
    }
    return __builtin_convertvector((vi)(word << (24 - 8 * column)) >> 24, vf);
}

#if HAS_DOT
// The codes of two columns of 16 rows as pairs of bfloat16, which hold them exactly.
INLINE __m512bh code_pairs(int format, __m512i word, int pair) {
    if (format == Q4 || format == Q4_K) {
        // 0 to 15 twice: the look-up reads five bits of each half word, the fifth belongs to the next nibble.
        const __m512i table = _mm512_set_epi16(
            0x4170, 0x4160, 0x4150, 0x4140, 0x4130, 0x4120, 0x4110, 0x4100, 0x40e0, 0x40c0, 0x40a0, 0x4080, 0x4040, 0x4000,
            0x3f80, 0x0000, 0x4170, 0x4160, 0x4150, 0x4140, 0x4130, 0x4120, 0x4110, 0x4100, 0x40e0, 0x40c0, 0x40a0, 0x4080,
            0x4040, 0x4000, 0x3f80, 0x0000);
        return (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi32(word, 4 * pair), table);
    }
    __m512i first = _mm512_srai_epi32(_mm512_slli_epi32(word, 24 - 16 * pair), 24);
    __m512i second = _mm512_srai_epi32(_mm512_slli_epi32(word, 16 - 16 * pair), 24);
    __m512i low = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(first)), 16);
    return (__m512bh)_mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_castps_si512(_mm512_cvtepi32_ps(second)));
}
#endif

// One code of one row, the slow way.
INLINE float code_alone(int format, uint32_t word, int column) {
    if (format == Q4 || format == Q4_K) return (float)(word >> 4 * (column / 2 + 4 * (column % 2)) & 15);
    return (float)((int32_t)(word << (24 - 8 * column)) >> 24);
}
