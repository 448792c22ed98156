/* One function a decoder, and the table of them. The codec is included whole: its loops are instrumented.
 *
 * Input of a decoder of symbols: u16 alphabet - 1, u8 dims, u16 each side, then the payload, little-endian;
 * seeds.py writes the same. What is outside of the possible is folded into it, not refused, so that mutations
 * of the head are not lost. */
#include "../codec.c"
#include "driver.h"

#define MOST_SYMBOLS 65536

static uint32_t take(struct fuzz_input *input, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes && input->left > 0; i++, input->left--) value |= (uint32_t)*input->at++ << 8 * i;
    return value;
}

static uint64_t hash_of(const uint8_t *at, int64_t bytes) {
    uint64_t hash = 0xCBF29CE484222325ULL; /* FNV-1a */
    for (int64_t i = 0; i < bytes; i++) hash = (hash ^ at[i]) * 0x100000001B3ULL;
    return hash;
}

/* The rest of the input in a buffer of its own size. */
static const uint8_t *rest(struct fuzz_input *input, int64_t *bytes) {
    uint8_t *room = fuzz_room(input->left);
    for (int64_t i = 0; i < input->left; i++) room[i] = input->at[i];
    *bytes = input->left;
    return room;
}

struct symbols_case {
    const uint8_t *payload;
    int64_t payload_bytes, alphabet, dims, count, symbol_bytes;
    int64_t *shape;
    void *symbols; /* to be written */
};

static struct symbols_case symbols_case(struct fuzz_input *input) {
    struct symbols_case made = {.count = 1};
    made.alphabet = take(input, 2) % 4096 + 1;
    made.symbol_bytes = made.alphabet <= 256 ? 1 : 2;
    made.dims = take(input, 1) % 9;
    made.shape = fuzz_room(made.dims * 8);
    for (int64_t i = 0; i < made.dims; i++) {
        made.shape[i] = take(input, 2) % (MOST_SYMBOLS / (made.count > 0 ? made.count : 1) + 1);
        made.count *= made.shape[i];
    }
    made.symbols = fuzz_room(made.count * made.symbol_bytes);
    for (int64_t i = 0; i < made.count * made.symbol_bytes; i++) ((uint8_t *)made.symbols)[i] = 0xA5;
    made.payload = rest(input, &made.payload_bytes);
    return made;
}

/* Symbols that were decoded are symbols: all in the alphabet. */
static struct fuzz_answer symbols_answer(const struct symbols_case *made, int64_t status) {
    if (status < 0) return (struct fuzz_answer){status, 0};
    for (int64_t i = 0; i < made->count; i++) {
        int64_t symbol = made->symbol_bytes == 1 ? ((uint8_t *)made->symbols)[i] : ((uint16_t *)made->symbols)[i];
        if (symbol >= made->alphabet) fuzz_fail("a decoded symbol is outside of the alphabet");
    }
    return (struct fuzz_answer){status, hash_of(made->symbols, made->count * made->symbol_bytes)};
}

/* A decoder with two bugs, to see them found: a byte in the middle makes a length one too large, or overflows. */
static struct fuzz_answer planted(struct fuzz_input input) {
    struct symbols_case it = symbols_case(&input);
    int64_t count = it.payload_bytes > 0 ? it.payload[0] % (it.count + 1) : 0;
    if (it.payload_bytes > 9 && it.payload[9] == 0x80) count = it.count + 1;
    if (it.payload_bytes > 9 && it.payload[9] == 0x81) it.alphabet += INT64_MAX;
    for (int64_t i = 0; i < count * it.symbol_bytes; i++) ((uint8_t *)it.symbols)[i] = 0;
    return (struct fuzz_answer){count, 0};
}

static struct fuzz_answer stream(struct fuzz_input input) {
    struct symbols_case it = symbols_case(&input);
    int64_t work_bytes = ep_stream_work_bytes();
    return symbols_answer(&it, ep_stream_decode(it.payload, it.payload_bytes, it.count, it.alphabet, it.symbols,
                                                it.symbol_bytes, fuzz_work(work_bytes), work_bytes));
}

static struct fuzz_answer rans(struct fuzz_input input) {
    struct symbols_case it = symbols_case(&input);
    int64_t work_bytes = ep_rans_work_bytes();
    return symbols_answer(&it, ep_rans_decode(it.payload, it.payload_bytes, it.alphabet, it.shape, it.dims, it.symbols,
                                              it.symbol_bytes, fuzz_work(work_bytes), work_bytes));
}

/* Input: u8 form, u8 item size, u8 exponent bits, u16 count (below 4096: these are slow), payload. */
static struct fuzz_answer floats_few(struct fuzz_input input) {
    int64_t form = take(&input, 1) % 6, itemsize = (int64_t)2 << take(&input, 1) % 3;
    int64_t exponent_bits = 4 + take(&input, 1) % 9, count = take(&input, 2) % 4096, payload_bytes;
    uint8_t *out = fuzz_room(count * itemsize);
    for (int64_t i = 0; i < count * itemsize; i++) out[i] = 0xA5;
    const uint8_t *payload = rest(&input, &payload_bytes);
    int64_t work_bytes = ep_floats_few_work_bytes();
    int64_t status = ep_floats_few(form, payload, payload_bytes, exponent_bits, 8 * itemsize - 1 - exponent_bits, out,
                                   itemsize, count, fuzz_work(work_bytes), work_bytes);
    return (struct fuzz_answer){status, hash_of(out, count * itemsize)};
}

/* Input: u8 each of item size, bytes of a head, low, rest bits, magnitude bits, zeros, signs; u16 count; heads, tails. */
static struct fuzz_answer floats_join(struct fuzz_input input) {
    int64_t itemsize = (int64_t)2 << take(&input, 1) % 3, head_bytes = 1 + take(&input, 1) % 2, low = take(&input, 1);
    int64_t rest_bits = take(&input, 1) % 64, magnitude_bits = take(&input, 1) % 64, zeros = take(&input, 1) % 64;
    int64_t signs = take(&input, 1) % 4, count = take(&input, 2), elements = 0, tails_bytes;
    void *heads = fuzz_room(count * head_bytes);
    for (int64_t i = 0; i < count; i++) {
        uint32_t head = take(&input, (int)head_bytes);
        ep_put(heads, head_bytes, i, head);
        elements += head != 0;
    }
    uint8_t *out = fuzz_room(count * itemsize);
    const uint8_t *tails = rest(&input, &tails_bytes);
    int64_t status = ep_floats_join(heads, head_bytes, count, elements, low, rest_bits, magnitude_bits, zeros, signs,
                                    tails, tails_bytes, out, itemsize);
    return (struct fuzz_answer){status, status < 0 ? 0 : hash_of(out, count * itemsize)};
}

static struct fuzz_answer gaps(struct fuzz_input input) {
    struct symbols_case it = symbols_case(&input);
    int64_t work_bytes = ep_gaps_work_bytes();
    return symbols_answer(&it, ep_gaps_decode(it.payload, it.payload_bytes, it.alphabet, it.shape, it.dims, it.symbols,
                                              it.symbol_bytes, fuzz_work(work_bytes), work_bytes));
}

/* Input: u8 bytes to learn first, u16 bytes of text; what is learned; payload. */
static struct fuzz_answer text(struct fuzz_input input) {
    int64_t learned = take(&input, 1), size = take(&input, 2) % 512, payload_bytes;
    if (learned > input.left) learned = input.left;
    int64_t work_bytes = ep_text_work_bytes();
    uint8_t *work = fuzz_work(work_bytes), *known = fuzz_room(learned), *out = fuzz_room(size);
    for (int64_t i = 0; i < work_bytes; i++) work[i] = 0;
    for (int64_t i = 0; i < learned; i++) known[i] = (uint8_t)take(&input, 1);
    const uint8_t *payload = rest(&input, &payload_bytes);
    int64_t status = ep_text_start(work, work_bytes);
    if (status >= 0) status = ep_text_learn(work, known, learned);
    if (status >= 0) status = ep_text_decode(work, payload, payload_bytes, out, size / 2);
    if (status >= 0) status = ep_text_decode(work, payload, payload_bytes, out + size / 2, size - size / 2);
    return (struct fuzz_answer){status, status < 0 ? 0 : hash_of(out, size)};
}

/* Input: u16 alphabet - 1, u16 symbols (below 4096), u24 bytes of work memory, u8 whether there is a base; its symbols; payload. */
static struct fuzz_answer context(struct fuzz_input input) {
    struct symbols_case it = {.alphabet = take(&input, 2) % 4096 + 1, .count = take(&input, 2) % 4096};
    int64_t work_bytes = take(&input, 3) % (4 << 20);
    int with_base = take(&input, 1) & 1;
    it.symbol_bytes = it.alphabet <= 256 ? 1 : 2;
    void *base = with_base ? fuzz_room(it.count * it.symbol_bytes) : NULL;
    for (int64_t i = 0; with_base && i < it.count; i++)
        ep_put(base, it.symbol_bytes, i, take(&input, (int)it.symbol_bytes) % (uint32_t)it.alphabet);
    it.symbols = fuzz_room(it.count * it.symbol_bytes);
    for (int64_t i = 0; i < it.count * it.symbol_bytes; i++) ((uint8_t *)it.symbols)[i] = 0xA5;
    it.payload = rest(&input, &it.payload_bytes);
    return symbols_answer(&it, ep_context_decode(it.payload, it.payload_bytes, it.alphabet, it.count, it.symbols,
                                                 it.symbol_bytes, base, fuzz_work(work_bytes), work_bytes));
}

/* What the Python side has read of the head and checked: the lengths of a code are never too many.
 * Input: u8 checks, u8 values; for each group u24 place, u24 cells, u32 seed; u16 rows, u16 columns; u8 class of
 * each row, of each column; u8 whether there is a code, and then u16 symbols of each length 1 .. values, u16 each
 * symbol; u16 background, u16 marker, u8 symbol bytes - 1; payload. */
static struct fuzz_answer bloomier(struct fuzz_input input) {
    int64_t checks = take(&input, 1) % 32, values = take(&input, 1) % (EP_VALUE_BITS_MAX + 1), payload_bytes;
    int64_t *groups = fuzz_room((checks + values) * EP_GROUP_FIELDS * 8);
    for (int64_t group = 0; group < checks + values; group++) {
        groups[EP_GROUP_FIELDS * group] = take(&input, 3);
        groups[EP_GROUP_FIELDS * group + 1] = take(&input, 3);
        groups[EP_GROUP_FIELDS * group + 2] = take(&input, 4);
    }
    int64_t rows = take(&input, 2), columns = take(&input, 2) % (MOST_SYMBOLS / (rows > 0 ? rows : 1) + 1);
    uint8_t *row_class = fuzz_room(rows), *column_class = fuzz_room(columns);
    for (int64_t i = 0; i < rows; i++) row_class[i] = (uint8_t)take(&input, 1);
    for (int64_t i = 0; i < columns; i++) column_class[i] = (uint8_t)take(&input, 1);
    int with_code = take(&input, 1) & 1;
    int64_t *counts = fuzz_room((values + 1) * 8), symbols = 0, room = 1;
    counts[0] = 0;
    for (int64_t length = 1; length <= values; length++) {
        room = 2 * room;
        int64_t count = with_code ? take(&input, 2) : 0;
        counts[length] = count < room ? count : room;
        room -= counts[length];
        symbols += counts[length];
    }
    if (symbols == 0) symbols = 1;
    uint16_t *ordered = with_code ? fuzz_room(2 * symbols) : NULL;
    for (int64_t i = 0; with_code && i < symbols; i++) ordered[i] = (uint16_t)take(&input, 2);
    int64_t background = take(&input, 2), marker = take(&input, 2), symbol_bytes = 1 + take(&input, 1) % 2;
    const uint8_t *payload = rest(&input, &payload_bytes);
    uint8_t *out = fuzz_room(rows * columns * symbol_bytes);
    uint32_t *keys = fuzz_room(4 * (checks + values));
    int64_t status = ep_bloomier_decode(payload, payload_bytes, groups, checks, values, row_class, rows, column_class,
                                        columns, counts, ordered, background, marker, keys, out, symbol_bytes);
    return (struct fuzz_answer){status, status < 0 ? 0 : hash_of(out, rows * columns * symbol_bytes)};
}

/* Input: u16 symbols, u8 symbol bytes - 1, i32 lowest, u16 rows, u16 inner; the symbols. */
static struct fuzz_answer untangle(struct fuzz_input input) {
    int64_t size = take(&input, 2), symbol_bytes = 1 + take(&input, 1) % 2, lowest = (int32_t)take(&input, 4);
    int64_t rows = take(&input, 2), inner = take(&input, 2);
    void *symbols = fuzz_room(size * symbol_bytes);
    for (int64_t i = 0; i < size; i++) ep_put(symbols, symbol_bytes, i, take(&input, (int)symbol_bytes));
    int32_t *out = fuzz_room(4 * size);
    int64_t status = ep_untangle(symbols, symbol_bytes, size, lowest, rows, inner, fuzz_room(rows), out, size);
    return (struct fuzz_answer){status, status < 0 ? 0 : hash_of((const uint8_t *)out, 4 * size)};
}

const struct fuzz_target fuzz_targets[] = {
    {"planted", planted},
    {"stream", stream},
    {"gaps", gaps},
    {"rans", rans},
    {"bloomier", bloomier},
    {"context", context},
    {"floats_few", floats_few},
    {"floats_join", floats_join},
    {"text", text},
    {"untangle", untangle},
};
const int32_t fuzz_target_count = sizeof fuzz_targets / sizeof *fuzz_targets;
