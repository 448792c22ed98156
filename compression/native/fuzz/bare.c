/* The shell without a libc, for this machine and for boards under emulation: a libc for each would take Zig
 * minutes to build. Linux on x86-64, aarch64 and armv7.
 *
 *     codec_fuzz TARGET-NAME SEED RUNS < SEEDS-FILE > RESULT      struct fuzz_result
 *
 * Exit status 1: a promise is broken (stderr says which), and stdout is the input. */
#include "driver.h"

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, EXIT = 60 };
#define START "mov %rsp, %rdi\n and $-16, %rsp\n call fuzz_main\n"
static int64_t system_call(int64_t number, int64_t a, int64_t b, int64_t c) {
    int64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, EXIT = 93 };
#define START "mov x0, sp\n bl fuzz_main\n"
static int64_t system_call(int64_t number, int64_t a, int64_t b, int64_t c) {
    register int64_t x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#elif defined(__arm__)
enum { READ = 3, WRITE = 4, EXIT = 1 };
#define START "mov r0, sp\n bic sp, sp, #7\n bl fuzz_main\n"
static int64_t system_call(int64_t number, int64_t a, int64_t b, int64_t c) {
    register int32_t r7 __asm__("r7") = (int32_t)number, r0 __asm__("r0") = (int32_t)a;
    register int32_t r1 __asm__("r1") = (int32_t)b, r2 __asm__("r2") = (int32_t)c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}
#endif

#define MOST (32 << 20)
static uint8_t seeds[MOST];

static void put(int file, const void *at, int64_t bytes) {
    for (int64_t done = 0, some; done < bytes; done += some) {
        some = system_call(WRITE, file, (int64_t)(intptr_t)((const uint8_t *)at + done), bytes - done);
        if (some <= 0) return;
    }
}

static _Noreturn void leave(int status) {
    for (;;) system_call(EXIT, status, 0, 0);
}

static void say(const char *text) {
    int64_t length = 0;
    while (text[length]) length++;
    put(2, text, length);
}

_Noreturn void fuzz_fail(const char *promise) {
    say(promise);
    put(1, fuzz_current, fuzz_current_bytes);
    leave(1);
}

void fuzz_tick(void) {}

static uint64_t number(const char *text) {
    uint64_t value = 0;
    while (*text >= '0' && *text <= '9') value = value * 10 + (uint64_t)(*text++ - '0');
    return value;
}

static int32_t target_named(const char *name) {
    int32_t target = 0;
    for (; target < fuzz_target_count; target++) {
        const char *a = fuzz_targets[target].name, *b = name;
        while (*a && *a == *b) a++, b++;
        if (*a == *b) break;
    }
    return target;
}

/* The stack at the start of a Linux program: how many arguments, then each. */
_Noreturn __attribute__((used)) void fuzz_main(const intptr_t *stack) {
    struct fuzz_result all;
    const char *const *arguments = (const char *const *)(stack + 1);
    int64_t bytes = 0, some;
    while ((some = system_call(READ, 0, (int64_t)(intptr_t)(seeds + bytes), MOST - bytes)) > 0) bytes += some;
    if (stack[0] != 4 || target_named(arguments[1]) == fuzz_target_count ||
        !fuzz_run(target_named(arguments[1]), seeds, bytes, number(arguments[2]), number(arguments[3]), &all)) {
        say("usage: codec_fuzz TARGET SEED RUNS < SEEDS-FILE, and the seeds are whole");
        leave(2);
    }
    put(1, &all, sizeof all);
    leave(0);
}

__attribute__((naked)) void _start(void);
__attribute__((naked)) void _start(void) { __asm__ volatile(START); }
