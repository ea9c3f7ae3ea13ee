// What happens between the products: norm, rotation, gate. All in float32, rounded once.
#include "kernels.h"

#include <math.h>

INLINE vf get(const void *p, int is_bf16, int64_t at) {
    return is_bf16 ? load_bf16((const bf16 *)p + at) : load((const float *)p + at);
}
INLINE void set(void *p, int is_bf16, int64_t at, vf v) {
    if (is_bf16) store_bf16((bf16 *)p + at, v);
    else store((float *)p + at, v);
}
INLINE float get_one(const void *p, int is_bf16, int64_t at) {
    return is_bf16 ? widen(((const bf16 *)p)[at]) : ((const float *)p)[at];
}
INLINE void set_one(void *p, int is_bf16, int64_t at, float v) {
    if (is_bf16) ((bf16 *)p)[at] = narrow(v);
    else ((float *)p)[at] = v;
}

// A million values take half a millisecond. Below that a second thread does not pay: between two products of torch it
// has to be woken, while torch's own still spins for work on its core.
static int threads_for(int threads, int64_t n, int64_t width) { return n * width < 1 << 20 ? 1 : threads; }

typedef struct {
    void *x;
    const void *added, *weight;
    void *out;
    int64_t width;
    float eps;
    int is_bf16;
} norm_job;

// LANES values of x at `at`, after `added` went into them, rounded as x is kept.
INLINE vf summed(const norm_job *j, const int b, int64_t at) {
    if (!j->added) return get(j->x, b, at);
    set(j->x, b, at, get(j->x, b, at) + get(j->added, b, at));
    return get(j->x, b, at);
}
INLINE void norm_row(const norm_job *j, const int b, int64_t row) {
    const int64_t width = j->width, from = row * width;
    vf squares[4] = {splat(0), splat(0), splat(0), splat(0)};  // one sum would wait for itself
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        for (int k = 0; k < 4; k++) {
            vf x = summed(j, b, from + i + k * LANES);
            squares[k] += x * x;
        }
    for (; i + LANES <= width; i += LANES) {
        vf x = summed(j, b, from + i);
        squares[0] += x * x;
    }
    float sum = sum_lanes((squares[0] + squares[1]) + (squares[2] + squares[3]));
    for (; i < width; i++) {
        if (j->added) set_one(j->x, b, from + i, get_one(j->x, b, from + i) + get_one(j->added, b, from + i));
        sum += get_one(j->x, b, from + i) * get_one(j->x, b, from + i);
    }
    float factor = 1.0f / sqrtf(sum / (float)width + j->eps);
    for (i = 0; i + LANES <= width; i += LANES)
        set(j->out, b, from + i, get(j->x, b, from + i) * splat(factor) * get(j->weight, b, i));
    for (; i < width; i++) set_one(j->out, b, from + i, get_one(j->x, b, from + i) * factor * get_one(j->weight, b, i));
}
static void norm_task(void *context, int64_t row) {
    const norm_job *j = context;
    if (j->is_bf16) norm_row(j, 1, row);
    else norm_row(j, 0, row);
}

void longleaf_norm(void *x, const void *added, const void *weight, float eps, int64_t n, int64_t width, int is_bf16,
                   void *out, int threads) {
    norm_job j = {x, added, weight, out, width, eps, is_bf16};
    pool_run(threads_for(threads, n, width), n, norm_task, &j);
}

typedef struct {
    const void *x;
    void *out;
    int64_t width;
    int is_bf16;
} gate_job;

// x / (1 + e^-x). For bfloat16 the exponential is as exact as can be seen after rounding.
INLINE vf silu(const int b, vf x) {
#if defined(__AVX512F__)
    return x / (splat(1) + exp2_finite(b, x * splat(-1.4426950408889634f)));
#else
    vf e = exp2_negative_as(b, vmax(splat(-1000), choose(x > splat(0), -x, x) * splat(1.4426950408889634f)));
    return x * (choose(x > splat(0), splat(1), e) / (splat(1) + e));
#endif
}
INLINE void gate_row(const gate_job *j, const int b, int64_t row) {
    const int64_t width = j->width, from = 2 * row * width, to = row * width;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        vf gate = get(j->x, b, from + i);
        set(j->out, b, to + i, silu(b, gate) * get(j->x, b, from + width + i));
    }
    for (; i < width; i++) {
        vf gate = splat(get_one(j->x, b, from + i));
        set_one(j->out, b, to + i, silu(b, gate)[0] * get_one(j->x, b, from + width + i));
    }
}
static void gate_task(void *context, int64_t row) {
    const gate_job *j = context;
    if (j->is_bf16) gate_row(j, 1, row);
    else gate_row(j, 0, row);
}

void longleaf_gate(const void *x, int64_t n, int64_t width, int is_bf16, void *out, int threads) {
    gate_job j = {x, out, width, is_bf16};
    pool_run(threads_for(threads, n, width), n, gate_task, &j);
}

typedef struct {
    const void *qkv;
    const float *table;
    const int64_t *slots;
    void *queries, *keys, *values;
    int64_t heads, kv_heads, dim;
    int is_bf16;
} rotate_job;

INLINE void rotate_head(const int b, const void *in, int64_t from, const float *table, void *out, int64_t to, int64_t dim) {
    int64_t i = 0;
#ifdef TURNS
    for (; i + LANES <= dim; i += LANES) set(out, b, to + i, turn(get(in, b, from + i), load(table + i)));
#endif
    for (; i < dim; i += 2) {
        float x = get_one(in, b, from + i), y = get_one(in, b, from + i + 1), c = table[i], s = table[i + 1];
        set_one(out, b, to + i, x * c - y * s);
        set_one(out, b, to + i + 1, x * s + y * c);
    }
}
INLINE void rotate_row(const rotate_job *j, const int b, int64_t row) {
    const int64_t dim = j->dim, all = j->heads + 2 * j->kv_heads, size = b ? 2 : 4;
    const float *table = j->table + row * dim;
    for (int64_t h = 0; h < j->heads; h++)
        rotate_head(b, j->qkv, (row * all + h) * dim, table, j->queries, (row * j->heads + h) * dim, dim);
    for (int64_t h = 0; h < j->kv_heads; h++) {
        int64_t to = (j->slots[row] * j->kv_heads + h) * dim;
        rotate_head(b, j->qkv, (row * all + j->heads + h) * dim, table, j->keys, to, dim);
    }
    memcpy((char *)j->values + j->slots[row] * j->kv_heads * dim * size,
           (const char *)j->qkv + (row * all + j->heads + j->kv_heads) * dim * size, (size_t)(j->kv_heads * dim * size));
}
static void rotate_task(void *context, int64_t row) {
    const rotate_job *j = context;
    if (j->is_bf16) rotate_row(j, 1, row);
    else rotate_row(j, 0, row);
}

void longleaf_rotate(const void *qkv, const float *table, const int64_t *slots, int64_t n, int64_t heads,
                            int64_t kv_heads, int64_t dim, int is_bf16, void *queries, void *keys, void *values,
                            int threads) {
    rotate_job j = {qkv, table, slots, queries, keys, values, heads, kv_heads, dim, is_bf16};
    pool_run(threads_for(threads, n, (heads + kv_heads) * dim), n, rotate_task, &j);
}
