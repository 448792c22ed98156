/* What the coder `context` expects of an element: tables, intervals of a latent value, chances that are mixed, and
 * taps. codec/context_tables.py, context_latent.py and context_reference.py are the specification. context.h walks.
 */
#ifndef EDGEPRESS_CONTEXT_MODEL_H
#define EDGEPRESS_CONTEXT_MODEL_H

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
typedef uint16_t ep_context_wrapping __attribute__((vector_size(16), aligned(2), may_alias));

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
        ep_context_wrapping *w = (ep_context_wrapping *)(void *)(weights + i); /* signed overflow is undefined */
        const ep_context_lanes *h = (const ep_context_lanes *)(const void *)(history + i);
        w[0] += (ep_context_wrapping)((h[0] * by + round) >> down);
        w[1] += (ep_context_wrapping)((h[1] * by + round) >> down);
    }
}

#endif
