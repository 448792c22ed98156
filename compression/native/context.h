/* The coder `context`, and `context-delta`: codec/context.py draws the bytes and names the parts of the model,
 * codec/context_reference.py is the specification of these loops.
 *
 * One walk over the elements, the same for both directions: each is coded by what the model expects, and the
 * model then learns from it.
 */
#ifndef EDGEPRESS_CONTEXT_H
#define EDGEPRESS_CONTEXT_H

#include "context_model.h"

/* --- the walk ------------------------------------------------------------------------------------------- */

/* Where symbol k begins in the cumulative frequencies; symbols first .. end - 1 share [base, base + share). */
#define EP_CONTEXT_BOUND(k)                                                                     \
    ((k) <= first ? base                                                                        \
     : (k) >= end ? base + share                                                                \
                  : ep_context_below(m, (m->threshold[k] - mean) * narrow >> 19) + (uint32_t)((k) + offset))

EP_INLINE int64_t ep_context_walk(const ep_context_head *head, const ep_context_memory *memory, void *symbols,
                                  int64_t symbol_bytes, const void *bases, int64_t rows, ep_range_reader *reader,
                                  ep_range_writer *writer, const int32_t spike, const int32_t delta,
                                  const int32_t predict) {
    ep_context_model *m = memory->model;
    const int64_t width = head->columns, kernel = head->kernel, all_rows = (head->count + width - 1) / width;
    const int64_t lag = head->lag, apart = kernel <= EP_CONTEXT_LAG ? kernel : 1, up = kernel > 9 ? 5 : 3;
    const int32_t background = m->background;
    const uint32_t half = (uint32_t)1 << (EP_CONTEXT_SCALE - 1);
    int32_t whole = 0; /* effect of the tensor on the scale */
    int64_t seen = 0, next = 32;

    for (int64_t r = 0; r < rows; r++) {
        const int64_t stop = head->count - r * width < width && !head->transposed ? head->count - r * width : width;
        const int32_t column_rate = 65536 / (int32_t)(r < 392 ? r + 8 : 400);
        const int32_t mean_rate = 65536 / (int32_t)(r < 336 ? r + 64 : 400);
        const int32_t channel_rate = 65536 / (int32_t)(r * kernel < 1484 ? r * kernel + 16 : 1500);
        int32_t row = 0; /* effect of the row on the scale */
        uint32_t row_nonzero = (uint32_t)head->density << 24 | 8, row_negative = (uint32_t)1 << 31 | 8;
        uint32_t flags = 0, signs = 0, inside = 0, far = 0, size = 0, size_before = 0;
        int64_t place = 0, channel = 0; /* in the kernel; of kernels */

        for (int64_t c = 0; c < stop; c++) {
            ep_context_column *column = memory->columns + c;
            int8_t *mark = memory->marks + c;
            const int64_t at = head->transposed ? c * all_rows + r : r * width + c;
            const int32_t base_symbol = delta ? (int32_t)ep_get(bases, symbol_bytes, at) : 0;
            if (delta && base_symbol >= head->alphabet) return EP_ARGUMENT;
            const int32_t from_zero = delta ? head->alphabet - 1 - base_symbol : 0;
            int32_t symbol = 0, negative = 0, expected = 0, coded = 1;
            int64_t taps = 0;
            int16_t *weights = memory->weights + c * head->taps;
            const int16_t *history = memory->history + c;
            if (!reader) symbol = (int32_t)ep_get(symbols, symbol_bytes, at) + from_zero;
            if (predict) {
                taps = (c + 15) & ~(int64_t)15;
                if (taps > head->taps) taps = head->taps;
                history -= taps;
                if (!spike) expected = ep_context_clip(ep_context_dot(weights, history, taps) >> 8, 16383);
            }
            if (spike) {
                uint32_t *p[EP_CONTEXT_INPUTS];
                const uint32_t left = c ? column[-1].flags : 0, left_above = c ? column[-1].size_above : 0;
                const int32_t by_column = ep_context_stretch(m, column->nonzero), by_row = ep_context_stretch(m, row_nonzero);
                const uint32_t dense = (uint32_t)(by_row + 2048) >> 8;
                uint32_t special = 0;
                if (delta) /* where the base is: of 15 parts of its alphabet, or the frequent one */
                    special = base_symbol == head->background ? 15 : (uint32_t)(base_symbol * 15 / head->alphabet);
                p[0] = &column->nonzero;
                p[1] = &row_nonzero;
                p[2] = m->flag_column + column->flags;
                p[3] = m->flag_density + ((uint32_t)(by_column + 2048) >> 8) * 16 + dense;
                p[4] = m->flag_near + ((column->flags & 3) | (column[1].flags & 3) << 2 | (left >> 1 & 3) << 4 |
                                       (flags & 3) << 6);
                p[5] = m->flag_row + (delta ? special * 16 + dense : flags & 255);
                if (kernel > 1) {
                    const uint32_t k = place < 9 ? (uint32_t)place : 9;
                    p[6] = m->flag_local + k * 128 + (inside < 7 ? inside : 7) * 16 + (flags >> (up - 1) & 1) * 8 +
                           (column->flags & 7);
                    p[7] = m->flag_lag + 128 + k * 64 + ((flags >> 2 & 1) | (flags & 1) << 1 | (uint32_t)(mark[-apart] != 0) << 2 |
                           (flags & 2) << 2 | (flags >> 3 & 1) << 4 | (column->flags & 1u) << 5);
                } else {
                    p[6] = m->flag_local + size * 256 + size_before * 64 + column->size * 16 + column[1].size * 4 +
                           left_above;
                    p[7] = m->flag_lag + ((flags & 1) | (flags >> 1 & 2) | (flags & 2) << 1 | (uint32_t)(mark[-lag] != 0) << 3 |
                           (uint32_t)(mark[1 - lag] != 0) << 4 | (uint32_t)(mark[-lag - 1] != 0) << 5 |
                           (uint32_t)(mark[-2 * lag] != 0) << 6);
                }
                const int32_t bit = ep_context_decide(m, reader, writer, m->flag_weights[dense >> 1], p, 8, 0, 400, 250, 8,
                                                      symbol != background);
                flags = flags << 1 | (uint32_t)bit;
                inside += (uint32_t)bit;
                column->flags = (uint8_t)(column->flags << 1 | bit);
                if (c) column[-1].size_above = (uint8_t)size;
                size_before = size;
                if (!bit) {
                    symbol = background;
                    coded = 0;
                    size = 0;
                    column->size = 0;
                    memory->history[c] = 0;
                    *mark = 0;
                    far++;
                } else {
                    if (predict) expected = ep_context_clip(ep_context_dot(weights, history, taps) >> 8, 16383);
                    const int32_t side = ep_context_clip(expected >> 8, 8);
                    const uint32_t gap = far < 1 ? 0 : far < 3 ? 1 : far < 8 ? 2 : 3;
                    p[0] = &column->negative;
                    p[1] = &row_negative;
                    p[2] = m->sign_row + gap * 4 + (signs & 3);
                    p[3] = m->sign_column + column->signs;
                    p[4] = m->sign_expected + (delta ? 16 + (int32_t)special : side + 8);
                    p[5] = m->sign_lag + (mark[-lag] + 1) * 4 + (column->signs & 3);
                    p[6] = m->sign_near + (mark[-1] + 1) * 9 + (mark[-up] + 1) * 3 + mark[-2] + 1;
                    const int32_t fixed = ep_context_clip(-(expected >> 2), 2047);
                    negative = ep_context_decide(m, reader, writer, m->sign_weights[side + 8], p, 7, fixed, 250, 200, 10,
                                                 symbol < background);
                    column->signs = (uint8_t)((column->signs << 2 | (negative ? 2 : 1)) & 63);
                    signs = signs << 1 | (uint32_t)negative;
                    *mark = negative ? -1 : 1;
                    far = 0;
                }
            }
            if (coded) {
                const int32_t channel_scale = kernel > 1 ? memory->channels[channel] : 0;
                const int32_t level = ep_context_clip((row + column->scale + whole + channel_scale) >> 8, 1000);
                const int64_t scale = ep_context_power(m, level), narrow = ep_context_power(m, -level);
                const int32_t mean = spike ? 0 : (column->mean >> 4) + (int32_t)(expected * scale >> 19);
                const int32_t upper = spike && !negative;
                const int32_t first = upper ? background + 1 : 0, end = spike && negative ? background : m->symbols;
                const int32_t offset = upper ? 2 * (int32_t)m->reserve - m->symbols : 0;
                const uint32_t base = upper ? half : 0, share = spike ? half : 2 * half;
                const int32_t shift = spike ? EP_CONTEXT_SCALE - 1 : EP_CONTEXT_SCALE;
                uint32_t low, high;
                if (first >= end) return EP_RANGE; /* the background has no symbol on this side */
                if (reader) {
                    ep_range_fill(reader);
                    const uint32_t unit = reader->range >> shift;
                    uint32_t value = (uint32_t)(reader->window >> 32) / unit;
                    value = (value < share ? value : share - 1) + base;
                    int64_t y = mean + (ep_context_above(m, value) * scale >> 19);
                    y = y < -32768 ? -32768 : y > 32767 ? 32767 : y;
                    symbol = m->guess[(y + 32768) >> 6];
                    symbol = symbol < first ? first : symbol >= end ? end - 1 : symbol;
                    low = EP_CONTEXT_BOUND(symbol);
                    int32_t top = symbol + 1, step = 1;
                    if (value < low) {
                        do {
                            top = symbol;
                            high = low;
                            symbol = symbol - step < first ? first : symbol - step;
                            low = EP_CONTEXT_BOUND(symbol);
                            step *= 2;
                        } while (value < low);
                    } else {
                        high = EP_CONTEXT_BOUND(top);
                        while (value >= high) {
                            symbol = top;
                            low = high;
                            top = top + step > end ? end : top + step;
                            high = EP_CONTEXT_BOUND(top);
                            step *= 2;
                        }
                    }
                    while (top - symbol > 1) {
                        const int32_t between = (symbol + top) / 2;
                        const uint32_t bound = EP_CONTEXT_BOUND(between);
                        if (value < bound) {
                            top = between;
                            high = bound;
                        } else {
                            symbol = between;
                            low = bound;
                        }
                    }
                    ep_range_take(reader, (low - base) * unit, (high - low) * unit);
                } else {
                    const uint32_t unit = writer->range >> shift;
                    low = EP_CONTEXT_BOUND(symbol);
                    high = EP_CONTEXT_BOUND(symbol + 1);
                    ep_range_put(writer, (low - base) * unit, (high - low) * unit);
                }

                const int32_t off = m->middle[symbol] - mean;
                const int32_t z = (int32_t)(off * narrow >> 19), distance = z < 0 ? -z : z;
                const int32_t gain = ((distance < 16384 ? distance : 16384) * 5 >> 2) - 4096;
                m->counts[symbol]++;
                row += gain * m->row_rate[c < 1023 ? c : 1023] >> 12;
                column->scale = ep_context_clip(column->scale + (gain * column_rate >> 12), 1 << 20);
                whole = ep_context_clip(whole + (gain >> 6), 1 << 20);
                if (kernel > 1)
                    memory->channels[channel] = ep_context_clip(channel_scale + (gain * channel_rate >> 12), 1 << 20);
                if (spike) {
                    const int32_t latent = m->middle[symbol], far_out = latent < 0 ? -latent : latent;
                    size = far_out < 1800 ? 1 : far_out < 5200 ? 2 : 3;
                    column->size = (uint8_t)size;
                    if (predict) {
                        const int32_t large = ep_context_clip(24 + (far_out >> 7), 127), value = negative ? -large : large;
                        memory->history[c] = (int16_t)value;
                        ep_context_adapt(weights, history, taps, ep_context_clip(value - (expected >> 7), 127), head->rate);
                    }
                } else {
                    column->mean = ep_context_clip(column->mean + (int32_t)((int64_t)off * mean_rate >> 12), 1 << 24);
                    if (predict) {
                        memory->history[c] = (int16_t)ep_context_clip((z + expected) >> 7, 127);
                        ep_context_adapt(weights, history, taps, ep_context_clip(z >> 7, 127), head->rate);
                    }
                }
                if (++seen == next) {
                    const int64_t most = 32 * (int64_t)m->symbols;
                    ep_context_rebuild(m, spike);
                    next += next / 2 < most ? next / 2 : most;
                }
            }
            if (reader) {
                symbol -= from_zero;
                if (delta && (symbol < 0 || symbol >= head->alphabet)) return EP_RANGE;
                ep_put(symbols, symbol_bytes, at, (uint32_t)symbol);
            }
            if (++place == kernel) {
                place = 0;
                inside = 0;
                channel++;
            }
        }
    }
    return 0;
}

#undef EP_CONTEXT_BOUND

/* --- what is exported ------------------------------------------------------------------------------------- */

EP_INLINE int64_t ep_context_round(int64_t bytes) { return (bytes + 63) & ~(int64_t)63; }

/* For `columns`, `kernel` and `taps` of a head; at most 4 MB. */
EP_EXPORT int64_t ep_context_work_bytes(int64_t columns, int64_t kernel, int64_t taps) {
    if (columns < 1 || columns > EP_CONTEXT_COLUMNS || kernel < 1 || kernel > columns || taps < 0 ||
        taps > EP_CONTEXT_TAPS || taps * columns > EP_CONTEXT_WEIGHTS)
        return EP_ARGUMENT;
    return 64 + ep_context_round(sizeof(ep_context_model)) +
           ep_context_round((columns + 1) * (int64_t)sizeof(ep_context_column)) +
           ep_context_round(4 * (columns / kernel + 1)) + ep_context_round(2 * columns * taps) +
           ep_context_round(2 * (columns + 16)) + ep_context_round(columns + EP_CONTEXT_MARGIN);
}

static void ep_context_set(uint32_t *from, const uint32_t *to, uint32_t value) {
    while (from < to) *from++ = value;
}

/* Divides the work memory and makes the model of a reader that has seen nothing. */
static int64_t ep_context_start(const ep_context_head *head, int32_t delta, void *work, int64_t work_bytes,
                                ep_context_memory *memory) {
    const int64_t need = ep_context_work_bytes(head->columns, head->kernel, head->taps);
    if (need < 0) return need;
    if (work_bytes < need) return EP_WORK;
    uint8_t *at = (uint8_t *)work + (-(uintptr_t)work & 63);
    for (int64_t i = 0; i < need - 64; i++) at[i] = 0;
    ep_context_model *m = memory->model = (ep_context_model *)(void *)at;
    at += ep_context_round(sizeof(ep_context_model));
    memory->columns = (ep_context_column *)(void *)at;
    at += ep_context_round((head->columns + 1) * (int64_t)sizeof(ep_context_column));
    memory->channels = (int32_t *)(void *)at;
    at += ep_context_round(4 * (head->columns / head->kernel + 1));
    memory->weights = (int16_t *)(void *)at;
    at += ep_context_round(2 * head->columns * head->taps);
    memory->history = (int16_t *)(void *)at + 16;
    at += ep_context_round(2 * (head->columns + 16));
    memory->marks = (int8_t *)at + EP_CONTEXT_MARGIN;

    m->symbols = delta ? 2 * head->alphabet - 1 : head->alphabet;
    m->background = delta ? head->alphabet - 1 : head->background;
    const int32_t above = m->symbols - 1 - m->background;
    m->reserve = (uint32_t)(!head->spike ? (m->symbols + 1) / 2 : above > m->background ? above : m->background);
    ep_context_tables(m);
    ep_context_distribution(m, head->family);
    ep_context_prior(m, head->centre, head->spread);
    ep_context_rebuild(m, head->spike);
    const uint32_t nonzero = (uint32_t)head->density << 24, even = (uint32_t)1 << 31;
    ep_context_set(m->flag_column, m->sign_row, nonzero);
    ep_context_set(m->sign_row, m->sign_near + 27, even);
    for (int64_t c = 0; c <= head->columns; c++) {
        memory->columns[c].nonzero = nonzero | 4;
        memory->columns[c].negative = even;
    }
    for (int32_t i = 0; i < EP_CONTEXT_INPUTS; i++) {
        for (int32_t j = 0; j < 8; j++) m->flag_weights[j][i] = 3600; /* 0.22 */
        for (int32_t j = 0; j < 17; j++) m->sign_weights[j][i] = 3600;
    }
    return 0;
}

EP_INLINE int64_t ep_context_run(const ep_context_head *head, const ep_context_memory *memory, void *symbols,
                                 int64_t symbol_bytes, const void *bases, int64_t rows, ep_range_reader *reader,
                                 ep_range_writer *writer) {
    if (bases) return ep_context_walk(head, memory, symbols, symbol_bytes, bases, rows, reader, writer, 1, 1, 0);
    if (head->spike && head->taps) return ep_context_walk(head, memory, symbols, symbol_bytes, 0, rows, reader, writer, 1, 0, 1);
    if (head->spike) return ep_context_walk(head, memory, symbols, symbol_bytes, 0, rows, reader, writer, 1, 0, 0);
    if (head->taps) return ep_context_walk(head, memory, symbols, symbol_bytes, 0, rows, reader, writer, 0, 0, 1);
    return ep_context_walk(head, memory, symbols, symbol_bytes, 0, rows, reader, writer, 0, 0, 0);
}

static int64_t ep_context_check(const ep_context_head *head, int64_t symbol_bytes, int32_t delta) {
    if (head->alphabet < 1 || head->alphabet > EP_CONTEXT_ALPHABET || head->count < 1 || symbol_bytes < 1 || symbol_bytes > 2 ||
        (symbol_bytes == 1 && head->alphabet > 256))
        return EP_ARGUMENT;
    const int32_t most = 16 * 2 * EP_CONTEXT_ALPHABET;
    if (head->columns < 1 || head->columns > EP_CONTEXT_COLUMNS || head->columns > head->count || head->kernel < 1 ||
        head->kernel > head->columns || head->lag < 1 || head->lag > EP_CONTEXT_LAG || head->background < 0 ||
        head->background >= head->alphabet || head->centre < 0 || head->centre > most || head->spread < 4 ||
        head->spread > most ||
        head->density < 1 || head->density > 255 || head->taps < 0 || head->taps > EP_CONTEXT_TAPS || head->taps % 16 ||
        head->taps >= head->columns + 16 || head->taps * head->columns > EP_CONTEXT_WEIGHTS ||
        (head->taps ? head->rate < 1 || head->rate > 14 : head->rate != 0) || (head->transposed && head->count % head->columns) ||
        (delta && (!head->spike || head->taps)))
        return EP_RANGE;
    return 0;
}

/* Codes the first `rows` of `symbols`, all < alphabet, as `numbers` (the fields of ep_context_head in order) says. With `bases`
 * (all < alphabet, or null): a delta. Returns the bytes written to `out`, EP_FULL, or another error. */
EP_EXPORT int64_t ep_context_encode(const int64_t *numbers, void *symbols, int64_t symbol_bytes, const void *bases, int64_t rows,
                                    uint8_t *out, int64_t capacity, void *work, int64_t work_bytes) {
    const ep_context_head head = {numbers[0], numbers[1], numbers[2], numbers[3], (int32_t)numbers[4], (int32_t)numbers[5],
                                  (int32_t)numbers[6], (int32_t)numbers[7], (int32_t)numbers[8], (int32_t)numbers[9],
                                  (int32_t)numbers[10], (int32_t)numbers[11], (int32_t)numbers[12], (int32_t)numbers[13]};
    ep_context_memory memory;
    int64_t result = ep_context_check(&head, symbol_bytes, bases != 0);
    if (result < 0 || (result = ep_context_start(&head, bases != 0, work, work_bytes, &memory)) < 0) return result;
    if (rows < 1 || rows > (head.count + head.columns - 1) / head.columns) return EP_ARGUMENT;
    ep_range_writer writer = {.range = 0xFFFFFFFFu, .bytes = out, .capacity = capacity};
    result = ep_context_run(&head, &memory, symbols, symbol_bytes, bases, rows, 0, &writer);
    return result < 0 ? result : ep_range_finish(&writer);
}

/* The inverse: `count` symbols. Returns `count`, or an error. */
EP_EXPORT int64_t ep_context_decode(const uint8_t *payload, int64_t size, int64_t alphabet, int64_t count, void *symbols,
                                    int64_t symbol_bytes, const void *bases, void *work, int64_t work_bytes) {
    ep_cursor in = {payload, payload + size};
    ep_context_head head = {.count = count, .alphabet = (int32_t)alphabet};
    if (alphabet < 1 || alphabet > EP_CONTEXT_ALPHABET || count < 0) return EP_ARGUMENT;
    if (count == 0) return size == 0 ? 0 : (int64_t)EP_LEFT_OVER;
    if (size < 3) return EP_ENDS_EARLY;
    const int64_t kind = ep_byte(&in);
    head.spike = kind & 1;
    head.transposed = kind >> 1 & 1;
    head.family = kind >> 2 & 3;
    head.rate = (int32_t)(kind >> 4);
    head.taps = 16 * (int32_t)ep_byte(&in);
    head.density = (int32_t)ep_byte(&in);
    int64_t numbers[6];
    static const int64_t limits[6] = {EP_CONTEXT_COLUMNS, EP_CONTEXT_COLUMNS, EP_CONTEXT_LAG, EP_CONTEXT_ALPHABET,
                                      32 * EP_CONTEXT_ALPHABET, 32 * EP_CONTEXT_ALPHABET};
    for (int32_t i = 0; i < 6; i++)
        if ((numbers[i] = ep_varint(&in, limits[i])) < 0) return numbers[i];
    head.columns = numbers[0];
    head.kernel = numbers[1];
    head.lag = numbers[2];
    head.background = (int32_t)numbers[3];
    head.centre = (int32_t)numbers[4];
    head.spread = (int32_t)numbers[5];
    ep_context_memory memory;
    int64_t result = ep_context_check(&head, symbol_bytes, bases != 0);
    if (result < 0 || (result = ep_context_start(&head, bases != 0, work, work_bytes, &memory)) < 0) return result;
    ep_range_reader reader;
    ep_range_open(&reader, in.at, ep_left(&in));
    const int64_t rows = (count + head.columns - 1) / head.columns;
    result = ep_context_run(&head, &memory, symbols, symbol_bytes, bases, rows, &reader, 0);
    if (result < 0 || (result = ep_range_close(&reader)) < 0) return result;
    return count;
}

#endif
