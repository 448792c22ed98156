/* The model of text and its binary range coder: the twin of codec/text_model.py and text_coder.py, which say
 * what is computed and why. All state lies in the caller's work memory, which is all zeros at first.
 */
#ifndef EDGEPRESS_TEXT_H
#define EDGEPRESS_TEXT_H

#include "edgepress.h"

#define TEXT_CONTEXTS 8
#define TEXT_INPUTS (2 * TEXT_CONTEXTS + 2)
#define TEXT_SLOTS (1 << 17)
#define TEXT_COUNT_MAX 12
#define TEXT_HISTORY_BYTES (532 << 10) /* TEXT_MAX_BYTES of text_coder.py twice, and the dictionary */
#define TEXT_G 0x9E3779B1u

typedef struct {
    uint16_t probability[TEXT_CONTEXTS][TEXT_SLOTS]; /* xor 2**15, so that zeros are one half */
    uint8_t count[TEXT_CONTEXTS][TEXT_SLOTS];
    uint32_t last[1 << 16];
    int32_t by_confidence[(TEXT_CONTEXTS + 1) * 5][TEXT_INPUTS];
    int32_t by_node[256][TEXT_INPUTS];
    int16_t stretch[4096];
    uint8_t history[TEXT_HISTORY_BYTES];
    uint32_t length; /* of the history */
    uint32_t match_at, match_bytes, word;
    uint32_t hashes[TEXT_CONTEXTS];
    /* of the bit that was predicted last */
    uint32_t node;
    uint32_t slots[TEXT_CONTEXTS];
    int32_t inputs[TEXT_INPUTS];
    int32_t *weights;
    int32_t logits[2];
    /* of the range coder: `low` of the encoder, the code read of the decoder */
    uint64_t low;
    uint32_t range;
    int64_t at; /* bytes written or read */
} text_state;

static const int16_t text_logistic[33] = {
    2048, 2303, 2550, 2782, 2994, 3184, 3349, 3490, 3608, 3705, 3785, 3850, 3902, 3943, 3976, 4002, 4022,
    4038, 4051, 4061, 4069, 4075, 4079, 4083, 4086, 4088, 4090, 4091, 4092, 4093, 4094, 4094, 4095};

EP_INLINE int32_t text_squash(int32_t logit) {
    int32_t size = logit < 0 ? -logit : logit;
    int32_t at = size >> 6, part = size & 63;
    int32_t value = text_logistic[at] + (((text_logistic[at + 1] - text_logistic[at]) * part) >> 6);
    return logit < 0 ? 4096 - value : value;
}

EP_INLINE uint32_t text_mix(uint32_t value) {
    value = (value ^ value >> 16) * 0x7FEB352Du;
    value = (value ^ value >> 15) * 0x846CA68Bu;
    return value ^ value >> 16;
}

EP_INLINE uint32_t text_before(const text_state *s, uint32_t back) {
    return back <= s->length ? s->history[s->length - back] : 0;
}

static void text_begin_byte(text_state *s) {
    uint32_t c1 = text_before(s, 1), c2 = text_before(s, 2), c3 = text_before(s, 3);
    uint32_t c4 = text_before(s, 4), c5 = text_before(s, 5), c6 = text_before(s, 6);
    uint32_t values[TEXT_CONTEXTS];
    values[0] = 0;
    values[1] = c1;
    values[2] = c1 | c2 << 8;
    values[3] = c1 | c2 << 8 | c3 << 16;
    values[4] = text_mix(c1 | c2 << 8 | c3 << 16 | c4 << 24) + (c5 | c6 << 8);
    values[5] = c4 | (s->length & 3) << 8;
    values[6] = text_mix(s->word) + c1;
    values[7] = c2 | c3 << 8;
    for (uint32_t i = 0; i < TEXT_CONTEXTS; i++) s->hashes[i] = text_mix(values[i] + (i + 1) * TEXT_G);
    s->node = 1;
}

static void text_end_byte(text_state *s, uint8_t byte) {
    if (s->match_bytes && s->history[s->match_at] == byte) {
        if (s->match_bytes < 65535) s->match_bytes++;
        s->match_at++;
    } else {
        s->match_bytes = 0;
    }
    s->history[s->length++] = byte;
    uint32_t letter = (uint32_t)(byte | 32) - 'a';
    s->word = letter < 26 ? text_mix(s->word + byte) : 0;
    if (s->length >= 4) {
        uint32_t key = text_mix(text_before(s, 1) | text_before(s, 2) << 8 | text_before(s, 3) << 16 |
                                text_before(s, 4) << 24) >> 16;
        if (!s->match_bytes) {
            uint32_t at = s->last[key], agree = 0;
            while (agree < 32 && agree < at &&
                   s->history[at - 1 - agree] == s->history[s->length - 1 - agree])
                agree++;
            s->match_at = at;
            s->match_bytes = agree;
        }
        s->last[key] = s->length;
    }
    text_begin_byte(s);
}

EP_INLINE int32_t text_dot(const int32_t *inputs, const int32_t *weights) {
    int64_t total = 0;
    for (int i = 0; i < TEXT_INPUTS; i++) total += (int64_t)inputs[i] * weights[i];
    total >>= 16;
    return total > 2047 ? 2047 : total < -2047 ? -2047 : (int32_t)total;
}

EP_INLINE int32_t text_predict(text_state *s) {
    int32_t known = 0;
    uint32_t node = s->node;
    for (int i = 0; i < TEXT_CONTEXTS; i++) {
        uint32_t slot = (s->hashes[i] + node * TEXT_G) >> 15;
        int32_t count = s->count[i][slot];
        int32_t probability = (s->probability[i][slot] ^ 0x8000) >> 4;
        s->slots[i] = slot;
        s->inputs[2 * i] = count ? s->stretch[probability] : 0;
        s->inputs[2 * i + 1] = ((probability - 2048) * count) >> 4; /* 0 for no count */
        known += count != 0;
    }
    int32_t strength = 0, band = 0;
    if (s->match_bytes) {
        uint32_t length = s->match_bytes, expected = s->history[s->match_at] | 256u;
        int bits = 0; /* of the byte that are known */
        while (node >> (bits + 1)) bits++;
        if (expected >> (8 - bits) == node) {
            strength = length < 16 ? (int32_t)length * 40 : 600 + (int32_t)(length < 32 ? length : 32) * 30;
            if (!(expected >> (7 - bits) & 1)) strength = -strength;
            band = length < 8 ? 1 : length < 16 ? 2 : length < 32 ? 3 : 4;
        } else {
            s->match_bytes = 0; /* the byte is another one */
        }
    }
    s->inputs[TEXT_INPUTS - 2] = strength;
    s->inputs[TEXT_INPUTS - 1] = 256;
    s->weights = s->by_confidence[known * 5 + band];
    s->logits[0] = text_dot(s->inputs, s->weights);
    s->logits[1] = text_dot(s->inputs, s->by_node[node]);
    return text_squash((s->logits[0] + s->logits[1]) >> 1);
}

EP_INLINE void text_train(const int32_t *inputs, int32_t *weights, int32_t error) {
    for (int i = 0; i < TEXT_INPUTS; i++) {
        int32_t weight = weights[i] + ((inputs[i] * error + 8192) >> 14);
        weights[i] = weight > 1 << 19 ? 1 << 19 : weight < -(1 << 19) ? -(1 << 19) : weight;
    }
}

EP_INLINE void text_update(text_state *s, uint32_t bit) {
    text_train(s->inputs, s->weights, ((int32_t)(bit << 12) - text_squash(s->logits[0])) * 3);
    text_train(s->inputs, s->by_node[s->node], ((int32_t)(bit << 12) - text_squash(s->logits[1])) * 3);
    for (int i = 0; i < TEXT_CONTEXTS; i++) {
        uint8_t *count = &s->count[i][s->slots[i]];
        uint16_t *slot = &s->probability[i][s->slots[i]];
        int32_t probability = *slot ^ 0x8000;
        probability += (((bit ? 65535 : 0) - probability) * (32768 / (2 * *count + 3))) >> 14;
        *slot = (uint16_t)(probability ^ 0x8000);
        if (*count < TEXT_COUNT_MAX) ++*count;
    }
    s->node = s->node << 1 | bit;
    if (s->node >= 256) text_end_byte(s, (uint8_t)s->node);
}

EP_EXPORT int64_t ep_text_work_bytes(void) { return (int64_t)sizeof(text_state); }

/* A model that knows nothing. `work` is all zeros. */
EP_EXPORT int64_t ep_text_start(void *work, int64_t work_bytes) {
    if (work_bytes < (int64_t)sizeof(text_state)) return EP_WORK;
    text_state *s = work;
    int32_t logit = -2047;
    for (int32_t probability = 0; probability < 4096; probability++) {
        while (logit < 2047 && text_squash(logit) < probability) logit++;
        s->stretch[probability] = (int16_t)logit;
    }
    for (int set = 0; set < (TEXT_CONTEXTS + 1) * 5 + 256; set++) {
        int32_t *weights = set < 256 ? s->by_node[set] : s->by_confidence[set - 256];
        for (int i = 0; i < TEXT_CONTEXTS; i++) weights[2 * i] = 10000;
        weights[TEXT_INPUTS - 2] = 40000;
    }
    s->range = 0xFFFFFFFFu;
    text_begin_byte(s);
    return 0;
}

/* See `data` without coding it. */
EP_EXPORT int64_t ep_text_learn(void *work, const uint8_t *data, int64_t size) {
    text_state *s = work;
    if (size < 0 || size > TEXT_HISTORY_BYTES - (int64_t)s->length) return EP_ARGUMENT;
    for (int64_t i = 0; i < size; i++)
        for (int place = 7; place >= 0; place--) {
            text_predict(s);
            text_update(s, data[i] >> place & 1u);
        }
    return size;
}

/* Append to `out` the bytes that are certain after `data`; returns how many there are in all. */
EP_EXPORT int64_t ep_text_encode(void *work, const uint8_t *data, int64_t size, uint8_t *out, int64_t room) {
    text_state *s = work;
    if (size < 0 || size > TEXT_HISTORY_BYTES - (int64_t)s->length) return EP_ARGUMENT;
    for (int64_t i = 0; i < size; i++)
        for (int place = 7; place >= 0; place--) {
            uint32_t bound = (s->range >> 12) * (uint32_t)text_predict(s);
            uint32_t bit = data[i] >> place & 1u;
            if (bit) {
                s->range = bound;
            } else {
                s->low += bound;
                s->range -= bound;
            }
            if (s->low >> 32) { /* carry into what is written */
                for (int64_t j = s->at; j > 0 && ++out[j - 1] == 0; j--) {}
                s->low &= 0xFFFFFFFFu;
            }
            while (s->range < 1u << 24) {
                if (s->at >= room) return EP_FULL;
                out[s->at++] = (uint8_t)(s->low >> 24);
                s->low = s->low << 8 & 0xFFFFFFFFu;
                s->range <<= 8;
            }
            text_update(s, bit);
        }
    return s->at;
}

/* Append the fewest bytes that end the text, zeros at the end left out; returns the length of the whole. */
EP_EXPORT int64_t ep_text_finish(void *work, uint8_t *out, int64_t room) {
    text_state *s = work;
    if (room - s->at < 4) return EP_FULL;
    uint64_t value = s->low, high = s->low + s->range - 1;
    for (int zeros = 32; zeros > 0; zeros -= 8) {
        uint64_t step = (uint64_t)1 << zeros, up = (s->low + step - 1) & ~(step - 1);
        if (up <= high) {
            value = up;
            break;
        }
    }
    if (value >> 32)
        for (int64_t j = s->at; j > 0 && ++out[j - 1] == 0; j--) {}
    for (int shift = 24; shift >= 0; shift -= 8) out[s->at++] = (uint8_t)(value >> shift);
    while (s->at > 0 && out[s->at - 1] == 0) s->at--;
    return s->at;
}

/* The next `size` bytes of the text into `out`; the payload goes on in zeros. Returns how many bytes of it,
 * these zeros included, are read by now: when all of the text is read, as many as it has, or more. */
EP_EXPORT int64_t ep_text_decode(void *work, const uint8_t *payload, int64_t payload_bytes, uint8_t *out,
                                 int64_t size) {
    text_state *s = work;
    if (size < 0 || size > TEXT_HISTORY_BYTES - (int64_t)s->length || payload_bytes < 0) return EP_ARGUMENT;
    for (; s->at < 4; s->at++) s->low = s->low << 8 | (s->at < payload_bytes ? payload[s->at] : 0u);
    for (int64_t i = 0; i < size; i++) {
        uint32_t byte = 1;
        while (byte < 256) {
            uint32_t bound = (s->range >> 12) * (uint32_t)text_predict(s);
            uint32_t bit = s->low < bound;
            if (bit) {
                s->range = bound;
            } else {
                s->low -= bound;
                s->range -= bound;
            }
            while (s->range < 1u << 24) {
                s->low = (s->low << 8 | (s->at < payload_bytes ? payload[s->at] : 0u)) & 0xFFFFFFFFu;
                s->at++;
                s->range <<= 8;
            }
            byte = byte << 1 | bit;
            text_update(s, bit);
        }
        out[i] = (uint8_t)byte;
    }
    return s->at;
}

#endif
