/* The trellis of codec/trellis.py: from symbols to the whole numbers that they stand for. */
#ifndef EP_TRELLIS_H
#define EP_TRELLIS_H

#include "edgepress.h"

#define EP_TRELLIS_LOWEST_MOST ((int64_t)1 << 24)

EP_INLINE void ep_untangle_all(const void *symbols, const int64_t symbol_bytes, int64_t size, int64_t lowest,
                               int64_t rows, int64_t inner, uint8_t *states, int32_t *out) {
    int64_t at = 0;
    while (at < size) {
        for (int64_t row = 0; row < rows; row++) {
            unsigned state = states[row];
            for (int64_t i = 0; i < inner; i++, at++) {
                int32_t symbol = symbol_bytes == 1 ? ((const uint8_t *)symbols)[at] : ((const uint16_t *)symbols)[at];
                int32_t k = symbol + (int32_t)lowest;
                int32_t sign = (k > 0) - (k < 0);
                unsigned s0 = state & 1, s1 = state >> 1 & 1, s2 = state >> 2;
                unsigned parity = (unsigned)k & 1;
                out[at] = 2 * k - sign * (int32_t)s0;
                state = (s1 ^ s0) | (s2 ^ parity) << 1 | s0 << 2;
            }
            states[row] = (uint8_t)state;
        }
    }
}

/* symbols: `size` of 1 or 2 bytes; size must be a multiple of rows * inner. states: `rows` bytes of work memory.
 * Returns size. */
EP_EXPORT int64_t ep_untangle(const void *symbols, int64_t symbol_bytes, int64_t size, int64_t lowest, int64_t rows,
                              int64_t inner, uint8_t *states, int32_t *out, int64_t room) {
    if (size < 0 || rows < 0 || inner < 0 || (symbol_bytes != 1 && symbol_bytes != 2)) return EP_ARGUMENT;
    if (size == 0) return 0;
    if (rows == 0 || inner == 0 || rows > size || inner > size / rows || size % (rows * inner) != 0) return EP_ARGUMENT;
    if (lowest < -EP_TRELLIS_LOWEST_MOST || lowest > EP_TRELLIS_LOWEST_MOST) return EP_RANGE;
    if (room < size) return EP_FULL;
    for (int64_t row = 0; row < rows; row++) states[row] = 0;
    if (symbol_bytes == 1) {
        ep_untangle_all(symbols, 1, size, lowest, rows, inner, states, out);
    } else {
        ep_untangle_all(symbols, 2, size, lowest, rows, inner, states, out);
    }
    return size;
}

#endif
