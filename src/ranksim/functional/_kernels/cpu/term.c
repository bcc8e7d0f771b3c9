/* The RankSim term on a CPU: similarities, ranks, and the gradient of float32 features.

   Plain C11 without libraries, compiled once per instruction set (see hatch_build.py) and called by
   cpu_term.py. Matrices are row-major. Similarities are products in float64, because ranks depend
   on their last digits. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_MSC_VER)
#define EXPORT __declspec(dllexport)
#define EACH_LANE for (int lane = 0; lane < LANES; lane++)
typedef double Doubles; /* no vector types: a vector of one number */
typedef float Floats;
#else
#define EXPORT __attribute__((visibility("default")))
#define EACH_LANE _Pragma("omp simd") for (int lane = 0; lane < LANES; lane++)
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef double Doubles __attribute__((vector_size(BYTES), aligned(8), may_alias));
typedef float Floats __attribute__((vector_size(BYTES), aligned(4), may_alias));
#endif

enum {
    ROWS = sizeof(Doubles) == 64 ? 8 : 4,   /* of a tile, which fits into the registers */
    VECTORS = sizeof(Doubles) > 16 ? 2 : 4, /* in each row of a tile */
    WIDTH = VECTORS * (int)(sizeof(Doubles) / sizeof(double)), /* columns of a float64 tile */
    STRIP = VECTORS * (int)(sizeof(Floats) / sizeof(float)),   /* columns of a float32 tile */
    DEPTH = 128,  /* features multiplied at a time, so that they stay in the cache */
    SUMS = 32,    /* of a norm, which do not wait for each other */
    LANES = 8,    /* anchors ranked at a time */
    PADDING = 16, /* a multiple of ROWS, WIDTH and LANES */
    ALIGNMENT = 64
};
static const double PARALLEL = 0.99; /* beyond it, a gradient is a difference of large numbers */
static const double BASE = 4096;     /* from here to twice this, float64 numbers are 2^-40 apart */

static const double MAX_LABEL = 9007199254740992; /* 2^53 */

enum { OK, UNSUPPORTED, OUT_OF_MEMORY }; /* results */
enum { MIN, AVERAGE, ORDINAL };          /* rules for ties */

typedef struct {
    int64_t size, anchors;        /* samples M, of which the first A are anchors */
    int64_t stride, moves_stride; /* numbers in a row of similarities, and of moves */
    int64_t first;                /* the anchor of the first column of similarities */
    int64_t ties, steps;          /* ranks are multiples of 1 / steps */
    int64_t index_bits;           /* a word is a similarity and, below, an index of so many bits */
    int64_t wide;                 /* whether moves have 4 bytes instead of 2 */
    double base;                  /* base - similarity has the grid, 2^-40, as its last digit */
    double shift;                 /* of a similarity for each difference of ranks */
    const double *labels;         /* one number per sample */
    const int64_t *label_order;   /* sorts the labels; NULL: distances are given */
    const double *distances;      /* of the anchors (A, M) */
    const int64_t *orders;        /* sorts each row of the distances */
    const double *similarities;   /* (M, A) */
    double *squares;              /* sums (A) of squared differences of ranks */
    void *moves;                  /* differences of ranks (M, A), or NULL */
} Term;

static int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

static int64_t pad(int64_t size) { return (size + PADDING - 1) / PADDING * PADDING; }

/* Take aligned memory from the front of a block. */
static void *take(char **block, int64_t bytes) {
    char *start = (char *)(((uintptr_t)*block + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    *block = start + bytes;
    return start;
}

/* ---- ranks: of LANES anchors at a time, whose numbers lie side by side ---- */

typedef int64_t Words[LANES];
typedef int32_t Ranks[LANES];

/* Pack a similarity, rounded to the grid, and an index into an integer; the largest comes first. */
static int64_t pack_word(const Term *term, double similarity, int64_t index) {
    double rounded = term->base - similarity;
    uint64_t word;
    memcpy(&word, &rounded, sizeof word);
    return (int64_t)(word << term->index_bits | (uint64_t)index);
}

static void order_words(int64_t *one, int64_t *other) {
    int64_t low[LANES], high[LANES];
    EACH_LANE {
        low[lane] = one[lane] < other[lane] ? one[lane] : other[lane];
        high[lane] = one[lane] < other[lane] ? other[lane] : one[lane];
    }
    memcpy(one, low, sizeof low);
    memcpy(other, high, sizeof high);
}

/* Sort the words of each lane by Batcher's merge exchange (Knuth, 5.2.2, M). It compares the same
   places whatever the words are, so that all lanes take part in each step. */
static void sort_words(Words *words, int64_t size) {
    int64_t half = 1;
    while (2 * half < size) half *= 2;
    for (int64_t p = half; p > 0; p /= 2)
        for (int64_t q = half, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            if (p == 1) /* the same as below without an inner loop, and twice as fast */
                for (int64_t i = r; i < size - d; i += 2) order_words(words[i], words[i + d]);
            else
                for (int64_t start = r; start < size - d; start += 2 * p)
                    for (int64_t i = start; i < smaller(start + p, size - d); i++)
                        order_words(words[i], words[i + d]);
            if (q == p) break;
        }
}

/* Assign ranks from 1 to the indices in `order`, which sorts the words. Equal words share the first
   rank, or twice their mean rank, or have ranks in the order of the indices. */
static void assign_ranks(const Term *term, const Words *words, const Ranks *order, Ranks *ranks,
                         Ranks *counts) {
    int64_t size = term->size;
    int32_t rank[LANES] = {0};
    for (int64_t i = 0; i < size; i++) {
        const int64_t *previous = words[i > 0 ? i - 1 : 0];
        EACH_LANE rank[lane] = words[i][lane] != previous[lane] ? (int32_t)i : rank[lane];
        for (int lane = 0; lane < LANES; lane++) ranks[order[i][lane]][lane] = rank[lane] + 1;
    }
    if (term->ties == AVERAGE) {
        EACH_LANE rank[lane] = (int32_t)size;
        for (int64_t i = size - 1; i >= 0; i--) {
            const int64_t *next = words[i + 1 < size ? i + 1 : i];
            EACH_LANE rank[lane] = words[i][lane] != next[lane] ? (int32_t)i + 1 : rank[lane];
            for (int lane = 0; lane < LANES; lane++) ranks[order[i][lane]][lane] += rank[lane];
        }
    } else if (term->ties == ORDINAL) {
        memset(counts, 0, sizeof(Ranks) * (size + 1));
        for (int64_t i = 0; i < size; i++)
            for (int lane = 0; lane < LANES; lane++)
                ranks[i][lane] += counts[ranks[i][lane]][lane]++;
    }
}

/* Sort similarities in words and rank them. */
static void rank_words(const Term *term, Words *words, Ranks *order, Ranks *ranks, Ranks *counts) {
    int64_t mask = ((int64_t)1 << term->index_bits) - 1;
    sort_words(words, term->size);
    for (int64_t i = 0; i < term->size; i++)
        EACH_LANE {
            order[i][lane] = (int32_t)(words[i][lane] & mask);
            words[i][lane] >>= term->index_bits;
        }
    assign_ranks(term, words, (const Ranks *)order, ranks, counts);
}

/* Sort samples by the distances of their labels from the anchors', by merging the labels below and
   above; distances are not negative, so they sort as integers. */
static void merge_labels(const Term *term, const int64_t *anchors, Words *words, Ranks *order,
                         Words *distances) {
    int64_t size = term->size, left[LANES], right[LANES] = {0};
    double labels[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        labels[lane] = term->labels[anchors[lane]];
        distances[0][lane] = distances[size + 1][lane] = INT64_MAX;
    }
    for (int64_t i = 0; i < size; i++) {
        double label = term->labels[term->label_order[i]];
        EACH_LANE {
            double distance = fabs(label - labels[lane]);
            memcpy(&distances[i + 1][lane], &distance, sizeof distance);
            right[lane] += label < labels[lane];
        }
    }
    EACH_LANE left[lane] = right[lane]++;
    for (int64_t i = 0; i < size; i++)
        for (int lane = 0; lane < LANES; lane++) {
            int64_t below = distances[left[lane]][lane], above = distances[right[lane]][lane];
            int64_t is_below = below < above, place = is_below ? left[lane] : right[lane];
            words[i][lane] = is_below ? below : above;
            order[i][lane] = (int32_t)term->label_order[place - 1];
            left[lane] -= is_below;
            right[lane] += 1 - is_below;
        }
}

/* Copy the distances that are given, in their order. */
static void copy_distances(const Term *term, const int64_t *anchors, Words *words, Ranks *order) {
    for (int lane = 0; lane < LANES; lane++) {
        int64_t offset = (anchors[lane] - term->first) * term->size;
        for (int64_t i = 0; i < term->size; i++) {
            int64_t index = term->orders[offset + i];
            double distance = term->distances[offset + index] + 0.0; /* no negative zero */
            memcpy(&words[i][lane], &distance, sizeof distance);
            order[i][lane] = (int32_t)index;
        }
    }
}

/* Prepare a term of given sizes and rule for ties. */
EXPORT int prepare_term(Term *term, double gamma, double lambda) {
    double max_shift = 2 * gamma * lambda / (double)term->size, room = max_shift + 1.01;
    term->index_bits = 1;
    while ((int64_t)1 << term->index_bits < term->size) term->index_bits++;
    term->steps = term->size * (term->ties == AVERAGE ? 2 : 1);
    term->wide = term->steps > INT16_MAX;
    term->base = BASE + room;
    term->shift = max_shift / (double)term->steps;
    /* a similarity and an index must fit into a word */
    return room <= BASE / 2 && ldexp(room, (int)term->index_bits) <= 1 << 22 ? OK : UNSUPPORTED;
}

/* Rank the similarities and labels of some anchors: sums of squared differences, and the moves of
   ranks under the perturbation, which are the slopes times λ · steps. */
EXPORT int rank_anchors(const Term *term, int64_t start, int64_t stop) {
    int64_t size = term->size;
    char *space = malloc((2 * sizeof(Words) + 4 * sizeof(Ranks)) * (size + 2) + 6 * ALIGNMENT);
    char *block = space;
    if (!space) return OUT_OF_MEMORY;
    Words *words = take(&block, sizeof(Words) * size);
    Words *distances = take(&block, sizeof(Words) * (size + 2));
    Ranks *order = take(&block, sizeof(Ranks) * size), *ranks = take(&block, sizeof(Ranks) * size);
    Ranks *others = take(&block, sizeof(Ranks) * size);
    Ranks *counts = take(&block, sizeof(Ranks) * (size + 1));
    for (int64_t i = start; i < stop; i += LANES) {
        const double *similarities = term->similarities + i - term->first;
        int64_t anchors[LANES];
        double sums[LANES] = {0};
        for (int lane = 0; lane < LANES; lane++) anchors[lane] = smaller(i + lane, stop - 1);
        for (int64_t j = 0; j < size; j++) {
            const double *row = similarities + j * term->stride;
            EACH_LANE words[j][lane] = pack_word(term, row[lane], j);
        }
        rank_words(term, words, order, ranks, counts);
        if (term->label_order) merge_labels(term, anchors, words, order, distances);
        else copy_distances(term, anchors, words, order);
        assign_ranks(term, (const Words *)words, (const Ranks *)order, others, counts);
        for (int64_t j = 0; j < size; j++) {
            const double *row = similarities + j * term->stride;
            EACH_LANE {
                int32_t difference = ranks[j][lane] - others[j][lane];
                sums[lane] += (double)difference * difference;
                words[j][lane] = pack_word(term, row[lane] + term->shift * difference, j);
            }
        }
        for (int lane = 0; lane < LANES && i + lane < stop; lane++)
            term->squares[i + lane] = sums[lane];
        if (!term->moves) continue;
        rank_words(term, words, order, others, counts);
        for (int64_t j = 0; j < size; j++) {
            int32_t *wide = (int32_t *)term->moves + j * term->moves_stride + i;
            int16_t *narrow = (int16_t *)term->moves + j * term->moves_stride + i;
            EACH_LANE {
                int32_t move = others[j][lane] - ranks[j][lane];
                if (term->wide) wide[lane] = move;
                else narrow[lane] = (int16_t)move;
            }
        }
    }
    free(space);
    return OK;
}

/* ---- similarities and gradient of float32 features ---- */

typedef struct {
    const float *features;
    int64_t width;
    const int64_t *rows; /* of the samples in features and gradient */
    double *inverse;     /* 1 / norm; 0 for a zero vector */
} Samples;

/* Compute the inverse norms, for norms up to `tiny` 0; return whether all norms are finite. */
static int invert_norms(const Samples *samples, int64_t size, double tiny) {
    for (int64_t i = 0; i < size; i++) {
        const float *row = samples->features + samples->rows[i] * samples->width;
        double sums[SUMS] = {0}, square = 0.0;
        int64_t k = 0;
        for (; k + SUMS <= samples->width; k += SUMS)
            for (int c = 0; c < SUMS; c++) sums[c] += (double)row[k + c] * row[k + c];
        for (; k < samples->width; k++) square += (double)row[k] * row[k];
        for (int c = 0; c < SUMS; c++) square += sums[c];
        if (!isfinite(square)) return 0;
        samples->inverse[i] = sqrt(square) > tiny ? 1.0 / sqrt(square) : 0.0;
    }
    return 1;
}

/* Divide `depth` features from `k` on by the norms, and pack them: blocks of WIDTH samples, in each
   block one feature after the other. */
static void pack_features(const Samples *samples, int64_t size, int64_t k, int64_t depth,
                          double *packed) {
    double block[WIDTH][DEPTH] = {{0}};
    for (int64_t first = 0; first < size; first += WIDTH, packed += WIDTH * DEPTH) {
        for (int64_t r = 0; r < WIDTH; r++) {
            double factor = first + r < size ? samples->inverse[first + r] : 0.0;
            const float *row =
                samples->features + samples->rows[smaller(first + r, size - 1)] * samples->width + k;
            for (int64_t c = 0; c < depth; c++) block[r][c] = row[c] * factor;
        }
        for (int64_t c = 0; c < depth; c++)
            for (int64_t r = 0; r < WIDTH; r++) packed[c * WIDTH + r] = block[r][c];
    }
}

/* Add the products of ROWS packed samples with WIDTH packed samples to a tile of a matrix. */
static void add_products(const double *rows, const double *columns, int64_t depth, double *tile,
                         int64_t stride) {
    Doubles sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++) memcpy(sums[r], tile + r * stride, sizeof sums[r]);
    for (int64_t k = 0; k < depth; k++)
        for (int v = 0; v < VECTORS; v++) {
            Doubles column = ((const Doubles *)(columns + k * WIDTH))[v];
            for (int r = 0; r < ROWS; r++) sums[r][v] += rows[k * WIDTH + r] * column;
        }
    for (int r = 0; r < ROWS; r++) memcpy(tile + r * stride, sums[r], sizeof sums[r]);
}

/* Compute similarities up to the diagonal, and copy them to the other side of it. */
static void compute_similarities(const Samples *samples, const Term *term, double *packed,
                                 double *out) {
    int64_t stride = term->stride;
    memset(out, 0, sizeof(double) * pad(term->size) * stride);
    for (int64_t k = 0; k < samples->width; k += DEPTH) {
        int64_t depth = smaller(DEPTH, samples->width - k);
        pack_features(samples, term->size, k, depth, packed);
        for (int64_t i = 0; i < term->size; i += WIDTH)
            for (int64_t j = 0; j < smaller(i + WIDTH, term->anchors); j += WIDTH)
                for (int64_t r = 0; r < WIDTH; r += ROWS)
                    add_products(packed + i * DEPTH + r, packed + j * DEPTH, depth,
                                 out + (i + r) * stride + j, stride);
    }
    for (int64_t i = 0; i < term->anchors; i += WIDTH)
        for (int64_t j = 0; j < i; j += WIDTH)
            for (int64_t c = 0; c < WIDTH; c++)
                for (int64_t r = 0; r < WIDTH; r++)
                    out[(j + c) * stride + i + r] = out[(i + r) * stride + j + c];
}

/* Write B - diag(B Sᵀ) of ROWS anchors from `i` on, one column after the other, where B are the
   moves and their transpose, and S the similarities. */
static void add_transpose(const Term *term, int64_t i, float *both) {
    const int16_t *moves = term->moves;
    int64_t stride = term->stride, count = smaller(ROWS, term->anchors - i);
    double radial[ROWS] = {0};
    memset(both, 0, sizeof(float) * term->size * ROWS);
    for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < term->anchors; j++)
            both[j * ROWS + r] = moves[(i + r) * stride + j];
    for (int64_t j = 0; j < term->size; j++)
        for (int64_t r = 0; r < ROWS; r++) {
            both[j * ROWS + r] += moves[j * stride + i + r];
            radial[r] += both[j * ROWS + r] * term->similarities[j * stride + i + r];
        }
    for (int64_t r = 0; r < count; r++) both[(i + r) * ROWS + r] -= (float)radial[r];
}

/* Compute (B - diag(B Sᵀ)) Ẑ / ‖z‖ · scale in float32; Ẑ are features divided by their norms. */
static void compute_gradient(const Samples *samples, const Term *term, double scale, float *both,
                             float *strip, float *gradient) {
    int64_t size = term->size, anchors = term->anchors, width = samples->width;
    float numbers[ROWS][STRIP] = {{0}};
    for (int64_t i = 0; i < anchors; i += ROWS) add_transpose(term, i, both + i * size);
    for (int64_t k = 0; k < width; k += STRIP) {
        int64_t columns = smaller(STRIP, width - k);
        for (int64_t j = 0; j < size; j++) {
            const float *row = samples->features + samples->rows[j] * width + k;
            if (columns < STRIP) row = memcpy(numbers[0], row, sizeof(float) * columns);
            for (int c = 0; c < STRIP; c++)
                strip[j * STRIP + c] = (float)(row[c] * samples->inverse[j]);
        }
        for (int64_t i = 0; i < anchors; i += ROWS) {
            const float *weights = both + i * size;
            Floats sums[ROWS][VECTORS];
            for (int r = 0; r < ROWS; r++)
                for (int v = 0; v < VECTORS; v++) sums[r][v] = (Floats){0};
            for (int64_t j = 0; j < size; j++)
                for (int v = 0; v < VECTORS; v++) {
                    Floats column = ((const Floats *)(strip + j * STRIP))[v];
                    for (int r = 0; r < ROWS; r++) sums[r][v] += weights[j * ROWS + r] * column;
                }
            for (int r = 0; r < ROWS; r++) memcpy(numbers[r], sums[r], sizeof sums[r]);
            for (int64_t r = 0; r < smaller(ROWS, anchors - i); r++) {
                float *out = gradient + samples->rows[i + r] * width + k;
                double factor = scale * samples->inverse[i + r];
                for (int64_t c = 0; c < columns; c++) out[c] = (float)(numbers[r][c] * factor);
            }
        }
    }
}

/* ---- the whole term in one thread ---- */

typedef struct {
    double label;
    int64_t index;
} Label;

static int compare_labels(const void *one, const void *other) {
    const Label *a = one, *b = other;
    if (a->label != b->label) return a->label < b->label ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* Read a label of type int64, float32 or float64 (0, 1, 2). */
static double read_label(const void *labels, int type, int64_t index) {
    if (type == 0) return (double)((const int64_t *)labels)[index];
    return type == 1 ? (double)((const float *)labels)[index] : ((const double *)labels)[index];
}

/* Mark the first sample of each label in a shuffled order. Numbers that are not finite, and whole
   numbers that a double cannot hold, are not supported. */
EXPORT int mark_unique(const void *labels, int label_type, const int64_t *shuffled, int64_t size,
                       uint8_t *mask) {
    Label *sorted = malloc(sizeof(Label) * (size + 1));
    int result = sorted ? OK : OUT_OF_MEMORY;
    for (int64_t i = 0; i < size && result == OK; i++) {
        sorted[i] = (Label){read_label(labels, label_type, shuffled[i]), i};
        if (!(fabs(sorted[i].label) < MAX_LABEL)) result = UNSUPPORTED;
    }
    if (result == OK) {
        qsort(sorted, size, sizeof *sorted, compare_labels);
        for (int64_t i = 0; i < size; i++)
            mask[shuffled[sorted[i].index]] = i == 0 || sorted[i].label != sorted[i - 1].label;
    }
    free(sorted);
    return result;
}

/* Sort labels; return whether all are finite. */
static int sort_labels(const double *labels, int64_t size, Label *sorted, int64_t *order) {
    for (int64_t i = 0; i < size; i++) {
        if (!isfinite(labels[i])) return 0;
        sorted[i] = (Label){labels[i], i};
    }
    qsort(sorted, size, sizeof *sorted, compare_labels);
    for (int64_t i = 0; i < size; i++) order[i] = sorted[i].index;
    return 1;
}

/* Return whether most other samples are nearly parallel to the first anchor. */
static int is_parallel(const Term *term) {
    int64_t count = 0;
    for (int64_t j = 1; j < term->size; j++)
        count += term->similarities[j * term->stride] > PARALLEL;
    return 2 * count > term->size - 1;
}

/* Compute the value times a weight and, unless it is NULL, the gradient (anchors, width) of float32
   features and one label per sample. `keep` is a mask of the samples that count, or NULL. Numbers
   that are not finite, nearly parallel features and enormous perturbations are not supported. */
EXPORT int compute_term(const float *features, const void *labels, const uint8_t *keep,
                        int64_t samples, int64_t anchors, int64_t width, int label_type, int ties,
                        double gamma, double lambda, double weight, double tiny, double *value,
                        float *gradient) {
    Term term = {.ties = ties};
    for (int64_t i = 0; i < samples; i++) {
        term.size += !keep || keep[i];
        term.anchors += i < anchors && (!keep || keep[i]);
    }
    if (!term.anchors || !width || prepare_term(&term, gamma, lambda) != OK || term.wide)
        return UNSUPPORTED;
    int64_t size = term.size, padded = pad(size), stride = pad(term.anchors) + 8;
    int64_t doubles = padded * (DEPTH + 7 + stride), floats = padded * (STRIP + 2 * stride);
    char *space = malloc(8 * doubles + 4 * floats + 16 * ALIGNMENT), *block = space;
    if (!space) return OUT_OF_MEMORY;
    int64_t *rows = take(&block, 8 * size), *order = take(&block, 8 * size);
    double *numbers = take(&block, 8 * size), *similarities = take(&block, 8 * padded * stride);
    Label *sorted = take(&block, sizeof(Label) * size);
    Samples kept = {features, width, rows, take(&block, 8 * size)};
    double *packed = take(&block, 8 * padded * DEPTH);
    term.stride = term.moves_stride = stride;
    term.labels = numbers, term.label_order = order, term.similarities = similarities;
    term.squares = take(&block, 8 * stride);
    term.moves = gradient ? take(&block, 2 * size * stride) : NULL;
    for (int64_t i = 0, j = 0; i < samples; i++) {
        if (keep && !keep[i]) {
            if (gradient && i < anchors) memset(gradient + i * width, 0, sizeof(float) * width);
            continue;
        }
        numbers[j] = read_label(labels, label_type, i);
        rows[j++] = i;
    }
    int result = UNSUPPORTED;
    if (sort_labels(numbers, size, sorted, order) && invert_norms(&kept, size, tiny)) {
        compute_similarities(&kept, &term, packed, similarities);
        if (!is_parallel(&term)) result = rank_anchors(&term, 0, term.anchors);
    }
    if (result == OK) {
        double sum = 0.0, scale = weight / (lambda * (double)term.steps);
        if (sorted[0].label == sorted[size - 1].label) gamma = scale = 0.0; /* nothing to learn */
        for (int64_t i = 0; i < term.anchors; i++) sum += term.squares[i];
        *value = weight * gamma * sum / (double)size / (double)term.steps / (double)term.steps;
        float *both = take(&block, 4 * size * stride), *strip = take(&block, 4 * size * STRIP);
        if (gradient) compute_gradient(&kept, &term, scale, both, strip, gradient);
    }
    free(space);
    return result;
}
