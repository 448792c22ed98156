/* Mutates seeds, runs a target on each, folds the answers into one checksum. See driver.h. */
#include "driver.h"

#define LARGEST 65536 /* bytes of an input */
#define MOST 8192     /* inputs in the pool */
#ifdef FUZZ_COVERAGE
#define GROWN (64 << 20)
#else
#define GROWN 1
#endif

static const uint8_t *pool[MOST];
static uint32_t pool_bytes[MOST];
static uint32_t pool_size;
static uint8_t grown[GROWN];
static uint8_t now[LARGEST];
static uint64_t generator;

const uint8_t *fuzz_current = now;
int64_t fuzz_current_bytes;

/* xorshift64*, Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators, scrambled". */
static uint64_t draw(void) {
    generator ^= generator >> 12;
    generator ^= generator << 25;
    generator ^= generator >> 27;
    return generator * 0x2545F4914F6CDD1DULL;
}

static int64_t below(int64_t limit) { return (int64_t)((draw() >> 33) % (uint64_t)limit); }

static void move(uint8_t *to, const uint8_t *from, int64_t size) {
    if (to < from) {
        for (int64_t i = 0; i < size; i++) to[i] = from[i];
    } else {
        for (int64_t i = size; i-- > 0;) to[i] = from[i];
    }
}

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Heads and tables are at the start: half of the time there. */
static int64_t place(int64_t size) { return draw() >> 63 || size <= 32 ? below(size) : below(32); }

static int64_t mutate(int64_t size) {
    static const uint8_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x0f, 0xf0, 0x10};
    for (int64_t times = 1 + below(1 + below(8)); times > 0; times--) {
        if (size == 0) {
            now[0] = (uint8_t)draw();
            size = 1;
        }
        int64_t at = place(size), span = 1 + below(1 + below(32));
        switch (below(9)) {
            case 0: now[at] ^= (uint8_t)(1 << below(8)); break;
            case 1: now[at] = (uint8_t)draw(); break;
            case 2: now[at] = edges[below(sizeof edges)]; break;
            case 3: now[at] = (uint8_t)(now[at] + below(33) - 16); break;
            case 4: /* the end, or a few bytes of it, is missing */
                size = draw() >> 63 ? at : size - (span < size ? span : size);
                break;
            case 5: /* bytes are missing inside */
                if (span > size - at) span = size - at;
                move(now + at, now + at + span, size - at - span);
                size -= span;
                break;
            case 6: /* bytes come twice */
                if (span > size - at) span = size - at;
                if (span > LARGEST - size) break;
                move(now + at + span, now + at, size - at);
                size += span;
                break;
            case 7: { /* a piece of another input, at its own place or at another */
                uint32_t other = (uint32_t)below(pool_size);
                if (pool_bytes[other] == 0) break;
                int64_t from = draw() >> 63 ? at % pool_bytes[other] : below(pool_bytes[other]);
                if (draw() >> 63) span = LARGEST;
                if (span > (int64_t)pool_bytes[other] - from) span = pool_bytes[other] - from;
                if (span > LARGEST - at) span = LARGEST - at;
                move(now + at, pool[other] + from, span);
                if (at + span > size) size = at + span;
                break;
            }
            default: /* a run of one byte, of noise */
                if (span > size - at) span = size - at;
                if (draw() >> 63) {
                    uint8_t same = edges[below(sizeof edges)];
                    for (int64_t i = 0; i < span; i++) now[at + i] = same;
                } else {
                    for (int64_t i = 0; i < span; i++) now[at + i] = (uint8_t)draw();
                }
        }
    }
    return size;
}

static int64_t run(int32_t target, int64_t size, struct fuzz_result *result) {
    fuzz_current_bytes = size;
    fuzz_tick();
    struct fuzz_answer answer = fuzz_targets[target].run((struct fuzz_input){now, size});
    fuzz_rooms_return();
    result->executions++;
    result->accepted += answer.status >= 0;
    uint64_t told = (uint64_t)answer.status * 0x9E3779B97F4A7C15ULL ^ (answer.status >= 0 ? answer.hash : 0);
    result->checksum = (result->checksum ^ told) * 0xD6E8FEB86659FD93ULL;
    result->checksum ^= result->checksum >> 32;
    return answer.status;
}

int32_t fuzz_run(int32_t target, const uint8_t *seeds, int64_t seeds_bytes, uint64_t seed, uint64_t runs,
                 struct fuzz_result *result) {
    *result = (struct fuzz_result){0};
    if (seeds_bytes < 4 || u32(seeds) == 0 || u32(seeds) > MOST) return 0;
    pool_size = u32(seeds);
    int64_t at = 4;
    for (uint32_t i = 0; i < pool_size; i++) {
        if (seeds_bytes - at < 4) return 0;
        pool_bytes[i] = u32(seeds + at);
        pool[i] = seeds + at + 4;
        if (pool_bytes[i] > LARGEST || pool_bytes[i] > seeds_bytes - at - 4) return 0;
        at += 4 + pool_bytes[i];
    }
    int64_t grown_bytes = 0;
    generator = seed * 2 + 1;
    for (uint32_t i = 0; i < pool_size; i++) {
        move(now, pool[i], pool_bytes[i]);
        fuzz_coverage_start();
        result->refused_seeds += run(target, pool_bytes[i], result) < 0;
        fuzz_coverage_is_new(&result->edges);
    }
    for (uint64_t i = 0; i < runs; i++) {
        uint32_t chosen = (uint32_t)below(pool_size);
        move(now, pool[chosen], pool_bytes[chosen]);
        int64_t size = mutate(pool_bytes[chosen]);
        fuzz_coverage_start();
        run(target, size, result);
        if (fuzz_coverage_is_new(&result->edges) && fuzz_guided && pool_size < MOST && size <= GROWN - grown_bytes) {
            move(grown + grown_bytes, now, size);
            pool[pool_size] = grown + grown_bytes;
            pool_bytes[pool_size++] = (uint32_t)size;
            grown_bytes += size;
            result->grown++;
        }
    }
    return 1;
}

#ifndef FUZZ_COVERAGE
int32_t fuzz_guided;
void fuzz_coverage_start(void) {}
int32_t fuzz_coverage_is_new(uint64_t *edges) {
    (void)edges;
    return 0;
}
#endif
