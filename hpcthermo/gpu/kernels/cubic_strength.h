// Interaction strengths of three phonons, |V(q0 b0, q1 b1, q2 b2)|^2 with q0 + q1 + q2 = 0 (transport/bte/strength.py).
//
//   A(j k dR; i)  = sum_R2 Phi(0 i, R2 + dR j, R2 k) exp(-i q0.R2)                     contract_first_leg
//   A0(j k dR)    = sum_i  A(j k dR; i) U_i(q0 b0)
//   W(j k)        = sum_dR A0(j k dR) exp(i q1.dR), one lattice direction at a time      transform_lines
//   V             = sum_jk W(j k) U_j(q1 b1) U_k(q2 b2)                                  contract_legs (few bands)
//
//   symbol  is
//   U       amplitude, (hbar / 2 m w)^(1/2) e, A: table [point][real, imaginary][atom, direction][band]
//   B       bands, 3 x atoms
//   block   values of one atom pair (j, k): [real, imaginary][direction of j][direction of k][b0], each half padded to
//           `half` numbers, a multiple of LANES
//
// Lanes are the fastest index, b0. Loads of whole lanes may run past a row; what they find there is stored nowhere.
#include "portable.h"

#define ELEMENTS 27  // directions of i, j, k
#define VECTORS ((ELEMENTS + LANES - 1) / LANES)
#define ROW (VECTORS * LANES)
#define COLUMNS 6  // sums side by side; the number of bands is a multiple of half of it
#define KEY_BITS 20  // for each of three folded addresses in a sorting key
#define MOST_PAIRS 3  // pairs of outputs, at +a and -a, that share their inputs

// f<3>, f<6> for the smallest crystals, whose loops are short, or f<0>, which takes the number of bands as an argument
#define FOR_BANDS(n_bands, call, ...)                      \
    do {                                                   \
        if ((n_bands) == 3) call<3>(__VA_ARGS__);          \
        else if ((n_bands) == 6) call<6>(__VA_ARGS__);     \
        else call<0>(__VA_ARGS__);                         \
    } while (0)

// the first n lanes
DEVICE void store_first(REAL* p, lanes v, int n)
{
#if HPCTHERMO_GPU
    if (lane_index() < n) p[lane_index()] = v;
#else
    if (n >= LANES) {
        store(p, v);
    } else {
        UNROLL for (int l = 0; l < LANES; ++l)
            if (l < n) p[l] = v[l];
    }
#endif
}

// ---- leg 0 --------------------------------------------------------------------------------------

// rows: for each first atom, [real, imaginary][ROW]; element: 3 x direction of j
template <int N>
DEVICE void contract_first_block(const REAL* rows, const int* atoms, int n_rows, const REAL* amplitude, int n_bands,
                                 int band, int element, int half, REAL* block)
{
    lanes re[3][N] = {}, im[3][N] = {};
    for (int r = 0; r < n_rows; ++r) {
        for (int a = 0; a < 3; ++a) {
            const REAL* row = rows + 2 * ROW * (size_t)r + 9 * a + element;
            const REAL* u = amplitude + (3 * atoms[r] + a) * n_bands + band;
            lanes ur[N], ui[N];
            UNROLL for (int n = 0; n < N; ++n) ur[n] = load(u + n * LANES);
            UNROLL for (int n = 0; n < N; ++n) ui[n] = load(u + n_bands * n_bands + n * LANES);
            UNROLL for (int m = 0; m < 3; ++m) {
                const lanes xr = broadcast(row[m]), xi = broadcast(row[ROW + m]);
                UNROLL for (int n = 0; n < N; ++n) {
                    re[m][n] += xr * ur[n];
                    im[m][n] += xr * ui[n];
                    re[m][n] -= xi * ui[n];
                    im[m][n] += xi * ur[n];
                }
            }
        }
    }
    UNROLL for (int m = 0; m < 3; ++m) {
        UNROLL for (int n = 0; n < N; ++n) {
            REAL* p = block + (element + m) * n_bands + band + n * LANES;
            store_first(p, re[m][n], n_bands - band - n * LANES);
            store_first(p + half, im[m][n], n_bands - band - n * LANES);
        }
    }
}

template <int BANDS>
DEVICE void contract_first(const REAL* rows, const int* atoms, int n_rows, const REAL* amplitude, int any_bands, int half, REAL* block)
{
    const int n_bands = BANDS ? BANDS : any_bands;
    for (int element = 0; element < 9; element += 3) {
        int band = 0;
        for (; band + LANES < n_bands; band += 2 * LANES)
            contract_first_block<2>(rows, atoms, n_rows, amplitude, n_bands, band, element, half, block);
        if (band < n_bands) contract_first_block<1>(rows, atoms, n_rows, amplitude, n_bands, band, element, half, block);
    }
}

// Pairs (j, k, dR) [begin, end) for n_points points q0. runs_of: by pair, its runs of terms with one first atom each;
// terms_of: by run; values: ROW numbers for each term; phases: [point][R2] cos, sin of -q0.R2.
// output: [point] sets of n_pairs blocks and one that stays zero; sums: scratch, 2 ROW numbers for each atom, for each group.
KERNEL(contract_first_leg)(int begin, int end, int n_pairs, const int* runs_of, const int* atom_of, const int* terms_of,
                           const int* translation, const REAL* values, int n_translations, const REAL* phases,
                           int n_points, const int* points, int n_bands, const REAL* amplitudes, int half, REAL* scratch,
                           REAL* output)
{
    REAL* sums = scratch + (size_t)GROUP_IN_GRID() * 2 * ROW * (n_bands / 3);
    FOR_EACH_GROUP(pair, begin, end)
    {
        const int first = runs_of[pair], n_rows = runs_of[pair + 1] - first;
        for (int q = 0; q < n_points; ++q) {
            const REAL* phase = phases + 2 * (size_t)n_translations * q;
            for (int r = 0; r < n_rows; ++r) {
                lanes re[VECTORS] = {}, im[VECTORS] = {};
                for (int term = terms_of[first + r]; term < terms_of[first + r + 1]; ++term) {
                    const REAL c = phase[2 * translation[term]], s = phase[2 * translation[term] + 1];
                    const REAL* value = values + (size_t)term * ROW;
                    UNROLL for (int v = 0; v < VECTORS; ++v) {
                        const lanes x = load(value + v * LANES);
                        re[v] += c * x;
                        im[v] += s * x;
                    }
                }
                UNROLL for (int v = 0; v < VECTORS; ++v) store(sums + 2 * ROW * (size_t)r + v * LANES, re[v]);
                UNROLL for (int v = 0; v < VECTORS; ++v) store(sums + 2 * ROW * (size_t)r + ROW + v * LANES, im[v]);
            }
            GROUP_SYNC();
            FOR_BANDS(n_bands, contract_first, sums, atom_of + first, n_rows, amplitudes + 2 * (size_t)n_bands * n_bands * points[q],
                      n_bands, half, output + ((size_t)q * (n_pairs + 1) + pair) * 2 * half);
            GROUP_SYNC();
        }
    }
}

// ---- Fourier sums along one direction -------------------------------------------------------------

enum Triplet { TRANSFORMED, POINT_0, POINT_1, POINT_2, TARGET, TRIPLET };
// One job: outputs from one set of lines, N pairs of them: {|a|, output of +a or -1, output of -a or -1}
enum LinesJob { PARENT, N_PAIRS, FIRST_PAIR, LINES_JOB = FIRST_PAIR + 3 * MOST_PAIRS };

// out(+-a) = x(0) + sum_t cos(2 pi a t / D) [x(t) + x(-t)] +- i sin(2 pi a t / D) [x(t) - x(-t)], t = 1 .. reach
// targets: of +a and -a of each pair
template <int N>
DEVICE void transform_line(const int* inputs, int reach, const REAL* source, int half, const REAL* const* waves, REAL* const* targets)
{
    const REAL* wave[N];
    REAL *plus[N], *minus[N];
    UNROLL for (int n = 0; n < N; ++n) {
        wave[n] = waves[n];
        plus[n] = targets[2 * n];
        minus[n] = targets[2 * n + 1];
    }
    for (int c = 0; c < half; c += LANES) {
        const REAL* x = source + c;
        const lanes centre_re = load(x + inputs[0]), centre_im = load(x + inputs[0] + half);
        lanes even_re[N], even_im[N], odd_re[N], odd_im[N];
        UNROLL for (int n = 0; n < N; ++n) {
            even_re[n] = centre_re;
            even_im[n] = centre_im;
            odd_re[n] = odd_im[n] = broadcast(0);
        }
        for (int t = 1; t <= reach; ++t) {
            const REAL *up = x + inputs[2 * t - 1], *down = x + inputs[2 * t];
            const lanes pr = load(up), pi = load(up + half), mr = load(down), mi = load(down + half);
            const lanes sum_re = pr + mr, sum_im = pi + mi, difference_re = pr - mr, difference_im = pi - mi;
            UNROLL for (int n = 0; n < N; ++n) {
                const lanes cosine = broadcast(wave[n][2 * t]), sine = broadcast(wave[n][2 * t + 1]);
                even_re[n] += cosine * sum_re;
                even_im[n] += cosine * sum_im;
                odd_re[n] += sine * difference_re;
                odd_im[n] += sine * difference_im;
            }
        }
        UNROLL for (int n = 0; n < N; ++n) {
            store(plus[n] + c, even_re[n] - odd_im[n]);
            store(plus[n] + half + c, even_im[n] + odd_re[n]);
            store(minus[n] + c, even_re[n] + odd_im[n]);
            store(minus[n] + half + c, even_im[n] - odd_re[n]);
        }
    }
}

// Lines along one direction. inputs: by line, where the blocks at t = 0, 1, -1, 2, -2, .. width, -width begin in a set of blocks;
// each set ends with a block of zeros, for those that are missing. reaches: by line, largest |t| with a block;
// waves: [|a|][t] cos, sin.
struct Lines {
    int count, width;
    const int *inputs, *reaches;
    const REAL* waves;
};

// Jobs of one direction: by job LINES_JOB numbers, the number of its first output, and the number of the first job of the
// next direction that has one of its outputs as parent.
struct JobList
{
    int *jobs, *first_output, *first_child;
    int n_jobs, n_outputs, most_pairs, last_parent, last_pair;
};

// the next output in the order of parents and addresses; folded: 2 |a| + (a < 0)
DEVICE void add_output(JobList& list, int parent, int folded, int n_child_jobs)
{
    const int pair = folded >> 1;
    int* job = list.jobs + (size_t)(list.n_jobs - 1) * LINES_JOB;
    const bool new_parent = list.n_jobs == 0 || parent != list.last_parent, new_pair = new_parent || pair != list.last_pair;
    if (new_parent || (new_pair && job[N_PAIRS] == list.most_pairs)) {
        list.first_output[list.n_jobs] = list.n_outputs;
        list.first_child[list.n_jobs] = n_child_jobs;
        job += LINES_JOB;
        for (int k = 0; k < LINES_JOB; ++k) job[k] = -1;
        job[PARENT] = parent;
        job[N_PAIRS] = 0;
        ++list.n_jobs;
    }
    if (new_pair) job[FIRST_PAIR + 3 * job[N_PAIRS]++] = pair;
    job[FIRST_PAIR + 3 * (job[N_PAIRS] - 1) + 1 + (folded & 1)] = list.n_outputs++;
    list.last_parent = parent;
    list.last_pair = pair;
}

// Plan the sums for triplets [begin, end) of one point0, whose points q1 have ascending keys: their folded addresses along
// the three directions, KEY_BITS each. order: by key the number of a triplet in point1 and point2. Room for one job for each
// triplet and an end. counts: jobs of each direction; triplets as in contract_legs.
// One loop for the host: each step needs the one before.
KERNEL(plan_lines)(int begin, int end, const int64_t* keys, const int64_t* order, int point0, const int* point1,
                   const int* point2, int most_pairs, int* jobs_1, int* outputs_1, int* children_1, int* jobs_2, int* outputs_2,
                   int* children_2, int* jobs_3, int* outputs_3, int* children_3, int* triplets, int* counts)
{
    JobList lists[3] = {{jobs_1, outputs_1, children_1, 0, 0, most_pairs, 0, 0}, {jobs_2, outputs_2, children_2, 0, 0, MOST_PAIRS, 0, 0},
                        {jobs_3, outputs_3, children_3, 0, 0, MOST_PAIRS, 0, 0}};
    JobList &first = lists[0], &second = lists[1], &third = lists[2];
    for (int t = begin; t < end; ++t) {
        const int64_t key = keys[t], changed = t == begin ? -1 : key ^ keys[t - 1], mask = (1 << KEY_BITS) - 1;
        if (changed >> 2 * KEY_BITS) add_output(first, 0, (int)(key >> 2 * KEY_BITS), second.n_jobs);
        if (changed >> KEY_BITS) add_output(second, first.n_outputs - 1, (int)(key >> KEY_BITS & mask), third.n_jobs);
        if (changed) add_output(third, second.n_outputs - 1, (int)(key & mask), t);
        int* triplet = triplets + (size_t)t * TRIPLET;
        triplet[TRANSFORMED] = third.n_outputs - 1;
        triplet[POINT_0] = point0;
        triplet[POINT_1] = point1[order[t]];
        triplet[POINT_2] = point2[order[t]];
        triplet[TARGET] = (int)order[t];
    }
    const int children[3] = {second.n_jobs, third.n_jobs, end};
    for (int level = 0; level < 3; ++level) {
        JobList& list = lists[level];
        counts[level] = list.n_jobs;
        list.first_output[list.n_jobs] = list.n_outputs;
        list.first_child[list.n_jobs] = children[level];
    }
}

// One line of a job: from the set of its parent to block `place` in the sets of its outputs, which are numbered from
// first_output; the last block of a set is made zero with the one before. bin: a block for outputs that nobody wants
DEVICE void transform_line_of(const int* job, const Lines& lines, int line, int half, const REAL* source, int place,
                              int blocks_of_set, int first_output, REAL* output, REAL* bin)
{
    const size_t set_size = (size_t)blocks_of_set * 2 * half;
    const int* pairs = job + FIRST_PAIR;
    const int n_pairs = job[N_PAIRS], reach = lines.reaches[line];
    const REAL* waves[MOST_PAIRS];
    REAL* targets[2 * MOST_PAIRS];
    UNROLL for (int n = 0; n < MOST_PAIRS; ++n) {
        if (n >= n_pairs) break;
        waves[n] = lines.waves + (size_t)pairs[3 * n] * 2 * (lines.width + 1);
        UNROLL for (int side = 0; side < 2; ++side) {
            const int wanted = pairs[3 * n + 1 + side];
            REAL* set = output + (size_t)(wanted - first_output) * set_size;
            targets[2 * n + side] = wanted < 0 ? bin : set + (size_t)place * 2 * half;
            if (wanted < 0 || place < blocks_of_set - 2) continue;
            for (int c = 0; c < 2 * half; c += LANES) store(set + (set_size - 2 * half) + c, broadcast(0));
        }
    }
    const int* inputs = lines.inputs + (size_t)line * (2 * lines.width + 1);
    if (n_pairs == 3) transform_line<3>(inputs, reach, source, half, waves, targets);
    else if (n_pairs == 2) transform_line<2>(inputs, reach, source, half, waves, targets);
    else transform_line<1>(inputs, reach, source, half, waves, targets);
}

// Items [begin, end): job x line. input: [parent - first_parent] sets of set_size numbers; output: [output - first_output] sets.
KERNEL(transform_lines)(int begin, int end, const int* jobs, int n_lines, const int* inputs, const int* reaches, int width,
                        const REAL* waves, int half, int set_size, int first_parent, const REAL* input, int first_output,
                        REAL* output, REAL* bin)
{
    const Lines lines = {n_lines, width, inputs, reaches, waves};
    FOR_EACH_GROUP(item, begin, end)
    {
        const int* job = jobs + (size_t)(item / n_lines) * LINES_JOB;
        const REAL* source = input + (size_t)(job[PARENT] - first_parent) * set_size;
        transform_line_of(job, lines, item % n_lines, half, source, item % n_lines, n_lines + 1, first_output, output, bin);
    }
}

// ---- legs 1 and 2 ---------------------------------------------------------------------------------

// mean over groups of degenerate bands of each leg. groups: [point][band] size of the group that begins there, or 0
DEVICE void average_degenerate(const int* triplet, const int* groups, const int* has_groups, int n_bands, double* strength)
{
    for (int leg = 0; leg < 3; ++leg) {
        const int point = triplet[POINT_0 + leg];
        if (!has_groups[point]) continue;
        const int step = leg == 0 ? n_bands * n_bands : leg == 1 ? n_bands : 1;
        const int slow = leg == 0 ? n_bands : n_bands * n_bands, fast = leg == 2 ? n_bands : 1;
        GROUP_SYNC();
        for (int band = 0; band < n_bands; ++band) {
            const int size = groups[(size_t)point * n_bands + band];
            if (size < 2) continue;
            FOR_LANE_ELEMENTS(other, n_bands * n_bands)
            {
                double* p = strength + (size_t)(other / n_bands) * slow + (size_t)(other % n_bands) * fast + (size_t)band * step;
                double sum = 0;
                for (int g = 0; g < size; ++g) sum += p[(size_t)g * step];
                for (int g = 0; g < size; ++g) p[(size_t)g * step] = sum / size;
            }
        }
    }
}

// half-contracted[band + n][k][real, imaginary][direction of k, b0] = sum over j; lanes are directions and b0 together
template <int N>
DEVICE void contract_second(const REAL* blocks, int half, int n_bands, int k, int from, const REAL* amplitude, int band,
                            int row, REAL* target)
{
    const int n_atoms = n_bands / 3, square = n_bands * n_bands;
    lanes re[N] = {}, im[N] = {};
    for (int j = 0; j < n_atoms; ++j) {
        const REAL* v = blocks + (size_t)(j * n_atoms + k) * 2 * half + from;
        const REAL* u = amplitude + 3 * j * n_bands + band;
        UNROLL for (int a = 0; a < 3; ++a) {
            const lanes vr = load(v + 3 * a * n_bands), vi = load(v + half + 3 * a * n_bands);
            UNROLL for (int n = 0; n < N; ++n) {
                const lanes ur = broadcast(u[a * n_bands + n]), ui = broadcast(u[square + a * n_bands + n]);
                re[n] += ur * vr;
                im[n] += ur * vi;
                re[n] -= ui * vi;
                im[n] += ui * vr;
            }
        }
    }
    UNROLL for (int n = 0; n < N; ++n) {
        REAL* p = target + (size_t)((band + n) * n_atoms + k) * 2 * row + from;
        store(p, re[n]);
        store(p + row, im[n]);
    }
}

// strength[b0][b1][band + n] for the lanes b0 = from ..; source: half-contracted values of b1
template <int N>
DEVICE void contract_third(const REAL* source, int row, int n_bands, int from, const REAL* amplitude, int band, double* strength)
{
    const int square = n_bands * n_bands;
    lanes re[N] = {}, im[N] = {};
    for (int k = 0; k < n_bands / 3; ++k) {
        const REAL* v = source + (size_t)k * 2 * row + from;
        const REAL* u = amplitude + 3 * k * n_bands + band;
        UNROLL for (int a = 0; a < 3; ++a) {
            const lanes vr = load(v + a * n_bands), vi = load(v + row + a * n_bands);
            UNROLL for (int n = 0; n < N; ++n) {
                const lanes ur = broadcast(u[a * n_bands + n]), ui = broadcast(u[square + a * n_bands + n]);
                re[n] += ur * vr;
                im[n] += ur * vi;
                re[n] -= ui * vi;
                im[n] += ui * vr;
            }
        }
    }
    UNROLL for (int n = 0; n < N; ++n) re[n] = re[n] * re[n] + im[n] * im[n];
#if HPCTHERMO_GPU
    if (from + lane_index() < n_bands)
        for (int n = 0; n < N; ++n) strength[(size_t)(from + lane_index()) * square + band + n] = (double)re[n];
#else
    const int last = n_bands - from < LANES ? n_bands - from : LANES;
    for (int l = 0; l < last; ++l)
        UNROLL for (int n = 0; n < N; ++n) strength[(size_t)(from + l) * square + band + n] = (double)re[n][l];
#endif
}

// legs 1 and 2 of one triplet; part: scratch for half-contracted values
template <int BANDS>
DEVICE void contract_triplet(const REAL* blocks, int half, int any_bands, const REAL* second, const REAL* third, int row, REAL* part,
                             double* strength)
{
    const int n_bands = BANDS ? BANDS : any_bands, n_atoms = n_bands / 3;
    for (int k = 0; k < n_atoms; ++k) {
        for (int from = 0; from < 3 * n_bands; from += LANES) {
            int band = 0;
            for (; band + COLUMNS <= n_bands; band += COLUMNS)
                contract_second<COLUMNS>(blocks, half, n_bands, k, from, second, band, row, part);
            if (band < n_bands) contract_second<COLUMNS / 2>(blocks, half, n_bands, k, from, second, band, row, part);
        }
    }
    GROUP_SYNC();
    for (int b = 0; b < n_bands; ++b) {
        const REAL* source = part + (size_t)b * n_atoms * 2 * row;
        for (int from = 0; from < n_bands; from += LANES) {
            int band = 0;
            for (; band + COLUMNS <= n_bands; band += COLUMNS)
                contract_third<COLUMNS>(source, row, n_bands, from, third, band, strength + b * n_bands);
            if (band < n_bands) contract_third<COLUMNS / 2>(source, row, n_bands, from, third, band, strength + b * n_bands);
        }
    }
    GROUP_SYNC();
}

// Triplets [begin, end). transformed: sets of the blocks of all atom pairs for each point q1; row: 3 B and more,
// a multiple of LANES; scratch: 2 row B n numbers for each group, n atoms; strengths: [target][b0][b1][b2]
KERNEL(contract_legs)(int begin, int end, const int* triplets, int first_transformed, const REAL* transformed, int half,
                      int n_bands, const REAL* amplitudes, const int* groups, const int* has_groups, int row,
                      REAL* scratch, double* strengths)
{
    REAL* part = scratch + (size_t)GROUP_IN_GRID() * 2 * row * n_bands * (n_bands / 3);
    const int n_atoms = n_bands / 3;
    const size_t square = (size_t)n_bands * n_bands;
    FOR_EACH_GROUP(item, begin, end)
    {
        const int* triplet = triplets + (size_t)item * TRIPLET;
        const REAL* blocks = transformed + (size_t)(triplet[TRANSFORMED] - first_transformed) * (n_atoms * n_atoms + 1) * 2 * half;
        const REAL *second = amplitudes + 2 * square * triplet[POINT_1], *third = amplitudes + 2 * square * triplet[POINT_2];
        double* strength = strengths + square * n_bands * triplet[TARGET];
        FOR_BANDS(n_bands, contract_triplet, blocks, half, n_bands, second, third, row, part, strength);
        average_degenerate(triplet, groups, has_groups, n_bands, strength);
    }
}

// Triplets [begin, end) whose legs were contracted by matrix products with real and imaginary parts side by side:
// source: [triplet - begin][part s of leg 1][b1][b0 - first_band][part p of leg 2][b2], V = sum_sp i^(s + p) source.
// Writes strength[b0][b1][b2] for n_leading bands b0 from first_band on; average: whether this completes the triplets.
KERNEL(square_products)(int begin, int end, const int* triplets, int first_band, int n_leading, int n_bands, int average,
                        const int* groups, const int* has_groups, const REAL* products, double* strengths)
{
    const size_t square = (size_t)n_bands * n_bands, row = 2 * n_bands, part = row * n_leading * n_bands;
    FOR_EACH_GROUP(item, begin, end)
    {
        const int* triplet = triplets + (size_t)item * TRIPLET;
        const REAL* source = products + (size_t)(item - begin) * 2 * part;
        double* strength = strengths + square * n_bands * triplet[TARGET];
        for (int b0 = 0; b0 < n_leading; ++b0) {
            for (int b1 = 0; b1 < n_bands; ++b1) {
                const REAL* p = source + ((size_t)b1 * n_leading + b0) * row;
                double* target = strength + (first_band + b0) * square + (size_t)b1 * n_bands;
                FOR_LANE_ELEMENTS(b2, n_bands)
                {
                    const REAL re = p[b2] - p[part + n_bands + b2], im = p[n_bands + b2] + p[part + b2];
                    target[b2] = (double)(re * re + im * im);
                }
            }
        }
        if (average) average_degenerate(triplet, groups, has_groups, n_bands, strength);
    }
}

#if !HPCTHERMO_GPU
// All three directions and legs 1 and 2 in one go, job by job of the first direction and atom pair by atom pair: what is
// between stays in a core's cache. By direction: jobs; outputs, by job the number of its first output; ranges, by job its
// range of jobs of the next direction (of the last: of triplets); lines_of, by atom pair its range of lines, at most `most`;
// inputs as in `Lines`, for the second and third direction as if the lines of a pair were blocks 0, 1, ... of a set of
// most + 1. leg_0: set of blocks.
// scratch, for each group: 2 MOST_PAIRS sets of both most + 1 blocks, a block, 2 row B n numbers, and a set of the blocks of
// all pairs for each point that a job of the first direction has.
KERNEL(strengths_of_lines)(int begin, int end, const int* jobs_1, const int* outputs_1, const int* ranges_1, const int* lines_of_1,
                           int most_1, const int* inputs_1, const int* reaches_1, int width_1, const REAL* waves_1,
                           const int* jobs_2, const int* outputs_2, const int* ranges_2, const int* lines_of_2, int most_2,
                           const int* inputs_2, const int* reaches_2, int width_2, const REAL* waves_2,
                           const int* jobs_3, const int* outputs_3, const int* ranges_3, const int* inputs_3,
                           const int* reaches_3, int width_3, const REAL* waves_3, const int* triplets, int half,
                           const REAL* leg_0, int first_number, int n_bands, const REAL* amplitudes, const int* groups,
                           const int* has_groups, int row, int scratch_size, REAL* scratch, double* strengths)
{
    const int n_atoms = n_bands / 3, n_pairs = n_atoms * n_atoms;
    const size_t square = (size_t)n_bands * n_bands, block = 2 * half;
    const size_t size_1 = (most_1 + 1) * block, size_2 = (most_2 + 1) * block, size_3 = (n_pairs + 1) * block;
    const Lines first = {lines_of_1[n_pairs], width_1, inputs_1, reaches_1, waves_1};
    const Lines second = {lines_of_2[n_pairs], width_2, inputs_2, reaches_2, waves_2};
    const Lines third = {n_pairs, width_3, inputs_3, reaches_3, waves_3};
    REAL* along_1 = scratch + (size_t)GROUP_IN_GRID() * scratch_size;
    REAL *along_2 = along_1 + 2 * MOST_PAIRS * size_1, *bin = along_2 + 2 * MOST_PAIRS * size_2, *part = bin + block;
    REAL* points = part + 2 * (size_t)row * n_bands * n_atoms;
    FOR_EACH_GROUP(item, begin, end)
    {
        const int begin_2 = ranges_1[item], end_2 = ranges_1[item + 1], first_point = outputs_3[ranges_2[begin_2]];
        for (int set = 1; set <= 2 * MOST_PAIRS; ++set) {
            for (size_t c = 0; c < block; c += LANES) store(along_1 + set * size_1 - block + c, broadcast(0));
            for (size_t c = 0; c < block; c += LANES) store(along_2 + set * size_2 - block + c, broadcast(0));
        }
        for (int pair = 0; pair < n_pairs; ++pair) {
            for (int line = lines_of_1[pair]; line < lines_of_1[pair + 1]; ++line)
                transform_line_of(jobs_1 + (size_t)item * LINES_JOB, first, line, half, leg_0 + first_number,
                                  line - lines_of_1[pair], most_1 + 1, outputs_1[item], along_1, bin);
            GROUP_SYNC();
            for (int j = begin_2; j < end_2; ++j) {
                const int* job_2 = jobs_2 + (size_t)j * LINES_JOB;
                for (int line = lines_of_2[pair]; line < lines_of_2[pair + 1]; ++line)
                    transform_line_of(job_2, second, line, half, along_1 + (job_2[PARENT] - outputs_1[item]) * size_1,
                                      line - lines_of_2[pair], most_2 + 1, outputs_2[j], along_2, bin);
                GROUP_SYNC();
                for (int k = ranges_2[j]; k < ranges_2[j + 1]; ++k) {
                    const int* job_3 = jobs_3 + (size_t)k * LINES_JOB;
                    transform_line_of(job_3, third, pair, half, along_2 + (job_3[PARENT] - outputs_2[j]) * size_2, pair, n_pairs + 1,
                                      first_point, points, bin);
                }
                GROUP_SYNC();
            }
        }
        for (int t = ranges_3[ranges_2[begin_2]]; t < ranges_3[ranges_2[end_2]]; ++t) {
            const int* triplet = triplets + (size_t)t * TRIPLET;
            double* strength = strengths + square * n_bands * triplet[TARGET];
            FOR_BANDS(n_bands, contract_triplet, points + (triplet[TRANSFORMED] - first_point) * size_3, half, n_bands,
                      amplitudes + 2 * square * triplet[POINT_1], amplitudes + 2 * square * triplet[POINT_2], row, part, strength);
            average_degenerate(triplet, groups, has_groups, n_bands, strength);
        }
        GROUP_SYNC();
    }
}
#endif
