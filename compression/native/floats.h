/* The coder `floats`, decoding. Its bytes are drawn in edgepress_compression/codec/floats.py and floats_blocks.py;
 * floats_reference.py is what this must agree with, error for error.
 */
#ifndef EDGEPRESS_FLOATS_H
#define EDGEPRESS_FLOATS_H

#include "edgepress.h"

enum {
    EP_FLOATS_SET = 1,
    EP_FLOATS_LIST = 2,
    EP_FLOATS_INDEXED = 3,
    EP_FLOATS_GRID = 4,
    EP_FLOATS_HEADS_MAX = (1 << 11) + 1,
    EP_FLOATS_BITS_MAX = 63, /* of a magnitude */
    EP_FLOATS_CLASSES_MAX = 4 * (EP_FLOATS_BITS_MAX - 3) + 7,
    EP_FLOATS_CONTEXTS = 3,
    EP_FLOATS_DISTINCT_MAX = 256,
    EP_FLOATS_TOTAL_MAX = 1 << 15, /* of frequencies; above, all are halved, rounding up */
    EP_FLOATS_CHUNK_BITS = 16
};

/* The range decoder of floats_range.py. */
typedef struct {
    const uint8_t *payload;
    int64_t size, at;
    uint32_t range, code;
    int64_t error; /* the first; what is decoded after it is only safe */
} ep_floats_range;

typedef struct {
    uint32_t *of; /* (size,) */
    int32_t size;
    uint32_t sum;
    const uint32_t *kernel; /* (reach + 1,): what a symbol at that distance gains, at first */
    int32_t reach;
    uint32_t seen; /* symbols */
} ep_floats_frequencies;

static const uint32_t ep_floats_head_kernel[] = {128, 64, 32, 16, 8, 4};
static const uint32_t ep_floats_step_kernel[] = {200, 100, 40};
static const uint32_t ep_floats_index_kernel[] = {32};

EP_INLINE void ep_floats_feed(ep_floats_range *coder) {
    while (coder->range < (uint32_t)1 << 24) {
        uint32_t byte = coder->at < coder->size ? coder->payload[coder->at++] : 0;
        coder->code = coder->code << 8 | byte;
        coder->range <<= 8;
    }
}

static void ep_floats_open(ep_floats_range *coder, const uint8_t *payload, int64_t size) {
    coder->payload = payload;
    coder->size = size;
    coder->at = 0;
    coder->range = 0xFFFFFFFFu;
    coder->code = 0;
    coder->error = size > 0 && payload[size - 1] == 0 ? EP_LEFT_OVER : 0;
    for (int i = 0; i < 4; i++)
        coder->code = coder->code << 8 | (uint32_t)(coder->at < size ? payload[coder->at++] : 0);
}

static uint64_t ep_floats_bits(ep_floats_range *coder, int count) {
    uint64_t value = 0;
    while (count > 0) {
        int part = count < EP_FLOATS_CHUNK_BITS ? count : EP_FLOATS_CHUNK_BITS;
        count -= part;
        coder->range >>= part;
        uint32_t chunk = coder->code / coder->range;
        if (chunk >> part) {
            if (!coder->error)
                coder->error = EP_STATE;
            return 0;
        }
        coder->code -= coder->range * chunk;
        value = value << part | chunk;
        ep_floats_feed(coder);
    }
    return value;
}

/* A symbol of low .. low + count - 1, and what it teaches. */
static int32_t ep_floats_symbol(ep_floats_range *coder, ep_floats_frequencies *f, int32_t low, int32_t count) {
    uint32_t total = 0;
    if (count == f->size)
        total = f->sum;
    else
        for (int32_t i = low; i < low + count; i++)
            total += f->of[i];
    uint32_t step = coder->range / total, part = coder->code / step;
    if (part >= total) {
        if (!coder->error)
            coder->error = EP_STATE;
        return low;
    }
    int32_t symbol = low;
    uint32_t start = 0;
    while (start + f->of[symbol] <= part)
        start += f->of[symbol++];
    coder->code -= step * start;
    coder->range = step * f->of[symbol];
    ep_floats_feed(coder);

    /* Neighbours gain less and less: half of it after every 32 symbols. */
    uint32_t halvings = f->seen++ >> 5;
    int32_t reach = halvings < 8 ? f->reach : 0;
    for (int32_t away = -reach; away <= reach; away++) {
        int32_t near = symbol + away;
        if (near >= 0 && near < f->size) {
            uint32_t gain = away == 0 ? f->kernel[0] : f->kernel[away < 0 ? -away : away] >> halvings;
            f->of[near] += gain;
            f->sum += gain;
        }
    }
    if (f->sum > EP_FLOATS_TOTAL_MAX) {
        f->sum = 0;
        for (int32_t i = 0; i < f->size; i++) {
            f->of[i] = (f->of[i] + 1) >> 1;
            f->sum += f->of[i];
        }
    }
    return symbol;
}

static int64_t ep_floats_end(const ep_floats_range *coder) {
    if (coder->error)
        return coder->error;
    return coder->at < coder->size ? EP_LEFT_OVER : 0;
}

/* What all forms but the grid work with; lies in the caller's work memory. */
typedef struct {
    ep_floats_range coder;
    int exponent_bits, fraction_bits, zeros;
    int32_t classes;
    int32_t before[3]; /* spacings, latest first */
    int32_t known;     /* of them */
    ep_floats_frequencies heads, steps[EP_FLOATS_CONTEXTS], indices;
    uint64_t distinct[EP_FLOATS_DISTINCT_MAX];
    uint32_t heads_of[EP_FLOATS_HEADS_MAX];
    uint32_t steps_of[EP_FLOATS_CONTEXTS][2 * EP_FLOATS_CLASSES_MAX - 1];
    uint32_t indices_of[EP_FLOATS_DISTINCT_MAX];
} ep_floats_work;

EP_INLINE int32_t ep_floats_classes(int bits) { return 4 * (bits - 3) + 7; }

static void ep_floats_flat(ep_floats_frequencies *f, uint32_t *of, int32_t size, const uint32_t *kernel,
                           int32_t reach) {
    f->of = of;
    f->size = size;
    f->sum = (uint32_t)size;
    f->kernel = kernel;
    f->reach = reach;
    f->seen = 0;
    for (int32_t i = 0; i < size; i++)
        of[i] = 1;
}

static void ep_floats_start_heads(ep_floats_work *w) {
    int32_t one = (1 << (w->exponent_bits - 1)) - 1;
    ep_floats_flat(&w->heads, w->heads_of, (1 << w->exponent_bits) + 1, ep_floats_head_kernel, 5);
    for (int32_t head = one - 15; head < one + 6; head++)
        if (head >= 0) {
            w->heads_of[head] = 9;
            w->heads.sum += 8;
        }
}

static void ep_floats_start_steps(ep_floats_work *w) {
    w->classes = ep_floats_classes(w->exponent_bits + w->fraction_bits);
    for (int c = 0; c < EP_FLOATS_CONTEXTS; c++) {
        ep_floats_frequencies *f = &w->steps[c];
        ep_floats_flat(f, w->steps_of[c], 2 * w->classes - 1, ep_floats_step_kernel, 2);
        for (int32_t i = 0; i < f->size; i++) {
            int32_t away = i - (w->classes - 1);
            uint32_t likely = 4096u / (uint32_t)(away * away + 4);
            f->of[i] += likely;
            f->sum += likely;
        }
    }
}

static uint64_t ep_floats_step(ep_floats_range *coder, int32_t kind) {
    if (kind < 7)
        return (uint64_t)kind + 1;
    int extra_bits = (kind - 3) >> 2;
    return (uint64_t)(4 | ((kind - 3) & 3)) << extra_bits | ep_floats_bits(coder, extra_bits);
}

/* The step from the magnitude `smaller` > 0 to the next. */
static uint64_t ep_floats_next_step(ep_floats_work *w, uint64_t smaller) {
    int32_t level = 4 * (int32_t)(smaller >> w->fraction_bits), foreseen, context = 0;
    if (w->known == 0) {
        foreseen = 4 * (w->fraction_bits - 3);
    } else {
        int32_t a = w->before[0], b = w->known > 1 ? w->before[1] : a, c = w->known > 2 ? w->before[2] : b;
        foreseen = ((8 * a + 5 * b + 3 * c + 8) >> 4) - level;
        if (w->known == 3) {
            int32_t rough = (a > b ? a - b : b - a) + (b > c ? b - c : c - b);
            context = rough < 4 ? 0 : rough < 9 ? 1 : 2;
        }
    }
    if (foreseen < 0)
        foreseen = 0;
    if (foreseen > w->classes - 1)
        foreseen = w->classes - 1;
    int32_t low = w->classes - 1 - foreseen;
    int32_t kind = ep_floats_symbol(&w->coder, &w->steps[context], low, w->classes) - low;
    uint64_t step = ep_floats_step(&w->coder, kind) - 1;
    w->before[2] = w->before[1];
    w->before[1] = w->before[0];
    w->before[0] = kind + level;
    if (w->known < 3)
        w->known++;
    return step;
}

EP_INLINE void ep_floats_put(void *out, int64_t itemsize, int64_t at, uint64_t value) {
    if (itemsize == 2)
        ((uint16_t *)out)[at] = (uint16_t)value;
    else if (itemsize == 4)
        ((uint32_t *)out)[at] = (uint32_t)value;
    else
        ((uint64_t *)out)[at] = value;
}

EP_INLINE uint64_t ep_floats_get(const void *out, int64_t itemsize, int64_t at) {
    if (itemsize == 2)
        return ((const uint16_t *)out)[at];
    if (itemsize == 4)
        return ((const uint32_t *)out)[at];
    return ((const uint64_t *)out)[at];
}

EP_INLINE uint64_t ep_floats_element(const ep_floats_work *w, uint64_t sign, uint64_t magnitude) {
    return (sign << (w->exponent_bits + w->fraction_bits) | magnitude) << w->zeros;
}

/* `count` ascending magnitudes of one sign, to out[at], out[at + by], ... */
static void ep_floats_magnitudes(ep_floats_work *w, int64_t count, uint64_t sign, void *out, int64_t itemsize,
                                 int64_t at, int64_t by) {
    uint64_t before = 0;
    w->known = 0;
    for (int64_t i = 0; i < count && !w->coder.error; i++, at += by) {
        if (before) {
            before += ep_floats_next_step(w, before);
            if (before >> (w->exponent_bits + w->fraction_bits)) {
                if (!w->coder.error)
                    w->coder.error = EP_RANGE;
                return;
            }
        } else {
            int32_t head = ep_floats_symbol(&w->coder, &w->heads, 0, w->heads.size);
            if (head)
                before = (uint64_t)(head - 1) << w->fraction_bits | ep_floats_bits(&w->coder, w->fraction_bits);
        }
        ep_floats_put(out, itemsize, at, ep_floats_element(w, sign, before));
    }
}

static void ep_floats_set(ep_floats_work *w, int64_t count, void *out, int64_t itemsize) {
    int width = 0;
    while (count >> width)
        width++;
    int64_t minus = (int64_t)ep_floats_bits(&w->coder, width), plus = count - minus;
    if (w->coder.error)
        return;
    if (plus < 0) {
        w->coder.error = EP_RANGE;
        return;
    }
    ep_floats_start_heads(w);
    ep_floats_start_steps(w);
    ep_floats_magnitudes(w, minus, 1, out, itemsize, minus - 1, -1);
    if (w->coder.error)
        return;
    if (minus > 0 && (plus == minus || plus == minus + 1) && ep_floats_bits(&w->coder, 1)) {
        uint64_t sign_bit = ep_floats_element(w, 1, 0);
        if (plus > minus)
            ep_floats_put(out, itemsize, minus, 0);
        for (int64_t i = 0; i < minus; i++)
            ep_floats_put(out, itemsize, count - 1 - i, ep_floats_get(out, itemsize, i) & ~sign_bit);
        return;
    }
    ep_floats_magnitudes(w, plus, 0, out, itemsize, minus, 1);
}

static void ep_floats_list(ep_floats_work *w, int64_t count, void *out, int64_t itemsize) {
    uint32_t signs_of[2];
    static const uint32_t kernel[] = {1};
    ep_floats_frequencies signs;
    ep_floats_flat(&signs, signs_of, 2, kernel, 0);
    uint32_t quarters_of[3][4]; /* the highest two fraction bits, by how far the head is below the largest so far */
    static const uint32_t quarter_kernel[] = {16};
    ep_floats_frequencies quarters[3];
    for (int near = 0; near < 3; near++) {
        ep_floats_flat(&quarters[near], quarters_of[near], 4, quarter_kernel, 0);
        quarters[near].sum = 0;
        for (int i = 0; i < 4; i++)
            quarters[near].sum += quarters_of[near][i] = 64;
    }
    int32_t largest = 0;
    int plain_bits = w->fraction_bits - 2;
    ep_floats_start_heads(w);
    for (int64_t i = 0; i < count && !w->coder.error; i++) {
        int32_t head = ep_floats_symbol(&w->coder, &w->heads, 0, w->heads.size);
        uint64_t element = 0;
        if (head) {
            uint64_t sign = (uint64_t)ep_floats_symbol(&w->coder, &signs, 0, 2);
            uint64_t fraction = 0;
            largest = head > largest ? head : largest;
            if (plain_bits >= 0) {
                int32_t near = largest - head < 2 ? largest - head : 2;
                fraction = (uint64_t)ep_floats_symbol(&w->coder, &quarters[near], 0, 4) << plain_bits;
            }
            fraction |= ep_floats_bits(&w->coder, plain_bits < 0 ? w->fraction_bits : plain_bits);
            element = ep_floats_element(w, sign, (uint64_t)(head - 1) << w->fraction_bits | fraction);
        }
        ep_floats_put(out, itemsize, i, element);
    }
}

static void ep_floats_indexed(ep_floats_work *w, int64_t count, void *out, int64_t itemsize) {
    int32_t distinct = (int32_t)ep_floats_bits(&w->coder, 8) + 1;
    ep_floats_set(w, distinct, w->distinct, 8);
    ep_floats_flat(&w->indices, w->indices_of, distinct, ep_floats_index_kernel, 0);
    for (int64_t i = 0; i < count && !w->coder.error; i++)
        ep_floats_put(out, itemsize, i, w->distinct[ep_floats_symbol(&w->coder, &w->indices, 0, distinct)]);
}

/* The multiples as int32. */
static void ep_floats_grid(ep_floats_work *w, int64_t count, int32_t *out) {
    int64_t before = 0;
    ep_floats_flat(&w->indices, w->indices_of, ep_floats_classes(26), ep_floats_index_kernel, 0);
    for (int64_t i = 0; i < count && !w->coder.error; i++) {
        int32_t kind = ep_floats_symbol(&w->coder, &w->indices, 0, w->indices.size);
        int64_t zigzag = (int64_t)ep_floats_step(&w->coder, kind) - 1;
        before += zigzag & 1 ? -((zigzag + 1) >> 1) : zigzag >> 1;
        if (before <= -((int64_t)1 << 24) || before >= (int64_t)1 << 24) {
            if (!w->coder.error)
                w->coder.error = EP_RANGE;
            return;
        }
        out[i] = (int32_t)before;
    }
}

EP_EXPORT int64_t ep_floats_few_work_bytes(void) { return (int64_t)sizeof(ep_floats_work); }

/* `count` elements of `itemsize` bytes (2, 4 or 8) from a payload of the form set, list or indexed; the grid's multiples
 * as int32. Returns 0. */
EP_EXPORT int64_t ep_floats_few(int64_t form, const uint8_t *payload, int64_t size, int64_t exponent_bits,
                                int64_t fraction_bits, void *out, int64_t itemsize, int64_t count, void *work,
                                int64_t work_bytes) {
    ep_floats_work *w = work;
    if (work_bytes < (int64_t)sizeof(ep_floats_work))
        return EP_WORK;
    if ((itemsize != 2 && itemsize != 4 && itemsize != 8) || exponent_bits < 5 || exponent_bits > 11 ||
        fraction_bits != 8 * itemsize - 1 - exponent_bits || count < 0 || size < 0)
        return EP_ARGUMENT;
    ep_floats_open(&w->coder, payload, size);
    w->exponent_bits = (int)exponent_bits;
    w->fraction_bits = (int)fraction_bits;
    w->zeros = 0;
    if (form != EP_FLOATS_GRID) {
        w->zeros = (int)ep_floats_bits(&w->coder, 6);
        if (!w->coder.error && w->zeros > w->fraction_bits)
            w->coder.error = EP_RANGE;
        if (w->coder.error)
            return w->coder.error;
        w->fraction_bits -= w->zeros;
    }
    if (form == EP_FLOATS_SET)
        ep_floats_set(w, count, out, itemsize);
    else if (form == EP_FLOATS_LIST)
        ep_floats_list(w, count, out, itemsize);
    else if (form == EP_FLOATS_INDEXED)
        ep_floats_indexed(w, count, out, itemsize);
    else if (form == EP_FLOATS_GRID && itemsize == 4)
        ep_floats_grid(w, count, out);
    else
        return EP_ARGUMENT;
    return ep_floats_end(&w->coder);
}

/* Blocks: heads and tails together, see floats_blocks.py. */
EP_INLINE void ep_floats_join_as(const void *heads, int64_t head_bytes, int64_t count, int64_t elements, uint64_t low,
                                 int rest_bits, int magnitude_bits, int zeros, int64_t signs, const uint8_t *tails,
                                 void *out, int64_t itemsize) {
    int own = signs == 0, bits = rest_bits + own, planes = bits >> 3, odd = bits & 7;
    const uint8_t *packed = tails + planes * elements;
    uint64_t always = signs == 2 ? (uint64_t)1 << magnitude_bits : 0;
    int64_t at = 0; /* of the next tail */
    for (int64_t i = 0; i < count; i++) {
        uint64_t head = head_bytes == 1 ? ((const uint8_t *)heads)[i] : ((const uint16_t *)heads)[i];
        uint64_t element = 0;
        if (head) {
            uint64_t tail = 0;
            for (int plane = 0; plane < planes; plane++)
                tail |= (uint64_t)tails[plane * elements + at] << (8 * plane);
            if (odd) {
                int64_t bit = at * odd;
                uint32_t two = (uint32_t)packed[bit >> 3] << 8;
                if ((bit & 7) + odd > 8)
                    two |= packed[(bit >> 3) + 1];
                tail |= (uint64_t)(two >> (16 - (bit & 7) - odd) & ((1u << odd) - 1)) << (8 * planes);
            }
            at++;
            uint64_t sign = always;
            if (own) {
                sign = (tail & 1) << magnitude_bits;
                tail >>= 1;
            }
            element = (sign | (low + head - 1) << rest_bits | tail) << zeros;
        }
        ep_floats_put(out, itemsize, i, element);
    }
}

/* `count` elements from as many heads (uint8 or uint16), of which `elements` are not 0; `tails` has exactly their bits.
 * A head h > 0 stands for low + h - 1. `magnitude_bits` without sign and the `zeros` left out. Returns 0. */
EP_EXPORT int64_t ep_floats_join(const void *heads, int64_t head_bytes, int64_t count, int64_t elements, int64_t low,
                                 int64_t rest_bits, int64_t magnitude_bits, int64_t zeros, int64_t signs,
                                 const uint8_t *tails, int64_t tails_bytes, void *out, int64_t itemsize) {
    if (count < 0 || elements < 0 || elements > count || low < 0 || rest_bits < 0 || zeros < 0 || signs < 0 || signs > 2 ||
        rest_bits >= magnitude_bits || magnitude_bits + zeros >= 8 * itemsize || (head_bytes != 1 && head_bytes != 2) ||
        (itemsize != 2 && itemsize != 4 && itemsize != 8))
        return EP_ARGUMENT;
    int64_t bits = rest_bits + (signs == 0), odd = elements * (bits & 7), nonzero = 0;
    if (elements * (bits >> 3) + ((odd + 7) >> 3) != tails_bytes)
        return EP_ARGUMENT;
    for (int64_t i = 0; i < count; i++)
        nonzero += (head_bytes == 1 ? ((const uint8_t *)heads)[i] : ((const uint16_t *)heads)[i]) != 0;
    if (nonzero != elements)
        return EP_ARGUMENT;
    if ((odd & 7) && tails[tails_bytes - 1] & ((1 << (8 - (odd & 7))) - 1))
        return EP_LEFT_OVER;
    if (itemsize == 4 && head_bytes == 1)
        ep_floats_join_as(heads, 1, count, elements, (uint64_t)low, (int)rest_bits, (int)magnitude_bits, (int)zeros, signs,
                          tails, out, 4);
    else
        ep_floats_join_as(heads, head_bytes, count, elements, (uint64_t)low, (int)rest_bits, (int)magnitude_bits,
                          (int)zeros, signs, tails, out, itemsize);
    return 0;
}

#endif
