/* Memory of exact sizes. Under the address sanitizer: malloc, which it watches. Elsewhere: one arena with
 * guard bytes around every piece, looked at after the run. */
#include "driver.h"

#ifdef FUZZ_ASAN
#include <stdlib.h>

static void *lent[16];
static int lent_count;

void *fuzz_room(int64_t bytes) {
    void *room = lent_count < 16 && bytes >= 0 ? malloc((size_t)bytes) : NULL;
    if (room == NULL) fuzz_fail("a target asks for too much memory");
    lent[lent_count++] = room;
    return room;
}

void *fuzz_work(int64_t bytes) {
    static void *work; /* megabytes that are given back and asked for again would be most of the time */
    static int64_t work_bytes = -1;
    if (bytes != work_bytes) {
        free(work);
        work = malloc((size_t)bytes);
        work_bytes = bytes;
        if (work == NULL) fuzz_fail("a target asks for too much memory");
    }
    return work;
}

void fuzz_rooms_return(void) {
    while (lent_count > 0) free(lent[--lent_count]);
}

#else
#define ARENA (16 << 20)
#define GUARD 32
#define FRESH 0xA5

static uint8_t arena[ARENA] __attribute__((aligned(64)));
static int64_t ends[16]; /* of each piece, guard not counted */
static int64_t starts[16];
static int lent_count;
static int64_t used = GUARD;

void *fuzz_room(int64_t bytes) {
    if (lent_count == 16 || bytes < 0 || bytes > ARENA - used - 2 * GUARD - 64)
        fuzz_fail("a target asks for too much memory");
    uint8_t *room = arena + used;
    for (int64_t i = 1; i <= GUARD; i++) room[-i] = FRESH;
    for (int64_t i = 0; i < GUARD; i++) room[bytes + i] = FRESH;
    starts[lent_count] = used;
    ends[lent_count++] = used + bytes;
    used = (used + bytes + 2 * GUARD + 63) / 64 * 64;
    return room;
}

void *fuzz_work(int64_t bytes) { return fuzz_room(bytes); }

void fuzz_rooms_return(void) {
    while (lent_count > 0) {
        lent_count--;
        for (int64_t i = 1; i <= GUARD; i++)
            if (arena[starts[lent_count] - i] != FRESH) fuzz_fail("written before the start of a buffer");
        for (int64_t i = 0; i < GUARD; i++)
            if (arena[ends[lent_count] + i] != FRESH) fuzz_fail("written after the end of a buffer");
    }
    used = GUARD;
}
#endif
