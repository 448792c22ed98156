/* The shell of this machine, under the sanitizers.
 *
 *     codec_fuzz TARGET SEEDS-FILE SEED RUNS [guided]    mutate and run; one line of JSON
 *     codec_fuzz TARGET INPUT-FILE                       run this input, once
 *
 * What crashes, breaks a promise or takes longer than 20 s is left in crash-TARGET.bin. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

static char left_in[256];

static void leave_input(void) {
    FILE *file = fopen(left_in, "wb");
    if (file == NULL) return;
    fwrite(fuzz_current, 1, (size_t)fuzz_current_bytes, file);
    fclose(file);
    fprintf(stderr, "the input is in %s\n", left_in);
}

_Noreturn void fuzz_fail(const char *promise) {
    fprintf(stderr, "%s\n", promise);
    leave_input();
    _exit(1);
}

static void too_long(int number) {
    (void)number;
    fuzz_fail("an input, or a few together, took longer than 20 s");
}

/* The watchdog: driver.c calls this before every input. A timer for each would cost more than the input. */
void fuzz_tick(void) {
    static uint32_t ticks;
    if (ticks++ % 256 == 0) alarm(20);
}

void __sanitizer_set_death_callback(void (*callback)(void));

/* The undefined-behaviour sanitizer calls this before it ends the program; it knows no callback. */
void __ubsan_on_report(void);
void __ubsan_on_report(void) { leave_input(); }

static uint8_t *read_file(const char *path, int64_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) return NULL;
    *bytes = ftell(file);
    rewind(file);
    uint8_t *data = malloc((size_t)*bytes + 1);
    if (data != NULL && fread(data, 1, (size_t)*bytes, file) != (size_t)*bytes) data = NULL;
    fclose(file);
    return data;
}

int main(int count, char **arguments) {
    if (count != 3 && count != 5 && count != 6) {
        fprintf(stderr, "usage: codec_fuzz TARGET SEEDS-FILE SEED RUNS [guided] | codec_fuzz TARGET INPUT-FILE\n");
        return 2;
    }
    int32_t target = 0;
    while (target < fuzz_target_count && strcmp(fuzz_targets[target].name, arguments[1]) != 0) target++;
    int64_t bytes = 0;
    uint8_t *data = read_file(arguments[2], &bytes);
    if (target == fuzz_target_count || data == NULL) {
        fprintf(stderr, "no target %s, or no file %s\n", arguments[1], arguments[2]);
        return 2;
    }
    snprintf(left_in, sizeof left_in, "crash-%s.bin", arguments[1]);
    __sanitizer_set_death_callback(leave_input);
    signal(SIGALRM, too_long);
    if (count == 3) {
        alarm(20);
        fuzz_current = data;
        fuzz_current_bytes = bytes;
        struct fuzz_answer answer = fuzz_targets[target].run((struct fuzz_input){data, bytes});
        fuzz_rooms_return();
        printf("{\"status\": %lld, \"hash\": \"%016llx\"}\n", (long long)answer.status,
               (unsigned long long)answer.hash);
        return 0;
    }
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct fuzz_result all;
    fuzz_guided = count == 6;
    if (!fuzz_run(target, data, bytes, strtoull(arguments[3], NULL, 10), strtoull(arguments[4], NULL, 10),
                  &all)) {
        fprintf(stderr, "%s is damaged\n", arguments[2]);
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    printf("{\"target\": \"%s\", \"executions\": %llu, \"accepted\": %llu, \"refused_seeds\": %llu, "
           "\"edges\": %llu, \"grown\": %llu, \"seconds\": %.3f, \"checksum\": \"%016llx\"}\n",
           arguments[1], (unsigned long long)all.executions, (unsigned long long)all.accepted,
           (unsigned long long)all.refused_seeds, (unsigned long long)all.edges,
           (unsigned long long)all.grown, seconds, (unsigned long long)all.checksum);
    return 0;
}
