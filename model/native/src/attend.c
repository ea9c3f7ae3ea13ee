// Attention over paged keys, causal or not, with the scores never in memory (Dao 2022), for one query or thousands.
//
// Keys are taken BLOCK at a time on an absolute grid; a row's sums over a SPLIT are kept with a running maximum, and the
// splits are merged into the whole, always in order (Milakov & Gimelshein 2018). So a row's result depends on its own keys
// alone, not on what else is computed, on how the work is cut, or on the threads.
#include "attend_tiles.h"
#include "pool.h"

// How products are made: of floats, of pairs of bfloat16, of tiles of such pairs.
enum { FLOATS, PAIRS, TILES };
enum { SPLIT = 1024, FEW = 32, PIECE_ROWS = 192 };

typedef struct {
    int64_t segment, head, query, count;  // queries of the segment
    int64_t split;                        // only this one, its result to `part`; all of them where it is -1
    float *part;
} piece;

typedef struct {
    const attention *a;
    const piece *pieces;
} job;

static void finish(const attention *a, const int64_t *segment, const piece *t, state s) {
    const int64_t group = a->heads / a->kv_heads;
    for (int64_t r = 0; r < t->count * group; r++) {
        int64_t n = segment[0] + t->query + r / group, head = t->head * group + r % group;
        int64_t at = (n * a->heads + head) * a->dim;
        const float *sums = s.sums + r * s.stride, total = sum_lanes(load(sums + s.stride - LANES));
        for (int64_t i = 0; i < a->dim; i++) {
            float value = sums[i] / total;
            if (a->is_bf16) ((bf16 *)a->out)[at + i] = narrow(value);
            else ((float *)a->out)[at + i] = value;
        }
        if (a->lse) a->lse[head * a->n + n] = (s.largest[r] + log2f(total)) * 0.6931471805599453f;
    }
}

// The queries of a piece in the order in which they are multiplied.
static void pack_queries(const attention *a, const int dot, panel p, const int64_t *segment, const piece *t) {
    const int64_t group = a->heads / a->kv_heads;
    for (int64_t r = 0; r < t->count * group; r++) {
        int64_t at = (segment[0] + t->query + r / group) * a->query_stride + (t->head * group + r % group) * a->dim;
        if (dot == TILES) {
            memcpy(p.rows + r * p.depth, (const bf16 *)a->queries + at, (size_t)p.depth * 4);
            continue;
        }
        uint32_t *to = p.rows + r / ROWS * ROWS * p.depth + r % ROWS;
        for (int64_t w = 0; w < p.depth; w++) {
            if (dot) memcpy(to + w * ROWS, (const bf16 *)a->queries + at + 2 * w, 4);
            else if (a->is_bf16) to[w * ROWS] = (uint32_t)((const bf16 *)a->queries)[at + w] << 16;
            else memcpy(to + w * ROWS, (const float *)a->queries + at + w, 4);
        }
    }
}

// All rows of a piece over the block of `count` keys that begins at `key`; ends[r]: the keys that row r sees. Meanwhile the
// next block, of `ahead` keys at `places`, is fetched a few keys at a time.
INLINE void attend_block(const int dot, const attention *a, panel p, int64_t rows, const int64_t *ends, int64_t key,
                         int count, float scale, state s, const int64_t *places, int64_t ahead) {
    for (int64_t r = 0; r < rows; r += ROWS) {
        prefetch(a, places, ahead * r / rows, ahead * (r + ROWS < rows ? r + ROWS : rows) / rows);
        int many = rows - r < ROWS ? (int)(rows - r) : ROWS, visible[ROWS], most = 0;
        for (int i = 0; i < many; i++) {
            int64_t sees = ends[r + i] - key;
            visible[i] = sees < 0 ? 0 : sees < count ? (int)sees : count;
            most = visible[i] > most ? visible[i] : most;
        }
        if (!most) continue;
        const uint32_t *q = p.rows + r * p.depth;
        switch (many) {
        case 1: attend_rows(dot, 1, p, q, visible, most, scale, s, r); break;
        case 2: attend_rows(dot, 2, p, q, visible, most, scale, s, r); break;
        case 3: attend_rows(dot, 3, p, q, visible, most, scale, s, r); break;
        case 4: attend_rows(dot, 4, p, q, visible, most, scale, s, r); break;
        case 5: attend_rows(dot, 5, p, q, visible, most, scale, s, r); break;
        default: attend_rows(dot, 6, p, q, visible, most, scale, s, r);
        }
    }
}

INLINE void run_piece(const int dot, const attention *a, const piece *t) {
    const int64_t *segment = a->segments + 4 * t->segment, *table = a->table + segment[3];
    const int64_t group = a->heads / a->kv_heads, rows = t->count * group, first = segment[1] + t->query;
    const int64_t end = a->is_causal ? first + t->count : segment[1] + segment[2], width = padded(a->dim), size = state_size(a, rows);
    panel p = {.depth = dot ? a->dim / 2 : a->dim};
    p.keys = scratch(SCRATCH_ROWS, (size_t)(BLOCK * (p.depth + width) + (rows + MOST_ROWS) * (p.depth + 2)) * 4);
    p.values = p.keys + BLOCK * p.depth;
    p.rows = p.values + BLOCK * width;
    int64_t *ends = (int64_t *)(p.rows + (rows + MOST_ROWS) * p.depth), places[BLOCK];
    float *memory = scratch(SCRATCH_TILE, (size_t)(2 * size) * 4);
    state part = state_at(a, t->part ? t->part : memory, rows), whole = state_at(a, memory + size, rows);
    const float scale = 1.4426950408889634f / sqrtf((float)a->dim);

#if HAS_TILES
    if (dot == TILES) open_tiles();
#endif
    pack_queries(a, dot, p, segment, t);
    for (int64_t r = 0; r < rows; r++) ends[r] = a->is_causal ? first + r / group + 1 : end;
    if (!t->part) clear(whole, rows);
    int64_t from = t->part ? t->split * SPLIT : 0;
    int64_t to = t->part && from + SPLIT < end ? from + SPLIT : end;
    locate(a, table, t->head, from, to - from < BLOCK ? (int)(to - from) : BLOCK, places);
    for (int64_t split = from; split < to; split += SPLIT) {
        clear(part, rows);
        for (int64_t key = split; key < to && key < split + SPLIT; key += BLOCK) {
            int count = to - key < BLOCK ? (int)(to - key) : BLOCK;
            pack_keys(a, dot, p, places, count);
            pack_values(a, dot, p, places, count);
#if HAS_TILES
            if (dot == TILES) pad_values(p, width, count);
#endif
            // Few rows pass so fast that asking costs more than waiting.
            int ahead = to - key - count < BLOCK ? (int)(to - key - count) : BLOCK;
            locate(a, table, t->head, key + count, ahead, places);
            if (rows <= FEW) ahead = 0;
#if HAS_TILES
            if (dot == TILES) {
                attend_tiles(a, p, rows, ends, key, count, scale, part, places, ahead);
                continue;
            }
#endif
            attend_block(dot, a, p, rows, ends, key, count, scale, part, places, ahead);
        }
        if (!t->part)
            for (int64_t r = 0; r < rows; r++) merge_row(whole, part, r);
    }
#if HAS_TILES
    if (dot == TILES) close_tiles();
#endif
    if (!t->part) finish(a, segment, t, whole);
}

static void run_task(void *context, int64_t index) {
    const job *j = context;
#if HAS_TILES
    if (j->a->is_bf16 && j->a->dim % (2 * TILE_WORDS) == 0) {
        run_piece(TILES, j->a, j->pieces + index);
        return;
    }
#endif
#if HAS_DOT
    if (j->a->is_bf16 && j->a->dim % 2 == 0) {
        run_piece(PAIRS, j->a, j->pieces + index);
        return;
    }
#endif
    run_piece(FLOATS, j->a, j->pieces + index);
}

EXPORT void longleaf_attend(const attention *a, int threads) {
    const int64_t group = a->heads / a->kv_heads;
    int64_t pieces = 0, part_size = 0;
    // Products by tiles are so quick that packing keys is half of the work: fewer pieces do it less often.
    const int64_t most = HAS_TILES && threads <= 4 ? 2 * PIECE_ROWS : PIECE_ROWS;
    const int64_t tile = most / group > 8 ? most / group : 8;
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        int64_t splits = (segment[1] + segment[2] + SPLIT - 1) / SPLIT;
        if (segment[2] > FEW) pieces += (segment[2] + tile - 1) / tile * a->kv_heads;
        else {
            pieces += splits * a->kv_heads;
            if (splits > 1) part_size += splits * a->kv_heads * state_size(a, segment[2] * group);
        }
    }
    piece *list = scratch(SCRATCH_SUMS, (size_t)pieces * sizeof *list);
    float *part = scratch(SCRATCH_PARTS, (size_t)part_size * 4 + 64);
    int64_t count = 0;
    // The latest queries see the most keys: their tiles go first, so that no thread ends with a long one.
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        if (segment[2] <= FEW) continue;
        for (int64_t t = (segment[2] - 1) / tile; t >= 0; t--)
            for (int64_t h = 0; h < a->kv_heads; h++) {
                int64_t rest = segment[2] - t * tile;
                list[count++] = (piece){s, h, t * tile, rest < tile ? rest : tile, -1, NULL};
            }
    }
    int64_t few = count;
    for (int64_t s = 0; s < a->segment_count; s++) {
        const int64_t *segment = a->segments + 4 * s;
        if (segment[2] > FEW) continue;
        int64_t splits = (segment[1] + segment[2] + SPLIT - 1) / SPLIT;
        for (int64_t h = 0; h < a->kv_heads; h++)
            for (int64_t k = 0; k < splits; k++) {
                list[count++] = (piece){s, h, 0, segment[2], k, splits > 1 ? part : NULL};
                if (splits > 1) part += state_size(a, segment[2] * group);
            }
    }
    job j = {a, list};
    pool_run(threads, count, run_task, &j);
    for (int64_t i = few; i < count; i++) {
        const int64_t *segment = a->segments + 4 * list[i].segment;
        int64_t rows = segment[2] * group;
        if (!list[i].part) continue;
        float *memory = scratch(SCRATCH_TILE, (size_t)state_size(a, rows) * 4);
        state whole = state_at(a, memory, rows);
        clear(whole, rows);
        piece t = list[i];
        for (; i < count && list[i].segment == t.segment && list[i].head == t.head; i++)
            for (int64_t r = 0; r < rows; r++) merge_row(whole, state_at(a, list[i].part, rows), r);
        i--;
        finish(a, segment, &t, whole);
    }
}
