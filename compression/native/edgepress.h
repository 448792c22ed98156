/* What every coder here is written with. The whole of compression/native is one translation unit (codec.c).
 *
 * Rules: no libc, no allocation, no floating point, no writable globals (any number of threads), no undefined
 * behaviour. Every length is checked before a byte is read or written: payloads are hostile. Callers own all
 * memory; a function that needs some of its own says how much (ep_..._work_bytes) and is given it.
 * Exported functions return a count >= 0, or one of the errors below.
 */
#ifndef EDGEPRESS_H
#define EDGEPRESS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EP_EXPORT __declspec(dllexport)
#else
#define EP_EXPORT __attribute__((visibility("default")))
#endif
#define EP_INLINE static inline __attribute__((always_inline))

/* Changes with any signature below; the loader takes no library of another one. */
#define EP_ABI 1

/* The sentences for these are in edgepress_compression/codec/native.py. */
enum {
    EP_ENDS_EARLY = -1, /* the payload is shorter than what it promises */
    EP_LEFT_OVER = -2,  /* bytes or bits after the end that no encoder writes */
    EP_RANGE = -3,      /* a number is outside what is possible here */
    EP_TABLE = -4,      /* a code or frequency table is not complete */
    EP_STATE = -5,      /* the coder does not end in the state that an encoder starts from */
    EP_FULL = -6,       /* encoding: the output has no room (the caller gives up or tries more) */
    EP_WORK = -7,       /* the work memory is smaller than asked for */
    EP_ARGUMENT = -8    /* an argument that no caller of ours gives */
};

#endif
