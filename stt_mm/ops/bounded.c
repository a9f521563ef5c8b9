/* The best pairs of each query, found exactly without most of the products.

   In a rotated basis the features q and k of a query and a key fall into a short part, the first SHORT - 1 numbers, and
   a rest. By the inequality of Cauchy and Schwarz q.k <= q_short.k_short + |q_rest| |k_rest|: with the norm of the rest
   as their last number, the product of two short vectors is an upper bound of that of the whole ones. A pair whose
   bound is below the worst of the best pairs that are known so far cannot be among the best; only for the others is the
   whole product made.

   Rounding: each norm of a rest is made larger, sqrt(|rest|^2 + slack |all|^2). By Cauchy and Schwarz again, this adds as
   much as |q| |k| slack to the bound. A short vector is a sum over C channels of vectors that are no longer than the
   feature, each rounded by 6e-8 of it at most, and so off by 6e-8 C; it enters four times, in its product and in the
   rest, of either side. FLT_MIN is for squares that are too small for a float.

   Compiled on demand, see native.py. Several threads call pack, and then search, with one Task: each takes the next
   part until there is none. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SHORT 32
#define BLOCK 32 /* keys whose short vectors lie side by side */
#define TILE 8   /* side of the square of queries that share what is read of the memory */
#define STRIP 64 /* columns of queries that a thread takes at a time; each tile begins with what the one before found */
#define SLACK 2.5e-7f /* per channel, for 256 at least */
#define MOST 0.25f /* share of pairs in need of their product beyond which plain products are as fast */

#if defined(__AVX512F__)
#define LANES 16
#define VECTORS 2
#elif defined(__AVX__)
#define LANES 8
#define VECTORS 1
#else
#define LANES 4
#define VECTORS 1
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

typedef struct {
    /* Features: of the queries [height * width][channels]; of the memory [rows][columns][capacity][channels], with the
       strides of its first three dimensions. */
    const float *queries, *memory;
    int64_t row, column, frame;
    int32_t height, width, rows, columns, margin, channels;
    const int32_t *frames; /* that are searched */
    int32_t count, capacity;
    const float *basis;     /* [channels][SHORT], the last column is 0 */
    float *shorts;          /* [rows][blocks][SHORT][BLOCK] */
    const int64_t *offsets; /* [columns * count], of the keys of a row of the memory */
    int32_t blocks;
    /* One search: half widths of the window for each row from -reach to reach, below 0 where there is none; whether
       each key of a row takes part; and what is found, best first: scores of -inf where there are fewer pairs. */
    const int32_t *half;
    const uint8_t *takes_part;
    int32_t reach, topk;
    float *scores;     /* [height * width][topk] */
    int64_t *index;    /* likewise, cell * capacity + frame */
    uint8_t *found;    /* [height * width], 0: left to plain products */
    int64_t products;  /* made whole */
    int32_t next, bad; /* next part of the work to be taken; whether a key is not finite */
} Task;

static inline int smaller(int a, int b) { return a < b ? a : b; }
static inline int larger(int a, int b) { return a > b ? a : b; }

/* out[i * stride + j] = sum over e of vectors[i][e] * block[e * BLOCK + j], for 8 vectors and all of a block. */
static inline __attribute__((always_inline)) void multiply(
    const float *const vectors[TILE], const float *block, int depth, float *out, int stride) {
    for (int part = 0; part < BLOCK; part += LANES * VECTORS) {
        lanes sums[TILE][VECTORS] = {{{0}}};
        for (int e = 0; e < depth; e++) {
            lanes keys[VECTORS];
            for (int v = 0; v < VECTORS; v++) keys[v] = *(const lanes *)(block + e * BLOCK + part + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                for (int v = 0; v < VECTORS; v++) sums[i][v] += vectors[i][e] * keys[v];
        }
        for (int i = 0; i < TILE; i++)
            for (int v = 0; v < VECTORS; v++) *(lanes *)(out + i * stride + part + v * LANES) = sums[i][v];
    }
}

static inline float dot(const float *a, const float *b, int length) {
    lanes sums[4] = {{0}};
    float parts[LANES], sum = 0;
    int c = 0;
    for (; c + 4 * LANES <= length; c += 4 * LANES)
        for (int v = 0; v < 4; v++)
            sums[v] += *(const lanes *)(a + c + v * LANES) * *(const lanes *)(b + c + v * LANES);
    for (; c < length; c++) sum += a[c] * b[c];
    *(lanes *)parts = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    return sum + parts[0];
}

/* Short vectors of 8 features, [8][SHORT]; returns 0 if one is not finite. */
static int shorten(const Task *task, const float *const features[TILE], float *out) {
    int finite = 1;
    float slack = SLACK * larger(task->channels, 256);
    multiply(features, task->basis, task->channels, out, SHORT);
    for (int i = 0; i < TILE; i++) {
        float all = dot(features[i], features[i], task->channels), part = dot(out + i * SHORT, out + i * SHORT, SHORT);
        float rest = all - part;
        out[i * SHORT + SHORT - 1] = sqrtf((rest > 0 ? rest : 0) + slack * all + FLT_MIN);
        finite &= all < INFINITY;
    }
    return finite;
}

void pack(Task *task) {
    int keys = task->columns * task->count;
    for (;;) {
        int row = __atomic_fetch_add(&task->next, 1, __ATOMIC_RELAXED);
        if (row >= task->rows) return;
        const float *memory = task->memory + row * task->row;
        for (int first = 0; first < task->blocks * BLOCK; first += TILE) {
            const float *features[TILE];
            float made[TILE * SHORT];
            for (int i = 0; i < TILE; i++) features[i] = memory + task->offsets[smaller(first + i, keys - 1)];
            if (!shorten(task, features, made)) __atomic_store_n(&task->bad, 1, __ATOMIC_RELAXED);
            int64_t block = (int64_t)row * task->blocks + first / BLOCK;
            float *out = task->shorts + block * SHORT * BLOCK + first % BLOCK;
            for (int e = 0; e < SHORT; e++)
                for (int i = 0; i < TILE; i++) out[e * BLOCK + i] = made[i * SHORT + e];
        }
    }
}

/* The best pairs of one query. */
typedef struct {
    float *scores;
    int64_t *index;
    int topk;
} Best;

static inline float worst(const Best *best) { return best->scores[best->topk - 1]; }

static inline int has(const Best *best, int64_t index) {
    for (int i = 0; i < best->topk; i++)
        if (best->index[i] == index) return 1;
    return 0;
}

static inline void insert(Best *best, float score, int64_t index) {
    int place = best->topk - 1;
    for (; place > 0 && best->scores[place - 1] < score; place--) {
        best->scores[place] = best->scores[place - 1];
        best->index[place] = best->index[place - 1];
    }
    best->scores[place] = score;
    best->index[place] = index;
}

static inline Best best_of(const Task *task, int query) {
    return (Best){task->scores + (int64_t)query * task->topk, task->index + (int64_t)query * task->topk, task->topk};
}

static inline int half_width(const Task *task, int rows) {
    return abs(rows) > task->reach ? -1 : task->half[rows + task->reach];
}

/* Tries what another query has found, moved along with the query itself and so within its window: scores that are hard
   to beat. */
static void begin_with(const Task *task, int y, int x, int other_y, int other_x) {
    Best best = best_of(task, y * task->width + x), other = best_of(task, other_y * task->width + other_x);
    const float *query = task->queries + (int64_t)(y * task->width + x) * task->channels;
    for (int i = 0; i < task->topk && other.index[i] >= 0; i++) {
        int64_t cell = other.index[i] / task->capacity, frame = other.index[i] % task->capacity;
        int row = cell / task->columns + y - other_y, column = cell % task->columns + x - other_x;
        if (row < 0 || row >= task->rows || column < 0 || column >= task->columns) continue;
        int64_t index = ((int64_t)row * task->columns + column) * task->capacity + frame;
        const float *key = task->memory + row * task->row + column * task->column + frame * task->frame;
        float score = dot(query, key, task->channels);
        if (score > worst(&best) && !has(&best, index)) insert(&best, score, index);
    }
}

/* Memory of one thread. */
typedef struct {
    float *bounds;  /* [TILE][stride] */
    int32_t *close; /* keys whose bound is not too low */
    int stride;
} Desk;

/* One row of the memory for queries y, left to right - 1; returns the number of products. */
static int64_t search_row(const Task *task, Desk *desk, int row, int y, int left, int right, const float *shorts) {
    int half = half_width(task, row - y - task->margin), keys = task->count, made = 0;
    if (half < 0) return 0;
    int first = larger(left + task->margin - half, 0), last = smaller(right + task->margin + half, task->columns);
    int begin = first * keys / BLOCK, end = (last * keys + BLOCK - 1) / BLOCK;
    const float *vectors[TILE];
    for (int i = 0; i < TILE; i++) vectors[i] = shorts + i * SHORT;
    for (int block = begin; block < end; block++)
        multiply(vectors, task->shorts + ((int64_t)row * task->blocks + block) * SHORT * BLOCK, SHORT,
                 desk->bounds + (block - begin) * BLOCK, desk->stride);
    const float *memory = task->memory + row * task->row;
    for (int x = left; x < right; x++) {
        Best best = best_of(task, y * task->width + x);
        const float *query = task->queries + (int64_t)(y * task->width + x) * task->channels;
        const float *bounds = desk->bounds + (x - left) * desk->stride;
        int from = larger(x + task->margin - half, 0) * keys - begin * BLOCK;
        int to = smaller(x + task->margin + half + 1, task->columns) * keys - begin * BLOCK, close = 0;
        float limit = worst(&best);
        for (int part = from; part < to; part += 2 * BLOCK) {
            int stop = smaller(part + 2 * BLOCK, to), any = 0;
            for (int j = part; j < stop; j++) any |= bounds[j] >= limit;
            for (int j = part; any && j < stop; j++) {
                desk->close[close] = j;
                close += bounds[j] >= limit;
            }
        }
        for (int i = 0; i < close; i++) {
            int j = desk->close[i], key = j + begin * BLOCK;
            if (bounds[j] < worst(&best) || !task->takes_part[key]) continue;
            float score = dot(query, memory + task->offsets[key], task->channels);
            made++;
            if (score <= worst(&best)) continue;
            int64_t cell = (int64_t)row * task->columns + key / keys;
            int64_t index = cell * task->capacity + task->frames[key % keys];
            if (!has(&best, index)) insert(&best, score, index);
        }
    }
    return made;
}

/* The rows of the memory for queries of a tile, the near ones first; returns 0 if too many products are needed. */
static int search_rows(Task *task, Desk *desk, int middle, int top, int bottom, int left, int right,
                       const float *shorts, float allowance) {
    int64_t made = 0, pairs = 0, line = (int64_t)(right - left) * task->count;
    int far = smaller(task->reach, larger(task->rows, task->columns)) + TILE, fits = 1;
    for (int step = 0; step <= 2 * far && fits; step++) {
        int row = middle + task->margin + (step % 2 ? -(step + 1) / 2 : step / 2);
        if (row < 0 || row >= task->rows) continue;
        for (int y = top; y < bottom; y++) {
            if (y == middle && bottom - top > 1) continue; /* has been searched before the others */
            int half = half_width(task, row - y - task->margin);
            made += search_row(task, desk, row, y, left, right, shorts + (y - top) * TILE * SHORT);
            if (half >= 0) pairs += line * smaller(2 * half + 1, task->columns);
        }
        fits = made <= MOST * pairs + allowance * line * smaller(2 * task->reach + 1, task->columns);
    }
    __atomic_fetch_add(&task->products, made, __ATOMIC_RELAXED);
    return fits;
}

void search(Task *task) {
    int longest = smaller(2 * task->reach + TILE, task->columns) * task->count;
    Desk desk = {.stride = (longest / BLOCK + 2) * BLOCK};
    desk.bounds = malloc(sizeof(float) * TILE * desk.stride);
    desk.close = malloc(sizeof(int32_t) * (desk.stride + 1));
    while (desk.bounds && desk.close) {
        int strips = (task->width + STRIP - 1) / STRIP, strip = __atomic_fetch_add(&task->next, 1, __ATOMIC_RELAXED);
        int top = TILE * (strip / strips), start = STRIP * (strip % strips), fits = 1;
        if (top >= task->height) break;
        int bottom = smaller(top + TILE, task->height), middle = (top + bottom) / 2;
        for (int left = start; left < smaller(start + STRIP, task->width); left += TILE) {
            int right = smaller(left + TILE, task->width);
            float shorts[TILE * TILE * SHORT];
            for (int y = top; y < bottom; y++) {
                const float *features[TILE];
                for (int i = 0; i < TILE; i++) {
                    int query = y * task->width + smaller(left + i, right - 1);
                    features[i] = task->queries + (int64_t)query * task->channels;
                }
                shorten(task, features, shorts + (y - top) * TILE * SHORT);
                for (int x = left; x < right; x++) {
                    Best best = best_of(task, y * task->width + x);
                    for (int i = 0; i < task->topk; i++) best.scores[i] = -INFINITY, best.index[i] = -1;
                }
            }
            /* One line of queries first, from what its neighbour on the left found; the others begin with its finds. */
            for (int x = left; left > start && x < right; x++) begin_with(task, middle, x, middle, left - 1);
            fits = search_rows(task, &desk, middle, middle, middle + 1, left, right,
                               shorts + (middle - top) * TILE * SHORT, fits ? 8 : 0.5f);
            for (int y = top; fits && y < bottom; y++)
                for (int x = left; y != middle && x < right; x++) {
                    begin_with(task, y, x, middle, x);
                    if (left > start) begin_with(task, y, x, y, left - 1);
                }
            if (fits && bottom - top > 1)
                fits = search_rows(task, &desk, middle, top, bottom, left, right, shorts, 8);
            for (int y = top; y < bottom; y++) memset(task->found + y * task->width + left, fits, right - left);
        }
    }
    free(desk.bounds);
    free(desk.close);
}
