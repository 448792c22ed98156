/* Bounds-checked reading of a payload's small fields, the C side of codec/bytestream.py. */
#ifndef EDGEPRESS_CURSOR_H
#define EDGEPRESS_CURSOR_H

#include "edgepress.h"

typedef struct {
    const uint8_t *at, *end;
} ep_cursor;

EP_INLINE int64_t ep_left(const ep_cursor *in) { return in->end - in->at; }

/* The next byte, or EP_ENDS_EARLY. */
EP_INLINE int64_t ep_byte(ep_cursor *in) { return in->at < in->end ? *in->at++ : (int64_t)EP_ENDS_EARLY; }

/* A LEB128 number of at most `limit` and five bytes, written no longer than needed; or an error. */
static int64_t ep_varint(ep_cursor *in, int64_t limit) {
    int64_t value = 0;
    for (int place = 0; place < 5; place++) {
        int64_t part = ep_byte(in);
        if (part < 0) return part;
        value |= (part & 0x7F) << (7 * place);
        if (part < 0x80) return (part == 0 && place > 0) || value > limit ? (int64_t)EP_RANGE : value;
    }
    return EP_RANGE;
}

/* Single bits, high bit of each byte first, from a cursor. */
typedef struct {
    ep_cursor *in;
    uint32_t byte;
    int left; /* bits of `byte` not yet taken */
} ep_bits;

EP_INLINE int ep_bit(ep_bits *bits) {
    if (bits->left == 0) {
        int64_t next = ep_byte(bits->in);
        if (next < 0) return EP_ENDS_EARLY;
        bits->byte = (uint32_t)next;
        bits->left = 8;
    }
    bits->left--;
    return (int)(bits->byte >> bits->left & 1);
}

/* 0 when the rest of the byte that was begun is zeros. */
EP_INLINE int ep_bits_end(const ep_bits *bits) {
    return bits->byte & ((1u << bits->left) - 1) ? EP_LEFT_OVER : 0;
}

EP_INLINE uint32_t ep_load16(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }

EP_INLINE uint32_t ep_load32(const uint8_t *at) { return ep_load16(at) | ep_load16(at + 2) << 16; }

EP_INLINE uint64_t ep_load64_high_first(const uint8_t *at) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | at[i];
    return value;
}

EP_INLINE uint32_t ep_get(const void *symbols, int64_t symbol_bytes, int64_t at) {
    return symbol_bytes == 1 ? ((const uint8_t *)symbols)[at] : ((const uint16_t *)symbols)[at];
}

EP_INLINE void ep_put(void *symbols, int64_t symbol_bytes, int64_t at, uint32_t symbol) {
    if (symbol_bytes == 1)
        ((uint8_t *)symbols)[at] = (uint8_t)symbol;
    else
        ((uint16_t *)symbols)[at] = (uint16_t)symbol;
}

#endif
