/* A range coder with carries: the range is kept in [2^31, 2^32), so that frequencies may have 18 bits.
 * codec/range_coder.py is the specification of these loops. After Martin 1979, "Range encoding". */
#ifndef EDGEPRESS_RANGE_CODER_H
#define EDGEPRESS_RANGE_CODER_H

#include "edgepress.h"

typedef struct {
    uint64_t window; /* code - low: the upper 32 bits are compared with the range, the lower come next */
    uint32_t range;
    int32_t ahead; /* bits that the lower half holds */
    const uint8_t *bytes;
    int64_t at, size;
} ep_range_reader;

typedef struct {
    uint64_t low;
    uint32_t range;
    int32_t held; /* bits above the lower 32 of `low` that are not bytes yet */
    uint8_t *bytes;
    int64_t at, capacity; /* `at` goes on counting when there is no room */
} ep_range_writer;

/* At least 24 bits ahead. Behind the payload come zeros. */
EP_INLINE void ep_range_fill(ep_range_reader *in) {
    if (in->size - in->at >= 4) {
        const uint8_t *b = in->bytes + in->at;
        uint32_t next = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        in->window |= (uint64_t)next >> in->ahead; /* bits that do not fit come again, the same */
        int32_t whole = (31 - in->ahead) >> 3;
        in->at += whole;
        in->ahead += whole << 3;
        return;
    }
    while (in->ahead <= 23) {
        uint64_t next = in->at < in->size ? in->bytes[in->at] : 0;
        in->window |= next << (24 - in->ahead);
        in->at++;
        in->ahead += 8;
    }
}

static void ep_range_open(ep_range_reader *in, const uint8_t *bytes, int64_t size) {
    *in = (ep_range_reader){.range = 0xFFFFFFFFu, .bytes = bytes, .size = size};
    for (; in->at < 4; in->at++) in->window = in->window << 8 | (in->at < size ? bytes[in->at] : 0);
    in->window <<= 32;
}

/* Takes the interval [low, low + width) of the range, which holds the window; width >= 2^13. */
EP_INLINE void ep_range_take(ep_range_reader *in, uint32_t low, uint32_t width) {
    in->window -= (uint64_t)low << 32;
    int32_t bits = __builtin_clz(width);
    in->range = width << bits;
    in->window <<= bits;
    in->ahead -= bits;
}

/* 0 when the payload has as many bytes as an encoder writes: up to the last bit that the range needs. */
static int64_t ep_range_close(const ep_range_reader *in) {
    int64_t seen = 8 * in->at - in->ahead; /* bits, of which the last 32 tell the range's place */
    if (8 * in->size < seen - 32) return EP_ENDS_EARLY;
    return 8 * in->size > seen + 7 ? EP_LEFT_OVER : 0;
}

EP_INLINE void ep_range_put(ep_range_writer *out, uint32_t low, uint32_t width) {
    out->low += low;
    int32_t bits = __builtin_clz(width);
    out->range = width << bits;
    out->low <<= bits;
    out->held += bits;
    while (out->held >= 8) {
        out->held -= 8;
        uint64_t byte = out->low >> (32 + out->held); /* a ninth bit is a carry */
        out->low &= ((uint64_t)1 << (32 + out->held)) - 1;
        if (byte > 255)
            for (int64_t i = out->at; i > 0 && i <= out->capacity && ++out->bytes[i - 1] == 0; i--) {
            }
        if (out->at < out->capacity) out->bytes[out->at] = (uint8_t)byte;
        out->at++;
    }
}

/* The number in the last range with most zeros at its end, without those; the size, or EP_FULL. */
static int64_t ep_range_finish(ep_range_writer *out) {
    uint64_t value = out->low, last = out->low + out->range - 1;
    int32_t zeros = 32;
    do {
        zeros--;
        value = (out->low + ((uint64_t)1 << zeros) - 1) >> zeros << zeros;
    } while (value > last);
    int32_t left = out->held + 32 - zeros; /* bits that still matter */
    out->low = value;
    while (left > 0) {
        ep_range_put(out, 0, 1u << 23); /* eight bits further */
        left -= 8;
    }
    return out->at <= out->capacity ? out->at : (int64_t)EP_FULL;
}

#endif
