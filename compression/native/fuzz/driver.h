/* Feeds hostile payloads to the codec's decoders: the same ones, in the same order, on every machine.
 *
 * driver.c mutates seeds (payloads that our encoders wrote) with a generator of its own and knows no libc; so
 * one driver runs under the address sanitizer (main.c), in WebAssembly and on emulated boards, and the
 * checksum over all results must be the same everywhere. targets.c has one function a decoder. rooms.c lends
 * each of them memory of exactly the size it may touch.
 */
#ifndef EDGEPRESS_FUZZ_DRIVER_H
#define EDGEPRESS_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
    const uint8_t *at;
    int64_t left;
};

/* What a target says of one input: the decoder's status, and a hash of what it wrote where it succeeded. */
struct fuzz_answer {
    int64_t status;
    uint64_t hash;
};

struct fuzz_target {
    const char *name;
    struct fuzz_answer (*run)(struct fuzz_input input);
};
extern const struct fuzz_target fuzz_targets[];
extern const int32_t fuzz_target_count;

/* Memory of exactly `bytes`, until the next rooms_return. One byte over is reported. */
void *fuzz_room(int64_t bytes);
/* The same for work memory, which is large and holds anything: what the last input left there. */
void *fuzz_work(int64_t bytes);
void fuzz_rooms_return(void);

/* Ends the run: a promise of a decoder is broken. The shell says which input did it. */
_Noreturn void fuzz_fail(const char *promise);

struct fuzz_result {
    uint64_t executions;
    uint64_t accepted;  /* by the decoder */
    uint64_t refused_seeds;
    uint64_t checksum;
    uint64_t edges;     /* of the control flow, where the compiler counts them */
    uint64_t grown;     /* inputs kept because they went new ways */
};

/* Runs every seed, then `runs` mutations. `seeds`: u32 count, then u32 size and bytes of each, little-endian.
 * The seeds of one target are those that its encoder wrote. False where `seeds` is damaged. */
int32_t fuzz_run(int32_t target, const uint8_t *seeds, int64_t seeds_bytes, uint64_t seed, uint64_t runs,
                 struct fuzz_result *result);

/* Before every input; the shell's watchdog. */
void fuzz_tick(void);

/* The input now running, for the report of a crash. */
extern const uint8_t *fuzz_current;
extern int64_t fuzz_current_bytes;

/* coverage.c, in builds that follow the control flow (FUZZ_COVERAGE). */
void fuzz_coverage_start(void);
int32_t fuzz_coverage_is_new(uint64_t *edges);
/* Keep and mutate further what goes new ways. Off: the same mutations as on every other machine. */
extern int32_t fuzz_guided;

#endif
