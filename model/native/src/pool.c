#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_WORKERS = 255, SPIN_NANOSECONDS = 60000 };

// `ticket` is odd while a job is open. A worker first counts itself into `inside`, then looks at the ticket again; the
// caller first closes the ticket, then waits for `inside` to be 0. So no worker ever runs a job that has ended.
static _Atomic uint32_t ticket;
static _Atomic int inside, sleepers;
static _Atomic int64_t next_index;
static _Atomic int wanted;  // workers that the open job may use
static int64_t job_count;
static task job_run;
static void *job_context;

static int workers;  // guarded by `turn`
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER, bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t alarm_clock = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void take_all(void) {
    for (int64_t i; (i = atomic_fetch_add_explicit(&next_index, 1, memory_order_relaxed)) < job_count;)
        job_run(job_context, i);
}

static uint32_t wait_for_change(uint32_t seen) {
    int64_t end = now() + SPIN_NANOSECONDS;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            uint32_t current = atomic_load(&ticket);
            if (current != seen) return current;
            relax();
        }
        if (now() > end) break;
    }
    pthread_mutex_lock(&bed);
    atomic_fetch_add(&sleepers, 1);
    while (atomic_load(&ticket) == seen) pthread_cond_wait(&alarm_clock, &bed);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&bed);
    return atomic_load(&ticket);
}

static void *work(void *number) {
    uint32_t seen = 0;
    for (;;) {
        seen = wait_for_change(seen);
        if (!(seen & 1) || (intptr_t)number >= atomic_load(&wanted)) continue;
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&ticket) == seen) take_all();
        atomic_fetch_sub(&inside, 1);
    }
    return NULL;
}

// Threads do not survive a fork: the child starts its own.
static void after_fork(void) {
    workers = 0;
    atomic_store(&ticket, 0);
    atomic_store(&inside, 0);
    atomic_store(&sleepers, 0);
    pthread_mutex_init(&turn, NULL);
    pthread_mutex_init(&bed, NULL);
    pthread_cond_init(&alarm_clock, NULL);
}

static void free_scratch(void *slots) {
    for (int i = 0; i < SCRATCH_SLOTS; i++) free(((void **)slots)[2 * i]);
    free(slots);
}

static void set_up(void) {
    pthread_atfork(NULL, NULL, after_fork);
    pthread_key_create(&scratch_key, free_scratch);
}

void pool_run(int threads, int64_t count, task run, void *context) {
    pthread_once(&once, set_up);
    int helpers = threads - 1 < count - 1 ? threads - 1 : (int)(count - 1);
    // Another caller has the workers: its work would end sooner than a wait for them would pay.
    if (helpers <= 0 || pthread_mutex_trylock(&turn)) {
        for (int64_t i = 0; i < count; i++) run(context, i);
        return;
    }
    if (helpers > MOST_WORKERS) helpers = MOST_WORKERS;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (pthread_t thread; workers < helpers; workers++)
        if (pthread_create(&thread, &detached, work, (void *)(intptr_t)workers)) break;
    pthread_attr_destroy(&detached);

    job_count = count, job_run = run, job_context = context;
    atomic_store(&next_index, 0);
    atomic_store(&wanted, helpers);
    atomic_fetch_add(&ticket, 1);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&bed);
        pthread_cond_broadcast(&alarm_clock);
        pthread_mutex_unlock(&bed);
    }
    take_all();
    atomic_fetch_add(&ticket, 1);
    for (int spins = 0; atomic_load(&inside); spins++) {
        // A worker that lost its core will not get it back from a caller that spins.
        if (spins < 4096) relax();
        else sched_yield();
    }
    pthread_mutex_unlock(&turn);
}

void *scratch(int slot, size_t size) {
    pthread_once(&once, set_up);
    struct { void *data; size_t size; } *slots = pthread_getspecific(scratch_key);
    if (!slots) {
        slots = calloc(SCRATCH_SLOTS, sizeof *slots);
        if (!slots) abort();
        pthread_setspecific(scratch_key, slots);
    }
    if (slots[slot].size < size) {
        free(slots[slot].data);
        size = (size + size / 4 + 4095) & ~(size_t)4095;
        slots[slot].data = aligned_alloc(64, size);
        slots[slot].size = size;
        if (!slots[slot].data) abort();
    }
    return slots[slot].data;
}

// A digest of the sources, given by the build: a library of other sources is not used.
__attribute__((visibility("default"))) uint64_t longleaf_version(void) { return VERSION; }
