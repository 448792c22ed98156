/* Canonical Huffman codes in lanes: codec/prefix_code.py and codec/lanes.py draw the bytes. */
#ifndef EDGEPRESS_HUFFMAN_H
#define EDGEPRESS_HUFFMAN_H

#include "cursor.h"

enum {
    EP_CODE_MAX_BITS = 15,
    EP_PRIMARY_BITS = 11,    /* codes up to here are one look-up in 8 KiB */
    EP_STREAM_SYMBOLS = 8192, /* the largest alphabet of a stream: relative signs of 4096 symbols */
    EP_LANE_MAX_SYMBOLS = 4096,
    EP_LANES_AT_ONCE = 8     /* that many dependence chains keep the processor busy */
};

/* A code ready to decode with. Of codes longer than EP_PRIMARY_BITS only the first bits are looked up; they
 * are the last codes, so comparing with where each length's codes end tells their length. */
typedef struct {
    int32_t low, span, max_bits;
    uint32_t primary[1 << EP_PRIMARY_BITS]; /* symbol << 8 | bits; 0 where the code is longer */
    uint32_t stop[EP_CODE_MAX_BITS + 2];    /* where the codes of this length end, as 15 bits */
    uint32_t first[EP_CODE_MAX_BITS + 2];   /* ... and begin */
    uint16_t place[EP_CODE_MAX_BITS + 2];   /* of the first symbol of this length in `order` */
    uint16_t order[EP_STREAM_SYMBOLS];      /* the symbols in the order of (length, symbol) */
    uint8_t lengths[EP_STREAM_SYMBOLS];
} ep_prefix_code;

/* A stream after its head, to be read lane by lane. */
typedef struct {
    const uint8_t *data; /* the codes */
    int64_t size, total_bits, count, lane_symbols, lanes;
    const uint8_t *extra; /* the lane lengths' bits */
    int64_t shortest, width;
    int64_t lane, at; /* the next lane and its first bit */
} ep_stream;

static int64_t ep_code_tables(ep_prefix_code *code) {
    uint32_t counts[EP_CODE_MAX_BITS + 2] = {0}, next[EP_CODE_MAX_BITS + 2];
    for (int32_t i = 0; i < code->span; i++) counts[code->lengths[i]]++;
    uint32_t start = 0, place = 0;
    for (int bits = 1; bits <= EP_CODE_MAX_BITS; bits++) {
        code->first[bits] = start;
        code->place[bits] = (uint16_t)place;
        next[bits] = place;
        start += counts[bits] << (EP_CODE_MAX_BITS - bits);
        if (start > 1u << EP_CODE_MAX_BITS) return EP_TABLE;
        place += counts[bits];
        code->stop[bits] = start;
        if (counts[bits]) code->max_bits = bits;
    }
    if (start != 1u << EP_CODE_MAX_BITS) return EP_TABLE;
    for (int32_t i = 0; i < code->span; i++)
        if (code->lengths[i]) code->order[next[code->lengths[i]]++] = (uint16_t)(code->low + i);
    uint32_t filled = 0;
    for (int bits = 1; bits <= EP_PRIMARY_BITS; bits++)
        for (uint32_t i = 0; i < counts[bits]; i++) {
            uint32_t entry = (uint32_t)code->order[code->place[bits] + i] << 8 | (uint32_t)bits;
            for (uint32_t n = 1u << (EP_PRIMARY_BITS - bits); n; n--) code->primary[filled++] = entry;
        }
    while (filled < 1u << EP_PRIMARY_BITS) code->primary[filled++] = 0;
    return 0;
}

/* Reads a table for symbols < alphabet <= EP_STREAM_SYMBOLS. */
static int64_t ep_read_code(ep_cursor *in, int64_t alphabet, ep_prefix_code *code) {
    int64_t low = ep_varint(in, alphabet - 1);
    if (low < 0) return low;
    int64_t span = ep_varint(in, alphabet - 1 - low);
    if (span < 0) return span;
    code->low = (int32_t)low;
    code->span = (int32_t)span + 1;
    if (span == 0) return 0;
    int32_t length = 0;
    while (span >> length) length++; /* the binary digits of span - 1, which `span` still is */
    ep_bits bits = {in, 0, 0};
    for (int32_t i = 0; i < code->span; i++) {
        int32_t number = 0, bit;
        while ((bit = ep_bit(&bits)) == 0)
            if (++number > 29) return EP_TABLE; /* the largest step is 14 down */
        if (bit < 0) return bit;
        code->lengths[i] = 0;
        if (number == 1) continue;
        length += number & 1 ? -(number >> 1) : number >> 1;
        if (length < 1 || length > EP_CODE_MAX_BITS) return EP_TABLE;
        code->lengths[i] = (uint8_t)length;
    }
    if (!code->lengths[0] || !code->lengths[code->span - 1]) return EP_TABLE;
    int64_t error = ep_bits_end(&bits);
    return error ? error : ep_code_tables(code);
}

/* Reads all of a stream but its codes, and passes over these. */
static int64_t ep_stream_open(ep_cursor *in, int64_t count, int64_t alphabet, ep_prefix_code *code, ep_stream *stream) {
    *stream = (ep_stream){.count = count};
    code->low = 0;
    code->span = 1;
    if (count == 0) return 0;
    int64_t error = ep_read_code(in, alphabet, code);
    if (error < 0) return error;
    if (code->span == 1) return 0;
    int64_t lane_symbols = ep_varint(in, EP_LANE_MAX_SYMBOLS);
    if (lane_symbols <= 0) return lane_symbols ? lane_symbols : (int64_t)EP_RANGE;
    stream->lane_symbols = lane_symbols;
    stream->lanes = (count + lane_symbols - 1) / lane_symbols;
    stream->total_bits = ep_varint(in, count * EP_CODE_MAX_BITS);
    if (stream->total_bits < 0) return stream->total_bits;
    if (stream->total_bits > 8 * ep_left(in)) return EP_ENDS_EARLY;
    if (stream->lanes > 1) {
        stream->shortest = ep_varint(in, lane_symbols * EP_CODE_MAX_BITS);
        if (stream->shortest < 0) return stream->shortest;
        stream->width = ep_byte(in);
        if (stream->width < 0) return stream->width;
        if (stream->width > 16) return EP_RANGE;
        int64_t width_bits = (stream->lanes - 1) * stream->width, width_bytes = (width_bits + 7) / 8;
        if (width_bytes > ep_left(in)) return EP_ENDS_EARLY;
        stream->extra = in->at;
        in->at += width_bytes;
        if (width_bits & 7 && in->at[-1] & ((1 << (8 - (width_bits & 7))) - 1)) return EP_LEFT_OVER;
    }
    stream->data = in->at;
    stream->size = (stream->total_bits + 7) / 8;
    if (stream->size > ep_left(in)) return EP_ENDS_EARLY;
    in->at += stream->size;
    if (stream->total_bits & 7 && in->at[-1] & ((1 << (8 - (stream->total_bits & 7))) - 1)) return EP_LEFT_OVER;
    return 0;
}

EP_INLINE uint32_t ep_long_code(const ep_prefix_code *code, uint32_t ahead) {
    int bits = EP_PRIMARY_BITS + 1;
    while (bits < EP_CODE_MAX_BITS && ahead >= code->stop[bits]) bits++;
    uint32_t index = code->place[bits] + ((ahead - code->first[bits]) >> (EP_CODE_MAX_BITS - bits));
    return (uint32_t)code->order[index] << 8 | (uint32_t)bits;
}

EP_INLINE uint32_t ep_look_up(const ep_prefix_code *code, uint64_t window) {
    uint32_t entry = code->primary[window >> (64 - EP_PRIMARY_BITS)];
    return entry ? entry : ep_long_code(code, (uint32_t)(window >> (64 - EP_CODE_MAX_BITS)));
}

/* One lane from bit `at`, never reading past the data, which zeros follow. Returns the bit after it. */
static int64_t ep_lane(const ep_prefix_code *code, const ep_stream *stream, int64_t at, int64_t symbols, void *out,
                       int64_t symbol_bytes, int64_t to) {
    for (int64_t i = 0; i < symbols; i++) {
        int64_t byte = at >> 3;
        uint64_t window = 0;
        if (byte + 8 <= stream->size)
            window = ep_load64_high_first(stream->data + byte);
        else
            for (int64_t k = 0; k < 8; k++) window = window << 8 | (byte + k < stream->size ? stream->data[byte + k] : 0);
        uint32_t entry = ep_look_up(code, window << (at & 7));
        ep_put(out, symbol_bytes, to + i, entry >> 8);
        at += entry & 0xFF;
    }
    return at;
}

EP_INLINE int64_t ep_lanes_at_once(const ep_prefix_code *code, const ep_stream *stream, const int64_t *starts, int64_t symbols,
                                   void *out, int64_t symbol_bytes, int64_t to) {
    int64_t at[EP_LANES_AT_ONCE], i = 0, limit = 8 * (stream->size - 8);
    for (int k = 0; k < EP_LANES_AT_ONCE; k++) at[k] = starts[k];
    for (; i + 3 <= symbols; i += 3) { /* 3 codes of 15 bits and 7 bits before them fit a window */
        int64_t past = 0;
        for (int k = 0; k < EP_LANES_AT_ONCE; k++) past |= limit - at[k];
        if (past < 0) break;
        for (int k = 0; k < EP_LANES_AT_ONCE; k++) {
            uint64_t window = ep_load64_high_first(stream->data + (at[k] >> 3)) << (at[k] & 7);
            uint32_t a = ep_look_up(code, window);
            window <<= a & 0xFF;
            uint32_t b = ep_look_up(code, window);
            window <<= b & 0xFF;
            uint32_t c = ep_look_up(code, window);
            int64_t place = to + k * symbols + i;
            ep_put(out, symbol_bytes, place, a >> 8);
            ep_put(out, symbol_bytes, place + 1, b >> 8);
            ep_put(out, symbol_bytes, place + 2, c >> 8);
            at[k] += (a & 0xFF) + (b & 0xFF) + (c & 0xFF);
        }
    }
    for (int k = 0; k < EP_LANES_AT_ONCE; k++)
        if (ep_lane(code, stream, at[k], symbols - i, out, symbol_bytes, to + k * symbols + i) != starts[k + 1])
            return EP_STATE;
    return 0;
}

/* Symbols of the lane that starts next, and its length in bits. */
static int64_t ep_next_lane(ep_stream *stream, int64_t *symbols) {
    int64_t bits;
    if (stream->lane == stream->lanes - 1) {
        *symbols = stream->count - stream->lane * stream->lane_symbols;
        bits = stream->total_bits - stream->at;
    } else {
        *symbols = stream->lane_symbols;
        bits = 0;
        for (int64_t i = stream->lane * stream->width, stop = i + stream->width; i < stop; i++)
            bits = bits << 1 | (stream->extra[i >> 3] >> (7 - (i & 7)) & 1);
        bits += stream->shortest;
    }
    if (bits < *symbols || bits > *symbols * EP_CODE_MAX_BITS || bits > stream->total_bits - stream->at) return EP_RANGE;
    stream->lane++;
    stream->at += bits;
    return bits;
}

/* The next at most EP_LANES_AT_ONCE lanes to out[to ...]. Returns their symbols; 0 at the end. */
EP_INLINE int64_t ep_stream_some(const ep_prefix_code *code, ep_stream *stream, void *out, int64_t symbol_bytes, int64_t to) {
    int64_t starts[EP_LANES_AT_ONCE + 1], lengths[EP_LANES_AT_ONCE], lanes = 0, total = 0;
    starts[0] = stream->at;
    while (lanes < EP_LANES_AT_ONCE && stream->lane < stream->lanes) {
        int64_t bits = ep_next_lane(stream, &lengths[lanes]);
        if (bits < 0) return bits;
        total += lengths[lanes];
        starts[++lanes] = stream->at;
    }
    if (lanes == EP_LANES_AT_ONCE && lengths[lanes - 1] == lengths[0]) {
        int64_t error = ep_lanes_at_once(code, stream, starts, lengths[0], out, symbol_bytes, to);
        return error ? error : total;
    }
    for (int64_t k = 0; k < lanes; to += lengths[k++])
        if (ep_lane(code, stream, starts[k], lengths[k], out, symbol_bytes, to) != starts[k + 1]) return EP_STATE;
    return total;
}

/* A whole stream to `out`. The cursor is left after it. */
EP_INLINE int64_t ep_stream_to(ep_cursor *in, int64_t count, int64_t alphabet, ep_prefix_code *code, void *out, int64_t symbol_bytes) {
    ep_stream stream;
    int64_t error = ep_stream_open(in, count, alphabet, code, &stream);
    if (error < 0) return error;
    if (code->span == 1) {
        for (int64_t i = 0; i < count; i++) ep_put(out, symbol_bytes, i, (uint32_t)code->low);
        return 0;
    }
    for (int64_t done = 0; done < count;) {
        int64_t some = ep_stream_some(code, &stream, out, symbol_bytes, done);
        if (some < 0) return some;
        done += some;
    }
    return 0;
}

static int64_t ep_stream_decode_checked(ep_cursor *in, int64_t count, int64_t alphabet, ep_prefix_code *code, void *out, int64_t symbol_bytes) {
    return symbol_bytes == 1 ? ep_stream_to(in, count, alphabet, code, out, 1) : ep_stream_to(in, count, alphabet, code, out, 2);
}

EP_EXPORT int64_t ep_stream_work_bytes(void) { return (int64_t)sizeof(ep_prefix_code); }

/* A stream at the front of payload (size bytes): count symbols < alphabet to `out`. Returns the bytes it took. */
EP_EXPORT int64_t ep_stream_decode(const void *payload, int64_t size, int64_t count, int64_t alphabet, void *out,
                                   int64_t symbol_bytes, void *work, int64_t work_bytes) {
    if (work_bytes < ep_stream_work_bytes()) return EP_WORK;
    if (size < 0 || count < 0 || count > INT64_MAX / 64 || alphabet < 1 || alphabet > EP_STREAM_SYMBOLS ||
        (symbol_bytes != 2 && !(symbol_bytes == 1 && alphabet <= 256)))
        return EP_ARGUMENT;
    ep_cursor in = {payload, (const uint8_t *)payload + size};
    int64_t error = ep_stream_decode_checked(&in, count, alphabet, work, out, symbol_bytes);
    return error < 0 ? error : in.at - (const uint8_t *)payload;
}

/* The codes of count symbols (each low .. low+span-1, codes[s - low] in lengths[s - low] bits, 0 = never occurs),
 * one after the other to out[0 .. room); the bits of each lane of lane_symbols symbols to lane_bits. Returns bytes. */
EP_EXPORT int64_t ep_stream_encode(const void *symbols, int64_t symbol_bytes, int64_t count, int64_t low, int64_t span,
                                   const uint16_t *codes, const uint8_t *lengths, int64_t lane_symbols, int64_t *lane_bits,
                                   uint8_t *out, int64_t room) {
    if (count < 0 || lane_symbols < 1 || (symbol_bytes != 1 && symbol_bytes != 2)) return EP_ARGUMENT;
    uint64_t held = 0; /* at most 7 + 15 bits, in the low end */
    int held_bits = 0;
    int64_t size = 0, lane_left = lane_symbols, lane = 0, bits = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t symbol = (int64_t)ep_get(symbols, symbol_bytes, i) - low;
        if (symbol < 0 || symbol >= span || lengths[symbol] < 1 || lengths[symbol] > EP_CODE_MAX_BITS) return EP_ARGUMENT;
        held = held << lengths[symbol] | codes[symbol];
        held_bits += lengths[symbol];
        bits += lengths[symbol];
        while (held_bits >= 8) {
            if (size == room) return EP_FULL;
            held_bits -= 8;
            out[size++] = (uint8_t)(held >> held_bits);
        }
        if (--lane_left == 0 || i == count - 1) {
            lane_bits[lane++] = bits;
            bits = 0;
            lane_left = lane_symbols;
        }
    }
    if (held_bits) {
        if (size == room) return EP_FULL;
        out[size++] = (uint8_t)(held << (8 - held_bits));
    }
    return size;
}

#endif
