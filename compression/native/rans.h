/* Interleaved rANS with static tables: codec/rans.py draws the bytes, codec/rans_reference.py is the
 * specification of these loops. After Duda 2013, "Asymmetric numeral systems" (arXiv:1311.2540), and Giesen 2014,
 * "Interleaved entropy coders" (arXiv:1402.3392): 32-bit states, renormalised by 16-bit words. */
#ifndef EDGEPRESS_RANS_H
#define EDGEPRESS_RANS_H

#include "huffman.h"

enum {
    EP_RANS_MAX_CLASSES = 16,
    EP_RANS_MAX_SIDE = 65536,        /* of rows or columns that have classes: bounds the work memory */
    EP_RANS_MAX_SLOTS = 1 << 19,     /* contexts << precision: 2 MiB of tables */
    EP_RANS_MAX_LANES = 64,
    EP_RANS_MAX_TOKENS = 256,        /* larger alphabets store low bits apart */
    EP_RANS_LOW = 1 << 16            /* states are from here up, and end here */
};

typedef struct {
    uint32_t slots[EP_RANS_MAX_SLOTS]; /* place in the interval << 20 | (frequency - 1) << 8 | token */
    uint32_t order[EP_RANS_MAX_SIDE];  /* rows by class */
    uint8_t row_class[EP_RANS_MAX_SIDE], column_class[EP_RANS_MAX_SIDE];
    ep_prefix_code code;
} ep_rans_work;

/* The walk: `rows` rows of `columns`, element (r, c) at r * row_step + c * column_step. */
typedef struct {
    int64_t rows, columns, row_step, column_step;
    int64_t row_classes, column_classes, previous, pivot;
    int64_t precision, lanes;
    const uint8_t *at, *end; /* words */
    uint32_t state[EP_RANS_MAX_LANES];
} ep_rans;

static const uint32_t ep_exp2_eighths[8] = {1048576, 961548, 881744, 808563, 741455, 679917, 623487, 571740};

/* --- tables ------------------------------------------------------------------------------------------- */

static int64_t ep_exp_golomb(ep_bits *bits, int order) {
    int zeros = 0, bit;
    while ((bit = ep_bit(bits)) == 0)
        if (++zeros > 12) return EP_RANGE;
    if (bit < 0) return bit;
    int64_t value = 1;
    for (int i = 0; i < zeros + order; i++) {
        if ((bit = ep_bit(bits)) < 0) return bit;
        value = value << 1 | bit;
    }
    return value - (1 << order);
}

EP_INLINE int32_t ep_rans_level(int32_t level, int32_t absent) { return level < absent ? level : absent; }

/* The levels of one table, against those in `reference`. */
static int64_t ep_rans_levels(ep_bits *bits, int order, int64_t tokens, int32_t absent, const int32_t *reference,
                              int32_t *levels) {
    int32_t offset = 0;
    for (int64_t at = 0; at < tokens; at++) {
        int64_t run = ep_exp_golomb(bits, order);
        if (run < 0) return run;
        if (run > tokens - at) return EP_RANGE;
        for (int64_t stop = at + run; at < stop; at++)
            if ((levels[at] = ep_rans_level(reference[at] + offset, absent)) < 0) return EP_RANGE;
        if (at == tokens) break;
        int64_t size = ep_exp_golomb(bits, 0), sign = ep_bit(bits);
        if (size < 0 || sign < 0) return size < 0 ? size : sign;
        offset += sign ? -(int32_t)size - 1 : (int32_t)size + 1;
        if (offset > absent || offset < -absent) return EP_RANGE;
        if ((levels[at] = ep_rans_level(reference[at] + offset, absent)) < 0) return EP_RANGE;
    }
    return 0;
}

/* Levels to frequencies that sum to 1 << precision; the slots of one context. */
static int64_t ep_rans_slots(const int32_t *levels, int64_t tokens, int resolution, int precision, uint32_t *slots) {
    uint32_t frequency[EP_RANS_MAX_TOKENS];
    int32_t absent = 14 << resolution;
    uint64_t total = 0;
    for (int64_t t = 0; t < tokens; t++) {
        frequency[t] = 0;
        if (levels[t] < absent)
            frequency[t] = ep_exp2_eighths[(levels[t] & ((1 << resolution) - 1)) << (3 - resolution)] >> (levels[t] >> resolution);
        total += frequency[t];
    }
    if (total == 0) return EP_TABLE;
    int64_t left = 1 << precision;
    for (int64_t t = 0; t < tokens; t++)
        if (frequency[t]) {
            uint64_t share = (((uint64_t)frequency[t] << precision) + total / 2) / total;
            frequency[t] = share ? (uint32_t)share : 1;
            left -= frequency[t];
        }
    while (left) {
        int64_t largest = 0;
        for (int64_t t = 1; t < tokens; t++)
            if (frequency[t] > frequency[largest]) largest = t;
        int64_t half = frequency[largest] / 2, change = left > 0 ? left : (-left < half ? left : -half);
        frequency[largest] = (uint32_t)(frequency[largest] + change);
        left -= change;
    }
    for (int64_t t = 0; t < tokens; t++)
        for (uint32_t i = 0; i < frequency[t]; i++) *slots++ = i << 20 | (frequency[t] - 1) << 8 | (uint32_t)t;
    return 0;
}

static int64_t ep_rans_tables(ep_cursor *in, int64_t contexts, int64_t tokens, int resolution, int order, int precision,
                              uint32_t *slots) {
    int32_t none[EP_RANS_MAX_TOKENS], base[EP_RANS_MAX_TOKENS], levels[EP_RANS_MAX_TOKENS];
    int32_t absent = 14 << resolution;
    for (int64_t t = 0; t < tokens; t++) none[t] = absent;
    ep_bits bits = {in, 0, 0};
    int64_t error = ep_rans_levels(&bits, order, tokens, absent, none, base);
    if (error < 0) return error;
    if (contexts == 1) error = ep_rans_slots(base, tokens, resolution, precision, slots);
    for (int64_t c = 0; c < contexts && contexts > 1; c++) {
        int own = ep_bit(&bits);
        if (own < 0) return own;
        error = ep_rans_levels(&bits, order, tokens, absent, own ? none : base, levels);
        if (error < 0) return error;
        error = ep_rans_slots(levels, tokens, resolution, precision, slots + (c << precision));
        if (error < 0) return error;
    }
    return error < 0 ? error : ep_bits_end(&bits);
}

/* --- decoding ----------------------------------------------------------------------------------------- */

/* One token from one lane. `words` are enough unless `checked`; returns whether they were. */
EP_INLINE int ep_rans_next(const uint32_t *slots, uint32_t *state, const uint8_t **at, const uint8_t *end, int64_t precision,
                           int checked, uint32_t *token) {
    uint32_t x = *state, slot = slots[x & ((1u << precision) - 1)];
    x = ((slot >> 8 & 0xFFF) + 1) * (x >> precision) + (slot >> 20);
    *token = slot & 0xFF;
    if (checked) {
        if (x < EP_RANS_LOW) {
            if (end - *at < 2) return 0;
            x = x << 16 | ep_load16(*at);
            *at += 2;
        }
    } else { /* without a branch: it would be mispredicted every few tokens */
        uint32_t low = x < EP_RANS_LOW, filled = x << 16 | ep_load16(*at);
        x = low ? filled : x;
        *at += low << 1;
    }
    *state = x;
    return 1;
}

/* `active` rows at once, row l at out[to[l] ...] with the tables slots[l]. */
EP_INLINE int64_t ep_rans_block(ep_rans *job, const uint8_t *column_class, const uint32_t *const *slots, const int64_t *to,
                                int64_t active, int previous, void *out, int64_t symbol_bytes) {
    uint32_t state[EP_RANS_MAX_LANES], before[EP_RANS_MAX_LANES];
    const uint8_t *at = job->at, *end = job->end;
    const int64_t precision = job->precision, columns = job->columns, step = job->column_step;
    const int64_t class_slots = (previous ? 3 : 1) << precision;
    const uint32_t pivot = (uint32_t)job->pivot;
    for (int64_t l = 0; l < active; l++) {
        state[l] = job->state[l];
        before[l] = 1u << precision;
    }
    for (int64_t c = 0; c < columns; c++) {
        int64_t offset = column_class ? column_class[c] * class_slots : 0;
        int checked = end - at < 2 * active;
#define EP_RANS_STEP(CHECKED)                                                                                     \
    for (int64_t l = 0; l < active; l++) {                                                                        \
        uint32_t token;                                                                                           \
        if (!ep_rans_next(slots[l] + offset + (previous ? before[l] : 0), &state[l], &at, end, precision, CHECKED, &token)) \
            return EP_ENDS_EARLY;                                                                                 \
        ep_put(out, symbol_bytes, to[l] + c * step, token);                                                       \
        if (previous) before[l] = (1 + (uint32_t)(token > pivot) - (uint32_t)(token < pivot)) << precision;        \
    }
        if (checked) {
            EP_RANS_STEP(1)
        } else {
            EP_RANS_STEP(0)
        }
#undef EP_RANS_STEP
    }
    job->at = at;
    for (int64_t l = 0; l < active; l++) job->state[l] = state[l];
    return 0;
}

/* One table for all: elements in order, element i in lane i mod lanes. */
EP_INLINE int64_t ep_rans_flat(ep_rans *job, const uint32_t *slots, int64_t lanes, void *out, int64_t symbol_bytes) {
    uint32_t state[EP_RANS_MAX_LANES], token;
    const uint8_t *at = job->at, *end = job->end;
    const int64_t precision = job->precision;
    int64_t i = 0;
    for (int64_t l = 0; l < lanes; l++) state[l] = job->state[l];
    for (; i + lanes <= job->rows && end - at >= 2 * lanes; i += lanes)
        for (int64_t l = 0; l < lanes; l++) {
            ep_rans_next(slots, &state[l], &at, end, precision, 0, &token);
            ep_put(out, symbol_bytes, i + l, token);
        }
    for (; i < job->rows; i++) {
        if (!ep_rans_next(slots, &state[i & (lanes - 1)], &at, end, precision, 1, &token)) return EP_ENDS_EARLY;
        ep_put(out, symbol_bytes, i, token);
    }
    job->at = at;
    for (int64_t l = 0; l < lanes; l++) job->state[l] = state[l];
    return 0;
}

EP_INLINE int64_t ep_rans_matrix(ep_rans *job, const ep_rans_work *work, int previous, void *out, int64_t symbol_bytes) {
    const uint8_t *column_class = job->column_classes > 1 ? work->column_class : (const uint8_t *)0;
    const int64_t row_slots = (job->column_classes * (previous ? 3 : 1)) << job->precision;
    const uint32_t *slots[EP_RANS_MAX_LANES];
    int64_t to[EP_RANS_MAX_LANES], error = 0;
    for (int64_t r = 0; r < job->rows && error == 0; r += job->lanes) {
        int64_t active = job->rows - r < job->lanes ? job->rows - r : job->lanes;
        for (int64_t l = 0; l < active; l++) {
            int64_t row = job->row_classes > 1 ? work->order[r + l] : r + l;
            to[l] = row * job->row_step;
            slots[l] = work->slots + (job->row_classes > 1 ? work->row_class[row] * row_slots : 0);
        }
        if (active == 8)
            error = ep_rans_block(job, column_class, slots, to, 8, previous, out, symbol_bytes);
        else if (active == 32)
            error = ep_rans_block(job, column_class, slots, to, 32, previous, out, symbol_bytes);
        else
            error = ep_rans_block(job, column_class, slots, to, active, previous, out, symbol_bytes);
    }
    return error;
}

EP_INLINE int64_t ep_rans_tokens(ep_rans *job, const ep_rans_work *work, void *out, int64_t symbol_bytes) {
    if (job->row_classes * job->column_classes == 1 && !job->previous) {
        if (job->lanes == 8) return ep_rans_flat(job, work->slots, 8, out, symbol_bytes);
        if (job->lanes == 32) return ep_rans_flat(job, work->slots, 32, out, symbol_bytes);
        return ep_rans_flat(job, work->slots, job->lanes, out, symbol_bytes);
    }
    return job->previous ? ep_rans_matrix(job, work, 1, out, symbol_bytes) : ep_rans_matrix(job, work, 0, out, symbol_bytes);
}

static int64_t ep_rans_classes(ep_cursor *in, int64_t side, int64_t classes, ep_prefix_code *code, uint8_t *to) {
    if (side > EP_RANS_MAX_SIDE) return EP_RANGE;
    return ep_stream_decode_checked(in, side, classes, code, to, 1);
}

EP_EXPORT int64_t ep_rans_work_bytes(void) { return (int64_t)sizeof(ep_rans_work); }

/* A payload to out (the product of the shape symbols < alphabet). Returns 0. */
EP_EXPORT int64_t ep_rans_decode(const void *payload, int64_t size, int64_t alphabet, const int64_t *shape, int64_t dims,
                                 void *out, int64_t symbol_bytes, void *work_memory, int64_t work_bytes) {
    ep_rans_work *work = work_memory;
    ep_rans job = {0};
    if (work_bytes < ep_rans_work_bytes()) return EP_WORK;
    if (size < 0 || alphabet < 1 || alphabet > 4096 || dims < 0 || (symbol_bytes != 2 && !(symbol_bytes == 1 && alphabet <= 256)))
        return EP_ARGUMENT;
    int64_t count = 1, rows = dims ? shape[0] : 1, low_bits = 0;
    for (int64_t i = 0; i < dims; i++) {
        if (shape[i] < 1 || count > (INT64_C(1) << 40) / shape[i]) return EP_ARGUMENT;
        count *= shape[i];
    }
    while ((alphabet - 1) >> low_bits >= EP_RANS_MAX_TOKENS) low_bits++;
    const int64_t tokens = ((alphabet - 1) >> low_bits) + 1;

    ep_cursor in = {payload, (const uint8_t *)payload + size};
    if (size < 3) return EP_ENDS_EARLY;
    const int flags = in.at[0], classes = in.at[1], form = in.at[2];
    in.at += 3;
    const int by_columns = flags & 1;
    job.previous = flags >> 1 & 1;
    job.lanes = 1 << (flags >> 2 & 7);
    job.precision = 8 + (flags >> 5);
    job.row_classes = (classes & 15) + 1;
    job.column_classes = (classes >> 4) + 1;
    const int64_t contexts = job.row_classes * job.column_classes * (job.previous ? 3 : 1);
    if (job.lanes > EP_RANS_MAX_LANES || job.precision > 12 || form > 15 || contexts << job.precision > EP_RANS_MAX_SLOTS)
        return EP_RANGE;
    if (contexts == 1) {
        if (by_columns) return EP_RANGE;
        job.rows = count;
        job.columns = job.row_step = job.column_step = 1;
    } else {
        job.rows = by_columns ? count / rows : rows;
        job.columns = count / job.rows;
        job.row_step = by_columns ? 1 : job.columns;
        job.column_step = by_columns ? job.rows : 1;
    }
    int64_t error;
    if (job.previous) {
        job.pivot = ep_varint(&in, tokens - 1);
        if (job.pivot < 0) return job.pivot;
    }
    if (job.row_classes > 1) {
        error = ep_rans_classes(&in, job.rows, job.row_classes, &work->code, work->row_class);
        if (error < 0) return error;
        uint32_t place = 0;
        for (int64_t k = 0; k < job.row_classes; k++)
            for (int64_t r = 0; r < job.rows; r++)
                if (work->row_class[r] == k) work->order[place++] = (uint32_t)r;
    }
    if (job.column_classes > 1) {
        error = ep_rans_classes(&in, job.columns, job.column_classes, &work->code, work->column_class);
        if (error < 0) return error;
    }
    error = ep_rans_tables(&in, contexts, tokens, form & 3, form >> 2, (int)job.precision, work->slots);
    if (error < 0) return error;
    if (ep_left(&in) < 4 * job.lanes) return EP_ENDS_EARLY;
    for (int64_t l = 0; l < job.lanes; l++, in.at += 4)
        if ((job.state[l] = ep_load32(in.at)) < EP_RANS_LOW) return EP_STATE;
    const int64_t low_bytes = (count * low_bits + 7) / 8;
    if (ep_left(&in) < low_bytes) return EP_ENDS_EARLY;
    job.at = in.at;
    job.end = in.end - low_bytes;
    error = symbol_bytes == 1 ? ep_rans_tokens(&job, work, out, 1) : ep_rans_tokens(&job, work, out, 2);
    if (error < 0) return error;
    if (job.at != job.end) return EP_LEFT_OVER;
    for (int64_t l = 0; l < job.lanes; l++)
        if (job.state[l] != EP_RANS_LOW) return EP_STATE;
    if (low_bits) {
        in.at = job.end;
        ep_bits bits = {&in, 0, 0};
        uint16_t *symbols = out;
        for (int64_t i = 0; i < count; i++) {
            uint32_t symbol = symbols[i];
            for (int64_t k = 0; k < low_bits; k++) symbol = symbol << 1 | (uint32_t)ep_bit(&bits);
            if (symbol >= alphabet) return EP_RANGE;
            symbols[i] = (uint16_t)symbol;
        }
        return ep_bits_end(&bits);
    }
    return 0;
}

/* The tokens of a walk (its state, words and classes aside as in ep_rans_decode) to words at the end of
 * out[0 .. room), and the lanes' last states. row_order, row_class and column_class may be null where there is one class;
 * frequency[context * 256 + token], and start likewise. Returns the bytes of words. */
EP_EXPORT int64_t ep_rans_encode(const void *tokens, int64_t symbol_bytes, int64_t rows, int64_t columns, int64_t row_step,
                                 int64_t column_step, const int64_t *row_order, const uint8_t *row_class,
                                 const uint8_t *column_class, int64_t column_classes, int64_t pivot, int64_t precision,
                                 int64_t lanes, const uint16_t *frequency, const uint16_t *start, uint32_t *state, uint8_t *out,
                                 int64_t room) {
    if (lanes < 1 || lanes > EP_RANS_MAX_LANES || precision < 8 || precision > 12) return EP_ARGUMENT;
    const int64_t previous = pivot >= 0 ? 3 : 1;
    uint8_t *at = out + room;
    for (int64_t l = 0; l < lanes; l++) state[l] = EP_RANS_LOW;
    for (int64_t first = (rows - 1) / lanes * lanes; first >= 0; first -= lanes) {
        int64_t active = rows - first < lanes ? rows - first : lanes;
        for (int64_t c = columns - 1; c >= 0; c--)
            for (int64_t l = active - 1; l >= 0; l--) {
                int64_t row = row_order ? row_order[first + l] : first + l, element = row * row_step + c * column_step;
                int64_t context = (row_class ? row_class[row] : 0) * column_classes + (column_class ? column_class[c] : 0);
                if (previous == 3) {
                    int64_t before = c ? (int64_t)ep_get(tokens, symbol_bytes, element - column_step) : pivot;
                    context = context * 3 + 1 + (before > pivot) - (before < pivot);
                }
                int64_t entry = context * EP_RANS_MAX_TOKENS + ep_get(tokens, symbol_bytes, element);
                uint32_t x = state[l], f = frequency[entry];
                if (f == 0) return EP_ARGUMENT;
                if ((uint64_t)x >= (uint64_t)f << (32 - precision)) {
                    if (at - out < 2) return EP_FULL;
                    *--at = (uint8_t)(x >> 8);
                    *--at = (uint8_t)x;
                    x >>= 16;
                }
                state[l] = (x / f << precision) + x % f + start[entry];
            }
    }
    return out + room - at;
}

/* Choosing tables: codec/rans_tables.py, `offsets_reference`, draws this search and its constants. */
enum {
    EP_RANS_EXACT = 4096,
    EP_RANS_STAY = 2458,
    EP_RANS_STEP = 14336,
    EP_RANS_STEP_A_LEVEL = 4096,
    EP_RANS_JUMP = 53248,
    EP_RANS_SHARE = 5909,
    EP_RANS_MAX_STATES = 2 * (14 << 3) + 1
};
#define EP_RANS_NEVER (INT64_C(1) << 58)

EP_EXPORT int64_t ep_rans_offsets_work_bytes(void) { return (int64_t)sizeof(int64_t) * (EP_RANS_MAX_TOKENS + 1) * EP_RANS_MAX_STATES; }

/* The offsets (contexts, tokens) of least cost for counts (contexts, tokens) against reference (tokens); the costs. */
EP_EXPORT int64_t ep_rans_offsets(const int64_t *counts, int64_t contexts, int64_t tokens, const int64_t *reference,
                                  int64_t resolution, int64_t *offsets, int64_t *costs, int64_t *work, int64_t work_bytes) {
    if (work_bytes < ep_rans_offsets_work_bytes()) return EP_WORK;
    if (tokens < 1 || tokens > EP_RANS_MAX_TOKENS || resolution < 0 || resolution > 3) return EP_ARGUMENT;
    const int64_t absent = 14 << resolution;
    int64_t lowest = absent, highest = 0; /* levels of the reference: what offsets can matter */
    for (int64_t t = 0; t < tokens; t++) {
        if (reference[t] < 0 || reference[t] > absent) return EP_ARGUMENT;
        if (reference[t] < lowest) lowest = reference[t];
        if (reference[t] > highest) highest = reference[t];
    }
    const int64_t zero = highest, states = highest + absent - lowest + 1; /* state s is the offset s - zero */
    int64_t share[EP_RANS_MAX_STATES], level_cost[EP_RANS_MAX_STATES];
    for (int64_t context = 0; context < contexts; context++, counts += tokens, offsets += tokens) {
        int64_t total = 0;
        for (int64_t t = 0; t < tokens; t++) total += counts[t];
        for (int64_t l = 0; l < absent; l++)
            share[l] = (total * (ep_exp2_eighths[(l & ((1 << resolution) - 1)) << (3 - resolution)] >> (l >> resolution)) * EP_RANS_SHARE) >> 20;
        for (int64_t s = 0; s < states; s++) work[s] = s == zero ? 0 : EP_RANS_NEVER;
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t *before = work + t * states;
            int64_t *after = work + (t + 1) * states, least = EP_RANS_NEVER;
            for (int64_t l = 0; l < absent; l++) level_cost[l] = ((counts[t] * l * EP_RANS_EXACT) >> resolution) + share[l];
            level_cost[absent] = counts[t] ? EP_RANS_NEVER : 0;
            for (int64_t s = 0, run = EP_RANS_NEVER; s < states; s++) { /* steps up */
                if (before[s] < least) least = before[s];
                run = run + EP_RANS_STEP_A_LEVEL < before[s] ? run + EP_RANS_STEP_A_LEVEL : before[s];
                after[s] = run;
            }
            for (int64_t s = states - 1, run = EP_RANS_NEVER; s >= 0; s--) { /* steps down, and all together */
                run = run + EP_RANS_STEP_A_LEVEL < before[s] ? run + EP_RANS_STEP_A_LEVEL : before[s];
                int64_t best = (run < after[s] ? run : after[s]) + EP_RANS_STEP, level = reference[t] + s - zero;
                if (least + EP_RANS_JUMP < best) best = least + EP_RANS_JUMP;
                if (before[s] + EP_RANS_STAY < best) best = before[s] + EP_RANS_STAY;
                best += level < 0 ? EP_RANS_NEVER : level_cost[level < absent ? level : absent];
                after[s] = best < EP_RANS_NEVER ? best : EP_RANS_NEVER;
            }
        }
        const int64_t *last = work + tokens * states;
        int64_t state = 0;
        for (int64_t s = 1; s < states; s++)
            if (last[s] < last[state]) state = s;
        costs[context] = last[state];
        for (int64_t t = tokens - 1; t >= 0; t--) {
            const int64_t *before = work + t * states;
            int64_t best = INT64_MAX, from = 0;
            offsets[t] = state - zero;
            for (int64_t s = 0; s < states; s++) {
                int64_t arrive = EP_RANS_STEP + EP_RANS_STEP_A_LEVEL * (s < state ? state - s : s - state);
                if (arrive > EP_RANS_JUMP) arrive = EP_RANS_JUMP;
                if (s == state) arrive = EP_RANS_STAY;
                if (before[s] + arrive < best) {
                    best = before[s] + arrive;
                    from = s;
                }
            }
            state = from;
        }
    }
    return 0;
}

#endif
