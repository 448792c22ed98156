/* The bloomier coder's loops (codec/bloomier.py draws the bytes, codec/bloomier_cells.py is the reference). */
#ifndef EDGEPRESS_BLOOMIER_H
#define EDGEPRESS_BLOOMIER_H

#include "edgepress.h"

enum { EP_WINDOW = 64, EP_GROUP_FIELDS = 3, EP_CLASS_EMPTY = 16, EP_VALUE_BITS_MAX = 15 };

/* A bijection of 32 bits in which every bit of the input changes about half of the output's. */
EP_INLINE uint32_t ep_mix(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x21F0AAADu;
    x = (x ^ (x >> 15)) * 0x735A2D97u;
    return x ^ (x >> 15);
}

EP_INLINE uint32_t ep_group_key(int64_t seed, int64_t group)
{
    return ep_mix((uint32_t)seed << 8 | (uint32_t)group);
}

/* One position's equation in a group of `cells` cells: XOR of cells[start + i] over the set bits i of `mask` = bit
 * asked for, XOR `flip`. Bit 0 of the mask is set. */
typedef struct {
    int64_t start;
    uint64_t mask;
    uint32_t flip;
} ep_equation;

EP_INLINE ep_equation ep_equation_of(uint32_t position, uint32_t key, uint64_t starts)
{
    uint32_t first = ep_mix(position ^ key);
    uint32_t second = ep_mix(first + 0x9E3779B9u);
    uint32_t third = ep_mix(second + 0x9E3779B9u);
    ep_equation of;
    of.start = (int64_t)(first * starts >> 32); /* starts < 2^32 */
    of.mask = (uint64_t)third << 32 | second | 1;
    of.flip = second & 1;
    return of;
}

EP_INLINE uint32_t ep_parity(uint64_t x)
{
    x ^= x >> 32;
    uint32_t y = (uint32_t)x;
    y ^= y >> 16;
    y ^= y >> 8;
    y ^= y >> 4;
    return 0x6996u >> (y & 15) & 1;
}

/* The bit that `cells` (low bit first) holds for a position; start + 64 <= number of cells. */
EP_INLINE uint32_t ep_bloomier_bit(const uint8_t *cells, uint32_t position, uint32_t key, uint64_t starts)
{
    ep_equation of = ep_equation_of(position, key, starts);
    const uint8_t *at = cells + (of.start >> 3);
    uint32_t shift = (uint32_t)(of.start & 7);
    uint64_t window = (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24
        | (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
    window >>= shift;
    if (shift)
        window |= (uint64_t)at[8] << (64 - shift);
    return ep_parity(window & of.mask) ^ of.flip;
}

/* Solves for the cells: bits[i] (0 or 1) at positions[i], i < count. `masks` and `right` are work of `cells` elements;
 * `out` gets ceil(cells / 8) bytes. Returns how many cells no equation asked for, or EP_FULL when the equations
 * contradict each other. */
EP_EXPORT int64_t ep_bloomier_solve(const uint32_t *positions, const uint8_t *bits, int64_t count, int64_t seed,
    int64_t group, int64_t cells, uint64_t *masks, uint8_t *right, uint8_t *out)
{
    if (cells < EP_WINDOW || cells > INT32_MAX || count < 0)
        return EP_ARGUMENT;
    uint32_t key = ep_group_key(seed, group);
    uint64_t starts = (uint64_t)(cells - EP_WINDOW + 1);
    for (int64_t cell = 0; cell < cells; cell++)
        masks[cell] = 0;
    for (int64_t i = 0; i < count; i++) {
        ep_equation of = ep_equation_of(positions[i], key, starts);
        uint8_t bit = (uint8_t)(bits[i] ^ of.flip);
        while (masks[of.start]) { /* the mask keeps inside its window, so at most 64 times */
            of.mask ^= masks[of.start];
            bit ^= right[of.start];
            if (!of.mask)
                break;
            while (!(of.mask & 1)) {
                of.mask >>= 1;
                of.start++;
            }
        }
        if (of.mask) {
            masks[of.start] = of.mask;
            right[of.start] = bit;
        } else if (bit) {
            return EP_FULL;
        }
    }
    for (int64_t i = 0; i < (cells + 7) / 8; i++)
        out[i] = 0;
    uint64_t after = 0; /* bit i: cell + 1 + i, already solved */
    int64_t unused = 0;
    for (int64_t cell = cells - 1; cell >= 0; cell--) {
        uint64_t window = after << 1;
        uint64_t bit = 0;
        if (masks[cell])
            bit = ep_parity(window & masks[cell]) ^ right[cell];
        else
            unused++;
        out[cell >> 3] |= (uint8_t)(bit << (cell & 7));
        after = window | bit;
    }
    return unused;
}

/* A position's symbol. groups: for each of checks + values groups where its bytes begin in `payload`, its cells, and
 * its seed (already checked to lie inside). */
EP_INLINE uint32_t ep_bloomier_symbol(const uint8_t *payload, const int64_t *groups, int64_t checks, int64_t values,
    const uint32_t *keys, uint32_t position, int64_t needed, const int64_t *counts, const uint16_t *ordered,
    uint32_t background, uint32_t marker)
{
    for (int64_t group = 0; group < needed; group++) {
        const int64_t *of = groups + EP_GROUP_FIELDS * group;
        if (!of[1] || ep_bloomier_bit(payload + of[0], position, keys[group], (uint64_t)(of[1] - EP_WINDOW + 1)))
            return background;
    }
    if (!ordered)
        return marker;
    int64_t code = 0, first = 0, before = 0; /* canonical: codes of a length count up from `first` */
    for (int64_t length = 1; length <= values; length++) {
        const int64_t *of = groups + EP_GROUP_FIELDS * (checks + length - 1);
        code = code << 1
            | ep_bloomier_bit(payload + of[0], position, keys[checks + length - 1], (uint64_t)(of[1] - EP_WINDOW + 1));
        first <<= 1;
        if (code - first < counts[length])
            return ordered[before + code - first];
        first += counts[length];
        before += counts[length];
    }
    return ordered[0]; /* one value, which takes no bits */
}

/* Fills out (rows * columns symbols). A position needs row_class + column_class check bits to be 0, and is background
 * when one of the two is EP_CLASS_EMPTY. counts[1 .. values]: codes of each length; ordered: the values by code, or
 * null to write `marker` for what passes. `keys` is work of checks + values elements. */
EP_EXPORT int64_t ep_bloomier_decode(const uint8_t *payload, int64_t payload_bytes, const int64_t *groups,
    int64_t checks, int64_t values, const uint8_t *row_class, int64_t rows, const uint8_t *column_class,
    int64_t columns, const int64_t *counts, const uint16_t *ordered, int64_t background, int64_t marker,
    uint32_t *keys, void *out, int64_t symbol_bytes)
{
    if (checks < 0 || values < 0 || values > EP_VALUE_BITS_MAX || rows < 0 || columns < 0
        || (symbol_bytes != 1 && symbol_bytes != 2))
        return EP_ARGUMENT;
    for (int64_t group = 0; group < checks + values; group++) {
        const int64_t *of = groups + EP_GROUP_FIELDS * group;
        if (of[1] == 0 && group < checks)
            continue; /* passes nothing */
        if (of[1] < EP_WINDOW || of[1] > INT32_MAX || of[0] < 0 || of[0] > payload_bytes
            || (of[1] + 7) / 8 > payload_bytes - of[0])
            return EP_RANGE;
        keys[group] = ep_group_key(of[2], group);
    }
    int64_t at = 0;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < columns; column++, at++) {
            uint32_t symbol = (uint32_t)background;
            if (row_class[row] < EP_CLASS_EMPTY && column_class[column] < EP_CLASS_EMPTY) {
                int64_t needed = row_class[row] + column_class[column];
                if (needed > checks)
                    return EP_ARGUMENT;
                symbol = ep_bloomier_symbol(payload, groups, checks, values, keys, (uint32_t)at, needed, counts,
                    ordered, (uint32_t)background, (uint32_t)marker);
            }
            if (symbol_bytes == 1)
                ((uint8_t *)out)[at] = (uint8_t)symbol;
            else
                ((uint16_t *)out)[at] = (uint16_t)symbol;
        }
    }
    return at;
}

#endif
