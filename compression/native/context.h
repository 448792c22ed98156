/* The coder `context`, and `context-delta`: codec/context.py draws the bytes and names the parts of the model,
 * codec/context_reference.py is the specification of these loops.
 *
 * One walk over the elements, the same for both directions: each is coded by what the model expects, and the
 * model then learns from it.
 */
#ifndef EDGEPRESS_CONTEXT_H
#define EDGEPRESS_CONTEXT_H

#include "cursor.h"
#include "range_coder.h"

enum {
    EP_CONTEXT_SCALE = 18,       /* bits of a cumulative frequency */
    EP_CONTEXT_INPUTS = 8,       /* of a mixer */
    EP_CONTEXT_ALPHABET = 4096,  /* a delta's changes have twice as many */
    EP_CONTEXT_COLUMNS = 65536,
    EP_CONTEXT_LAG = 4096,
    EP_CONTEXT_TAPS = 512,
    EP_CONTEXT_WEIGHTS = 1 << 20, /* taps of all columns */
    EP_CONTEXT_MARGIN = 2 * EP_CONTEXT_LAG + 16
};

typedef struct {
    int64_t count, columns, kernel, lag; /* rows are ceil(count / columns) */
    int32_t alphabet, background, centre, spread, density;
    int32_t spike, transposed, family, taps, rate;
} ep_context_head;

typedef struct {
    int32_t scale, mean;        /* effects of the column: octaves / 65536; latent / 65536 */
    uint32_t nonzero, negative; /* adaptive probabilities */
    uint8_t flags, signs, size, size_above;
} ep_context_column;

typedef struct {
    uint16_t exp2[256];    /* 2^15 * 2^(i / 256) */
    uint16_t squash[4096]; /* log2 odds / 128, from -16 -> probability / 65536 */
    int16_t stretch[4096]; /* the inverse, of probability / 4096 */
    int32_t learn[1024];   /* 2^16 / (n + 1.6) */
    int32_t row_rate[1024];
    uint32_t below[258];   /* the distribution at -8, -8 + 1/16, .. */
    int32_t above[1026];   /* its inverse, of cumulative frequency / 256 */
    uint32_t reserve;      /* half of what the distribution leaves for its tails */
    int32_t symbols;       /* that can be coded: alphabet, or of a delta 2 * alphabet - 1 */
    int32_t background;
    uint64_t prior_sum;
    uint32_t counts[2 * EP_CONTEXT_ALPHABET], prior[2 * EP_CONTEXT_ALPHABET];
    uint64_t weight[2 * EP_CONTEXT_ALPHABET];
    int32_t threshold[2 * EP_CONTEXT_ALPHABET + 1], middle[2 * EP_CONTEXT_ALPHABET]; /* latent / 4096 */
    uint16_t guess[1025];
    int32_t flag_weights[8][EP_CONTEXT_INPUTS], sign_weights[17][EP_CONTEXT_INPUTS];
    /* adaptive probabilities */
    uint32_t flag_column[256], flag_density[256], flag_near[256], flag_local[1280];
    uint32_t flag_row[256], flag_lag[768];
    uint32_t sign_row[16], sign_column[64], sign_expected[32], sign_lag[12], sign_near[27];
} ep_context_model;

typedef struct {
    ep_context_model *model;
    ep_context_column *columns;
    int32_t *channels; /* effects of a column's channel on the scale */
    int16_t *history;  /* the row so far, as the taps see it */
    int8_t *marks;     /* the sign of each element of the row so far, of the row before behind it */
    int16_t *weights;  /* taps */
} ep_context_memory;

/* --- tables ------------------------------------------------------------------------------------------- */

/* 2^(19 + t / 256), for |t| <= 1024 */
EP_INLINE int64_t ep_context_power(const ep_context_model *m, int32_t t) {
    return (int64_t)m->exp2[t & 255] << (4 + (t >> 8));
}

static void ep_context_tables(ep_context_model *m) {
    uint64_t x = (uint64_t)1 << 62;
    for (int32_t i = 0; i < 256; i++) {
        m->exp2[i] = (uint16_t)((x + ((uint64_t)1 << 46)) >> 47);
        x = (x >> 31) * 2153306067u; /* 2^31 * 2^(1/256) */
    }
    for (int32_t s = 0; s < 2048; s++) {
        uint64_t odds = (uint64_t)m->exp2[2 * s & 255] << (2 * s >> 8);
        uint32_t p = 65536 - (uint32_t)(((uint64_t)1 << 31) / (odds + 32768));
        if (p > 65516) p = 65516;
        m->squash[2048 + s] = (uint16_t)p;
        m->squash[2048 - s] = (uint16_t)(65536 - p);
    }
    m->squash[0] = m->squash[1];
    int32_t next = 0;
    for (int32_t s = -2047; s < 2048; s++)
        for (; next <= m->squash[2048 + s] >> 4; next++) m->stretch[next] = (int16_t)s;
    for (; next < 4096; next++) m->stretch[next] = 2047;
    for (int32_t n = 0; n < 1024; n++) {
        m->learn[n] = 655360 / (10 * n + 16);
        m->row_rate[n] = 65536 / (n + 16);
    }
}

/* 2^(30 - t / 256), a little less at its steps */
EP_INLINE uint64_t ep_context_fall(const ep_context_model *m, uint64_t t) {
    return t < 7680 ? (uint64_t)m->exp2[255 - (t & 255)] << 15 >> (t >> 8) >> 1 : 0;
}

/* The distribution of the latent value: a table of densities, summed. */
static void ep_context_distribution(ep_context_model *m, int32_t family) {
    uint64_t density[128], sum = 0, running = 0;
    for (uint64_t j = 0; j < 128; j++) {
        const uint64_t a = 2 * j + 1; /* |z| = a / 32 */
        const uint64_t normal = ep_context_fall(m, a * a * 11819 >> 16);
        const uint64_t t = a * 10056 >> 10;
        const uint64_t o = (uint64_t)m->exp2[t & 255] << (t >> 8), b = o + ((uint64_t)1 << 30) / o;
        const uint64_t logistic = ((uint64_t)1 << 62) / (b * b);
        const uint64_t laplace = ep_context_fall(m, a * 44 / 3);
        density[j] = 4096 + (family == 0   ? normal
                             : family == 1 ? (normal + 2 * logistic) / 3
                             : family == 2 ? logistic
                                           : (2 * logistic + laplace) / 3);
        sum += density[j];
    }
    const uint32_t half = ((uint32_t)1 << (EP_CONTEXT_SCALE - 1)) - m->reserve;
    for (int32_t i = 0; i < 128; i++) {
        m->below[i] = (uint32_t)(running * half / sum);
        m->below[256 - i] = 2 * half - m->below[i];
        running += density[127 - i];
    }
    m->below[128] = half;
    m->below[257] = m->below[256];
    int32_t j = 0;
    for (uint32_t i = 0; i < 1026; i++) {
        const uint32_t u = i << 8;
        while (j < 255 && m->below[j + 1] <= u) j++;
        const uint32_t from = m->below[j], width = m->below[j + 1] - from;
        uint32_t part = u > from && width ? ((u - from) << 8) / width : 0;
        if (part > 255) part = 255;
        m->above[i] = j * 256 + (int32_t)part - 32768;
    }
}

/* The distribution at z / 4096, as a cumulative frequency. */
EP_INLINE uint32_t ep_context_below(const ep_context_model *m, int64_t z) {
    z = z < -32768 ? -32768 : z > 32767 ? 32767 : z;
    const uint32_t at = (uint32_t)(z + 32768), a = m->below[at >> 8], b = m->below[(at >> 8) + 1];
    return a + ((b - a) * (at & 255) >> 8);
}

EP_INLINE int32_t ep_context_above(const ep_context_model *m, uint32_t u) {
    const int32_t a = m->above[u >> 8], b = m->above[(u >> 8) + 1];
    return a + (((b - a) * (int32_t)(u & 255)) >> 8);
}

/* --- symbols as intervals of the latent value ----------------------------------------------------------- */

static void ep_context_prior(ep_context_model *m, int32_t centre, int32_t spread) {
    for (int32_t k = 0; k < m->symbols; k++) {
        const int64_t from = (int64_t)(16 * k - 8 - centre) * 4096 / spread;
        const int64_t to = (int64_t)(16 * k + 8 - centre) * 4096 / spread;
        m->prior[k] = k == m->background ? 0 : ep_context_below(m, to) - ep_context_below(m, from) + 1;
        m->prior_sum += m->prior[k];
    }
}

/* The latent value below which `part` / 16 of the cumulative frequencies lie; `at` only grows between calls. */
EP_INLINE int32_t ep_context_quantile(const ep_context_model *m, uint64_t part, int32_t *at) {
    while (*at < 255 && (uint64_t)m->below[*at + 1] << 4 <= part) *at += 1;
    const uint64_t from = (uint64_t)m->below[*at] << 4, width = ((uint64_t)m->below[*at + 1] << 4) - from;
    const uint64_t in = part > from && width ? ((part - from) << 8) / width : 0;
    return *at * 256 + (int32_t)(in > 255 ? 255 : in) - 32768;
}

/* Thresholds and middles from the counts, smoothed over neighbours while there are few. */
static void ep_context_rebuild(ep_context_model *m, int32_t spike) {
    const int32_t last = m->symbols - 1, background = m->background;
    uint64_t counted = 0;
    for (int32_t k = 0; k <= last; k++) counted += m->counts[k];
    if (counted >= 1 << 26) { /* keeps the sums below in 64 bits */
        counted = 0;
        for (int32_t k = 0; k <= last; k++) counted += m->counts[k] >>= 1;
    }
    const uint64_t others = counted - m->counts[background];
    uint64_t sums[2] = {0, 0}; /* below the background, and above */
    for (int32_t k = 0; k <= last; k++) {
        uint64_t near = 0, shares = 0;
        if (k == background) continue;
        for (int32_t j = k < 2 ? -k : -2; j <= 2 && k + j <= last; j++) {
            if (k + j == background) continue;
            const uint64_t share = (uint64_t)(3 - (j < 0 ? -j : j));
            near += share * m->counts[k + j];
            shares += share;
        }
        const uint64_t smooth = (near << 16) / shares + 3276800 * (uint64_t)m->prior[k] / m->prior_sum;
        m->weight[k] = ((uint64_t)m->counts[k] << 16) + 2000 * smooth / (others + 50) + 1;
        sums[k > background] += m->weight[k];
    }
    m->weight[background] = 0;
    if (!spike) {
        uint64_t w = ((uint64_t)(2 * m->counts[background] + 1) << 15) + 1;
        if (counted == 0 && last > 0) w = m->weight[background > 0 ? background - 1 : 1];
        m->weight[background] = w;
        sums[0] += sums[1] + w;
    }
    const uint64_t half = m->below[128];
    uint64_t running = 0;
    int32_t threshold_at = 0, middle_at = 0;
    for (int32_t k = 0; k <= last; k++) {
        const int32_t upper = spike && k > background;
        if (spike && k == background + 1) running = 0;
        const uint64_t from = running, middle = running + m->weight[k] / 2, sum = sums[upper];
        const uint64_t share = spike ? half << 4 : half << 5, base = upper ? half << 4 : 0;
        running += m->weight[k];
        if (spike && k == background) {
            m->threshold[k] = m->middle[k] = 0;
            continue;
        }
        m->threshold[k] = ep_context_quantile(m, base + ((from << 18) / sum * share >> 18), &threshold_at);
        m->middle[k] = ep_context_quantile(m, base + ((middle << 18) / sum * share >> 18), &middle_at);
    }
    m->threshold[last + 1] = 32768;
    int32_t k = 0;
    for (int32_t i = 0; i < 1025; i++) {
        while (k < last && m->threshold[k + 1] <= i * 64 - 32768) k++;
        m->guess[i] = (uint16_t)k;
    }
}

/* --- adaptive probabilities and their mixing ------------------------------------------------------------ */

EP_INLINE int32_t ep_context_clip(int32_t x, int32_t limit) { return x < -limit ? -limit : x > limit ? limit : x; }

EP_INLINE int32_t ep_context_stretch(const ep_context_model *m, uint32_t p) { return m->stretch[p >> 20]; }

/* One decision. A probability is 22 bits, and 10 of how often it has learned; `p` are the opinions of it, `fixed`
 * (log2 odds / 128) takes the place of the last where `opinions` is one less than EP_CONTEXT_INPUTS. */
EP_INLINE int32_t ep_context_decide(const ep_context_model *m, ep_range_reader *reader, ep_range_writer *writer,
                                    int32_t *weights, uint32_t *const *p, const int32_t opinions, int32_t fixed,
                                    uint32_t column_limit, uint32_t row_limit, int32_t rate, int32_t bit) {
    uint32_t values[EP_CONTEXT_INPUTS];
    int32_t inputs[EP_CONTEXT_INPUTS], sum = 0;
    for (int32_t i = 0; i < opinions; i++) values[i] = *p[i];
    for (int32_t i = 0; i < opinions; i++) inputs[i] = m->stretch[values[i] >> 20];
    if (opinions < EP_CONTEXT_INPUTS) inputs[opinions] = fixed;
    for (int32_t i = 0; i < EP_CONTEXT_INPUTS; i++) sum += weights[i] * inputs[i]; /* < 8 * 2^17 * 2^11 */
    sum = ep_context_clip(sum >> 14, 2047);
    const uint32_t chance = m->squash[2048 + sum];
    if (reader) {
        ep_range_fill(reader);
        const uint32_t one = (reader->range >> 16) * chance;
        bit = (uint32_t)(reader->window >> 32) < one;
        ep_range_take(reader, bit ? 0 : one, bit ? one : reader->range - one);
    } else {
        const uint32_t one = (writer->range >> 16) * chance;
        ep_range_put(writer, bit ? 0 : one, bit ? one : writer->range - one);
    }
    const int32_t error = ((bit << 16) - (int32_t)chance) * rate >> 6;
    for (int32_t i = 0; i < EP_CONTEXT_INPUTS; i++)
        weights[i] = ep_context_clip(weights[i] + ((inputs[i] * error + 8192) >> 14), 131000);
    const uint32_t side = bit ? 0x3FFFFF : 0; /* a distance to 0 or to 1, so that rounding never leaves them */
    for (int32_t i = 0; i < opinions; i++) {
        const uint32_t n = values[i] & 1023, limit = i == 0 ? column_limit : i == 1 ? row_limit : 1000;
        const uint32_t distance = values[i] >> 10 ^ side, step = (distance >> 7) * (uint32_t)m->learn[n] >> 9;
        *p[i] = ((distance - step) ^ side) << 10 | (n + (n < limit));
    }
    return bit;
}

/* --- taps: the element expected from the elements before it in the row ------------------------------------ */

typedef int16_t ep_context_lanes __attribute__((vector_size(16), aligned(2), may_alias));

EP_INLINE int32_t ep_context_dot(const int16_t *restrict weights, const int16_t *restrict history, int64_t taps) {
    int32_t sum = 0; /* |history| <= 127 and at most 512 taps: below 2^31 */
    taps &= ~(int64_t)15;
#if defined(__clang__) /* without optimisation, as under sanitizers, nothing is to be said about it */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpass-failed"
#pragma clang loop vectorize_width(8) interleave_count(2)
#endif
    for (int64_t i = 0; i < taps; i++) sum += (int32_t)weights[i] * history[i];
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
    return sum;
}

EP_INLINE void ep_context_adapt(int16_t *weights, const int16_t *history, int64_t taps, int32_t error, int32_t rate) {
    const int16_t e = (int16_t)error, r = (int16_t)(1 << (rate - 1)), d = (int16_t)rate;
    const ep_context_lanes by = {e, e, e, e, e, e, e, e}, round = {r, r, r, r, r, r, r, r};
    const ep_context_lanes down = {d, d, d, d, d, d, d, d};
    for (int64_t i = 0; i < taps; i += 16) { /* |history * error| <= 16129; vectors wrap */
        ep_context_lanes *w = (ep_context_lanes *)(void *)(weights + i);
        const ep_context_lanes *h = (const ep_context_lanes *)(const void *)(history + i);
        w[0] += (h[0] * by + round) >> down;
        w[1] += (h[1] * by + round) >> down;
    }
}

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
                p[4] = m->flag_near + ((column->flags & 3) | (column[1].flags & 3) << 2 | (left >> 1 & 3) << 4 | (flags & 3) << 6);
                p[5] = m->flag_row + (delta ? special * 16 + dense : flags & 255);
                if (kernel > 1) {
                    const uint32_t k = place < 9 ? (uint32_t)place : 9;
                    p[6] = m->flag_local + k * 128 + (inside < 7 ? inside : 7) * 16 + (flags >> (up - 1) & 1) * 8 + (column->flags & 7);
                    p[7] = m->flag_lag + 128 + k * 64 + ((mark[-3] != 0) | (mark[-1] != 0) << 1 | (mark[-apart] != 0) << 2
                           | (mark[-2] != 0) << 3 | (mark[-4] != 0) << 4 | (column->flags & 1) << 5);
                } else {
                    p[6] = m->flag_local + size * 256 + size_before * 64 + column->size * 16 + column[1].size * 4 + left_above;
                    p[7] = m->flag_lag + ((mark[-1] != 0) | (mark[-3] != 0) << 1 | (mark[-2] != 0) << 2 | (mark[-lag] != 0) << 3
                           | (mark[1 - lag] != 0) << 4 | (mark[-lag - 1] != 0) << 5 | (mark[-2 * lag] != 0) << 6);
                }
                const int32_t bit = ep_context_decide(m, reader, writer, m->flag_weights[dense >> 1], p, 8, 0, 400, 250, 8, symbol != background);
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
                    negative = ep_context_decide(m, reader, writer, m->sign_weights[side + 8], p, 7, fixed, 250, 200, 10, symbol < background);
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
    if (columns < 1 || columns > EP_CONTEXT_COLUMNS || kernel < 1 || kernel > columns || taps < 0 || taps > EP_CONTEXT_TAPS ||
        taps * columns > EP_CONTEXT_WEIGHTS)
        return EP_ARGUMENT;
    return 64 + ep_context_round(sizeof(ep_context_model)) + ep_context_round((columns + 1) * (int64_t)sizeof(ep_context_column)) +
           ep_context_round(4 * (columns / kernel + 1)) + ep_context_round(2 * columns * taps) + ep_context_round(2 * (columns + 16)) +
           ep_context_round(columns + EP_CONTEXT_MARGIN);
}

static void ep_context_set(uint32_t *from, const uint32_t *to, uint32_t value) {
    while (from < to) *from++ = value;
}

/* Divides the work memory and makes the model of a reader that has seen nothing. */
static int64_t ep_context_start(const ep_context_head *head, int32_t delta, void *work, int64_t work_bytes, ep_context_memory *memory) {
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

EP_INLINE int64_t ep_context_run(const ep_context_head *head, const ep_context_memory *memory, void *symbols, int64_t symbol_bytes,
                                 const void *bases, int64_t rows, ep_range_reader *reader, ep_range_writer *writer) {
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
        head->background >= head->alphabet || head->centre < 0 || head->centre > most || head->spread < 4 || head->spread > most ||
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
