// A few threads that wait for work: they spin for a moment, then sleep.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef void (*task)(void *context, int64_t index);

// Calls run(context, i) for every i in [0, count), on up to `threads` threads, the caller being one. Returns when all are
// done. Which thread takes which index is left to chance: a result must not depend on it.
void pool_run(int threads, int64_t count, task run, void *context);

// `size` bytes, aligned to 64, that belong to the calling thread until it asks again for the same slot.
enum { SCRATCH_ROWS, SCRATCH_SUMS, SCRATCH_TILE, SCRATCH_PARTS, SCRATCH_STACK, SCRATCH_SLOTS };
void *scratch(int slot, size_t size);
