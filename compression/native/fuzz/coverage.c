/* Which edges of the control flow an input takes, and how often (in powers of two), as AFL counts them
 * (Zalewski 2013). GCC calls the hook below at every basic block (-fsanitize-coverage=trace-pc). */
#include "driver.h"

#define SLOTS (1 << 16)

int32_t fuzz_guided;

static uint8_t hits[SLOTS];
static uint8_t seen[SLOTS]; /* a bit for each power of two */
static uint32_t touched[SLOTS];
static uint32_t touched_count;
static uintptr_t before;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) {
    uintptr_t here = (uintptr_t)__builtin_return_address(0);
    uint32_t slot = (uint32_t)((here ^ (before << 5) ^ (here >> 12)) % SLOTS);
    before = here;
    if (hits[slot] == 0) touched[touched_count++] = slot;
    if (hits[slot] < 255) hits[slot]++;
}

void fuzz_coverage_start(void) {
    for (uint32_t i = 0; i < touched_count; i++) hits[touched[i]] = 0;
    touched_count = 0;
    before = 0;
}

int32_t fuzz_coverage_is_new(uint64_t *edges) {
    int32_t any = 0;
    for (uint32_t i = 0; i < touched_count; i++) {
        uint32_t slot = touched[i];
        uint8_t power = (uint8_t)(1 << (31 - __builtin_clz(hits[slot])));
        if (seen[slot] & power) continue;
        *edges += seen[slot] == 0;
        seen[slot] |= power;
        any = 1;
    }
    return any;
}
