/* Gaps and values: codec/gaps.py draws the bytes and is the specification. */
#ifndef EDGEPRESS_GAPS_H
#define EDGEPRESS_GAPS_H

#include "huffman.h"

enum { EP_GAPS_BUFFER = EP_LANES_AT_ONCE * EP_LANE_MAX_SYMBOLS, EP_GAPS_SKIP_MAX = 4094, EP_GAPS_CLASSES = 3 };

/* A stream that is read symbol by symbol, decoded a few lanes ahead. */
typedef struct {
    ep_stream stream;
    int64_t left, have, at; /* symbols not yet decoded; in the buffer; taken from it */
    ep_prefix_code code;
    uint16_t buffer[EP_GAPS_BUFFER];
} ep_pull;

typedef struct {
    ep_pull tokens, values[EP_GAPS_CLASSES];
} ep_gaps_work;

static int64_t ep_pull_open(ep_cursor *in, int64_t count, int64_t alphabet, ep_pull *pull) {
    pull->left = count;
    pull->have = pull->at = 0;
    return ep_stream_open(in, count, alphabet, &pull->code, &pull->stream);
}

static int64_t ep_pull_more(ep_pull *pull) {
    int64_t some;
    if (pull->code.span == 1) {
        some = pull->left < EP_GAPS_BUFFER ? pull->left : EP_GAPS_BUFFER;
        for (int64_t i = 0; i < some; i++) pull->buffer[i] = (uint16_t)pull->code.low;
    } else {
        some = ep_stream_some(&pull->code, &pull->stream, pull->buffer, 2, 0);
    }
    if (some <= 0) return some < 0 ? some : (int64_t)EP_ENDS_EARLY;
    pull->left -= some;
    pull->have = some;
    pull->at = 0;
    return 0;
}

/* The next symbol, or an error. */
EP_INLINE int64_t ep_pull_next(ep_pull *pull) {
    if (pull->at == pull->have) {
        int64_t error = ep_pull_more(pull);
        if (error < 0) return error;
    }
    return pull->buffer[pull->at++];
}

EP_EXPORT int64_t ep_gaps_work_bytes(void) { return (int64_t)sizeof(ep_gaps_work); }

/* A payload to out (the product of the shape symbols < alphabet). Returns 0. */
EP_EXPORT int64_t ep_gaps_decode(const void *payload, int64_t size, int64_t alphabet, const int64_t *shape, int64_t dims, void *out,
                                 int64_t symbol_bytes, void *work_memory, int64_t work_bytes) {
    ep_gaps_work *work = work_memory;
    if (work_bytes < ep_gaps_work_bytes()) return EP_WORK;
    if (size < 0 || alphabet < 1 || alphabet > 4096 || dims < 0 || (symbol_bytes != 2 && !(symbol_bytes == 1 && alphabet <= 256)))
        return EP_ARGUMENT;
    int64_t count = 1;
    for (int64_t i = 0; i < dims; i++) {
        if (shape[i] < 1 || count > (INT64_C(1) << 40) / shape[i]) return EP_ARGUMENT;
        count *= shape[i];
    }
    ep_cursor in = {payload, (const uint8_t *)payload + size};
    const int64_t flags = ep_varint(&in, 3);
    if (flags < 0) return flags;
    const int64_t background = ep_varint(&in, alphabet - 1);
    if (background < 0) return background;
    const int64_t skip = ep_varint(&in, EP_GAPS_SKIP_MAX);
    if (skip <= 0) return skip ? skip : (int64_t)EP_RANGE;
    const int64_t token_count = ep_varint(&in, count);
    if (token_count < 0) return token_count;

    ep_cursor tokens_at = in;
    int64_t error = ep_pull_open(&in, token_count, skip + 1, &work->tokens);
    if (error < 0) return error;
    int64_t counts[EP_GAPS_CLASSES] = {0}, gap = 0, at = 0;
    const int relative = (int)flags >> 1;
    for (int64_t i = 0; i < token_count; i++) {
        int64_t token = ep_pull_next(&work->tokens);
        if (token < 0) return token;
        gap += token;
        at += token + (token < skip);
        if (at > count) return EP_RANGE;
        if (token == skip) continue;
        counts[relative && gap < EP_GAPS_CLASSES ? gap : (relative ? EP_GAPS_CLASSES - 1 : 0)]++;
        gap = 0;
    }
    for (int k = 0; k < (relative ? EP_GAPS_CLASSES : 1); k++) {
        error = ep_pull_open(&in, counts[k], relative ? 2 * alphabet - 1 : alphabet, &work->values[k]);
        if (error < 0) return error;
    }
    if (in.at != in.end) return EP_LEFT_OVER;

    for (int64_t i = 0; i < count; i++) ep_put(out, symbol_bytes, i, (uint32_t)background);
    in = tokens_at;
    error = ep_pull_open(&in, token_count, skip + 1, &work->tokens);
    if (error < 0) return error;
    const int64_t rows = flags & 1 && dims ? shape[0] : 1, columns = count / rows; /* rows run fastest */
    int64_t row = 0, column = 0, below = 0;
    gap = 0;
    for (int64_t i = 0; i < token_count; i++) {
        int64_t token = ep_pull_next(&work->tokens);
        if (token < 0) return token;
        gap += token;
        if (token == skip) continue;
        int64_t value = ep_pull_next(&work->values[relative ? (gap < EP_GAPS_CLASSES ? gap : EP_GAPS_CLASSES - 1) : 0]);
        if (value < 0) return value;
        if (relative) {
            int64_t step = value - (alphabet - 1);
            if (step < 0) {
                below = !below;
                step = -step;
            }
            value = background + (below ? -step : step);
        }
        if (value < 0 || value >= alphabet || value == background) return EP_RANGE;
        if (rows > 1) {
            row += gap;
            if (row >= rows) {
                column += row / rows;
                row %= rows;
            }
            ep_put(out, symbol_bytes, row * columns + column, (uint32_t)value);
            row++;
        } else {
            column += gap;
            ep_put(out, symbol_bytes, column++, (uint32_t)value);
        }
        gap = 0;
    }
    return 0;
}

#endif
