// A model in one call, for passes of few rows: what model/llama/transformer.py does layer by layer, by the same kernels in
// the same order, and so with the same bits.
#include "kernels.h"

#include <time.h>

typedef struct {
    const void *attention_norm, *ffn_norm;  // [hidden]
    const matrix *qkv, *out, *gate_up, *down;
    void *keys, *values;  // [slots, kv_heads, dim]
} layer;

typedef struct {
    const layer *layers;
    const matrix *embed, *output;
    const void *norm;  // [hidden], before the output
    int64_t count, heads, kv_heads, dim, block_size, is_bf16;
    double eps;
    int64_t *nanoseconds;  // in products and in attention, added to; or NULL
} stack;

typedef struct {
    int64_t n, segment_count, wanted;
    const int64_t *tokens, *positions, *slots;  // [n]
    const int64_t *segments, *table;            // as in `attention`
    const int64_t *rows;                        // [wanted], ascending
    int64_t *best;                              // [wanted]: the largest of each
} pass;

// How many there are of each, then one after the other.
static pass pass_of(int64_t *numbers) {
    pass p = {.n = numbers[0], .segment_count = numbers[1], .wanted = numbers[2]};
    p.tokens = numbers + 4;
    p.positions = p.tokens + p.n;
    p.slots = p.positions + p.n;
    p.segments = p.slots + p.n;
    p.table = p.segments + 4 * p.segment_count;
    p.rows = p.table + numbers[3];
    p.best = (int64_t *)p.rows + p.wanted;
    return p;
}

static int64_t clock_of(const stack *s) {
    struct timespec t = {0};
    if (s->nanoseconds) clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
static void add_since(const stack *s, int64_t begin) {
    if (s->nanoseconds) *s->nanoseconds += clock_of(s) - begin;
}

static void product(const stack *s, int64_t n, const matrix *w, const void *x, const void *residual, void *out,
                    int threads) {
    const int64_t begin = clock_of(s);
    longleaf_linear(w, x, (int)s->is_bf16, n, residual, out, (int)s->is_bf16, threads);
    add_since(s, begin);
}

// Keys and values of all rows go to their slots. `numbers` are a `pass`, `rotations` [positions, dim / 2] complex, `logits`
// [wanted, vocabulary].
EXPORT void longleaf_logits(const stack *s, int64_t *numbers, const float *rotations, float *logits, int threads) {
    const pass whole = pass_of(numbers), *p = &whole;
    const int is_bf16 = (int)s->is_bf16;
    const float eps = (float)s->eps;
    const int64_t n = p->n, width = s->layers->out->rows, ffn = s->layers->down->cols, heads = s->heads * s->dim;
    const int64_t qkv_rows = heads + 2 * s->kv_heads * s->dim, size = n * (is_bf16 ? 2 : 4);
    char *normed = scratch(SCRATCH_STACK, (size_t)((2 * width + qkv_rows + 2 * heads + 3 * ffn) * size + n * s->dim * 4));
    char *hidden = normed + width * size, *qkv = hidden + width * size, *queries = qkv + qkv_rows * size;
    char *mixed = queries + heads * size, *gate_up = mixed + heads * size, *gated = gate_up + 2 * ffn * size;
    float *rotation = (float *)(gated + ffn * size);
    for (int64_t row = 0; row < n; row++)
        memcpy(rotation + row * s->dim, rotations + p->positions[row] * s->dim, (size_t)s->dim * sizeof(float));
    longleaf_take(s->embed, p->tokens, n, hidden, is_bf16, threads);
    attention a = {.queries = queries, .out = mixed, .segments = p->segments, .table = p->table, .n = n,
                   .segment_count = p->segment_count, .heads = s->heads, .kv_heads = s->kv_heads, .dim = s->dim,
                   .block_size = s->block_size, .query_stride = heads, .key_stride = s->kv_heads * s->dim,
                   .is_bf16 = is_bf16, .is_causal = 1};
    for (const layer *l = s->layers; l < s->layers + s->count; l++) {
        longleaf_norm(hidden, NULL, l->attention_norm, eps, n, width, is_bf16, normed, threads);
        product(s, n, l->qkv, normed, NULL, qkv, threads);
        longleaf_rotate(qkv, rotation, p->slots, n, s->heads, s->kv_heads, s->dim, is_bf16, queries, l->keys, l->values,
                        threads);
        const int64_t begin = clock_of(s);
        a.keys = l->keys, a.values = l->values;
        longleaf_attend(&a, threads);
        add_since(s, begin);
        product(s, n, l->out, mixed, hidden, hidden, threads);
        longleaf_norm(hidden, NULL, l->ffn_norm, eps, n, width, is_bf16, normed, threads);
        product(s, n, l->gate_up, normed, NULL, gate_up, threads);
        longleaf_gate(gate_up, n, ffn, is_bf16, gated, threads);
        product(s, n, l->down, gated, hidden, hidden, threads);
    }
    if (!p->wanted) return;
    const int64_t bytes = width * (is_bf16 ? 2 : 4);
    for (int64_t i = 0; i < p->wanted; i++)  // ascending, so that none is overwritten before it is moved
        memmove(hidden + i * bytes, hidden + p->rows[i] * bytes, (size_t)bytes);
    longleaf_norm(hidden, NULL, s->norm, eps, p->wanted, width, is_bf16, normed, threads);
    const int64_t begin = clock_of(s);
    longleaf_head(s->output, normed, is_bf16, p->wanted, logits, p->best, threads);
    add_since(s, begin);
}
