/* The shell in WebAssembly; run.mjs calls it. Memory after __heap_base is the caller's. */
#include "driver.h"

#define EXPORT __attribute__((visibility("default")))

static struct fuzz_result all;
static const char *broken = "";

_Noreturn void fuzz_fail(const char *promise) {
    broken = promise;
    __builtin_trap();
}

void fuzz_tick(void) {}

EXPORT int32_t target_count(void) { return fuzz_target_count; }
EXPORT const char *target_name(int32_t target) { return fuzz_targets[target].name; }
EXPORT const char *broken_promise(void) { return broken; }
EXPORT const uint8_t *current(void) { return fuzz_current; }
EXPORT int32_t current_bytes(void) { return (int32_t)fuzz_current_bytes; }
EXPORT const struct fuzz_result *run(int32_t target, const uint8_t *seeds, int32_t bytes, uint64_t seed,
                                     uint64_t runs) {
    return fuzz_run(target, seeds, bytes, seed, runs, &all) ? &all : NULL;
}
