// Vectors as wide as the instruction set that this file is compiled for. Everything portable is written with GCC's and
// Clang's vector extensions; only what they cannot say (16-bit dot products, half floats, transposes) uses intrinsics.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
// Loops over registers must vanish, or the sums live in memory.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EXPORT __attribute__((visibility("default")))

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
// Whether bfloat16 pairs are multiplied and added in one instruction.
#if defined(__AVX512BF16__)
#define HAS_DOT 1
#else
#define HAS_DOT 0
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));
typedef uint8_t vb __attribute__((vector_size(LANES)));
typedef int8_t vc __attribute__((vector_size(LANES)));
typedef uint16_t half;  // the bits of a float16
typedef uint16_t bf16;  // the bits of a bfloat16

INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vf load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE vu load_words(const void *p) { vu v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }
INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}
INLINE vi lane_numbers(void) {
    vi v;
    for (int i = 0; i < LANES; i++) v[i] = i;
    return v;
}

// Sum and maximum over the lanes, always in the same order.
INLINE float sum_lanes(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);  // halves as below
#else
    float a[LANES];
    store(a, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) a[i] += a[i + width];
    return a[0];
#endif
}
INLINE float max_lanes(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float a[LANES];
    store(a, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) a[i] = a[i] > a[i + width] ? a[i] : a[i + width];
    return a[0];
#endif
}

INLINE float widen(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
// To the nearest, ties to even. The instruction takes what is below 2^-126 for 0, as it does when it multiplies.
INLINE bf16 narrow(float x) {
#if HAS_DOT
    return (bf16)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(x)), 0);
#else
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return (bf16)(bits >> 16 | 0x40);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}
INLINE vf load_bf16(const bf16 *p) {
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
INLINE void store_bf16(bf16 *p, vf v) {  // as `narrow`
#if HAS_DOT
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);
#else
    vu bits = (vu)v;
    vu rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    bits = (vu)choose(v == v, (vf)rounded, (vf)(bits >> 16 | 0x40));
    vh h = __builtin_convertvector(bits, vh);
#endif
    memcpy(p, &h, sizeof h);
}
INLINE vf load_half(const half *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    vh h;
    memcpy(&h, p, sizeof h);
    vu w = __builtin_convertvector(h, vu);
    // Exponent and mantissa moved to a float's place are the value times 2^-112, subnormals included.
    vf magnitude = (vf)((w & 0x7fff) << 13) * splat(0x1p112f);
    return (vf)((vu)magnitude | (w & 0x8000) << 16);
#endif
}

// Whether a lane of `a` is above `limit`.
INLINE int any_above(vf a, float limit) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)splat(limit), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)(a > splat(limit))) != 0;
#else
    return max_lanes(a) > limit;
#endif
}

// 2^x on [-0.5, 0.5]: Cephes' polynomial, to one unit in the last place or so.
INLINE vf exp2_fraction(vf x) {
    vf y = splat(1.535336188319500e-4f);
    y = y * x + splat(1.339887440266574e-3f);
    y = y * x + splat(9.618437357674640e-3f);
    y = y * x + splat(5.550332471162809e-2f);
    y = y * x + splat(2.402264791363012e-1f);
    y = y * x + splat(6.931472028550421e-1f);
    return y * x + splat(1.0f);
}
// The same to 7.5e-5, a fiftieth of a bfloat16's last place: a minimax polynomial for the relative error.
INLINE vf exp2_fraction_coarse(vf x) {
    vf y = splat(0x1.c3f76p-5f);
    y = y * x + splat(0x1.f0de1ap-3f);
    y = y * x + splat(0x1.62f31ap-1f);
    return y * x + splat(0x1.fff692p-1f);
}
#if defined(__AVX512F__)
// 2^x for finite x.
INLINE vf exp2_finite(const int coarse, vf x) {
    __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vf rest = x - (vf)whole, y = coarse ? exp2_fraction_coarse(rest) : exp2_fraction(rest);
    return (vf)_mm512_scalef_ps((__m512)y, whole);
}
#endif
// 2^x for finite x <= 0; 0 far below -126.
INLINE vf exp2_negative_as(const int coarse, vf x) {
#if defined(__AVX512F__)
    return exp2_finite(coarse, x);
#else
    vf clamped = vmax(x, splat(-126.0f));
    vf shifted = clamped + splat(0x1.8p23f);
    vf rest = clamped - (shifted - splat(0x1.8p23f)), y = coarse ? exp2_fraction_coarse(rest) : exp2_fraction(rest);
    vf power = (vf)(((vi)shifted + 127) << 23);
    return choose(x < splat(-126.0f), splat(0.0f), y * power);
#endif
}
INLINE vf exp2_negative(vf x) { return exp2_negative_as(0, vmax(splat(-1000.0f), x)); }

// Pairs (x, y) of v times complex numbers (c, s): x c - y s, x s + y c.
#if defined(__AVX512F__)
#define TURNS
INLINE vf turn(vf v, vf by) {
    __m512 cross = _mm512_mul_ps(_mm512_permute_ps((__m512)v, 0xb1), _mm512_movehdup_ps((__m512)by));
    return (vf)_mm512_fmaddsub_ps((__m512)v, _mm512_moveldup_ps((__m512)by), cross);
}
#elif defined(__AVX2__) && defined(__FMA__)
#define TURNS
INLINE vf turn(vf v, vf by) {
    __m256 cross = _mm256_mul_ps(_mm256_permute_ps((__m256)v, 0xb1), _mm256_movehdup_ps((__m256)by));
    return (vf)_mm256_fmaddsub_ps((__m256)v, _mm256_moveldup_ps((__m256)by), cross);
}
#endif

#if defined(__AVX512F__)
// 16 x 16 words: out[i][j] = in[j][i].
INLINE void transpose16(__m512i out[16], const __m512i in[16]) {
    __m512i a[16], b[16];
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        out[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd);
        out[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
        out[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd);
    }
}
#endif
