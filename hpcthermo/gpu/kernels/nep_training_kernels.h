// Exact gradients of losses in energies, forces and virials of the neuroevolution potential (NEP4; Song et al., Nat.
// Commun. 15, 10208 (2024)), in closed form by atom.
//
//   loss = sum_s a_s (dE_s/N_s)^2 + b_s sum_i tau_i |dF_i|^2 + c_s sum_ab (dW_s,ab/N_s)^2      ab: xx, yy, zz, xy, yz, zx
//
// Positions are fixed, so sums over neighbours of functions that do not depend on the parameters are kept (Phi, B), and
// descriptors are small products of matrices:
//
//   q_n = sum_tk c_ntk Phi_tk      S_na = sum_tk c_ntk B_tka      h = tanh(w0 q - b0)      U = w1 h - b1
//
// With eps, lambda, Lambda the derivatives of the loss by energy, forces and virial, its gradient is that of
// sum_i eps U_i + dU_i/dt, where d/dt is the rate when pairs change at v_ij (nep_training_pairs.h). With Phi', B' the rates
// of Phi, B all else belongs to one atom:
//
//   q' = dq/dt    z' = w0 q'    beta = w1 (1 - h^2)    alpha = beta (eps - 2 h z')
//   dw1 = eps h + (1 - h^2) z'    db0 = -alpha    dw0 = alpha q + beta q'    qbar = w0^T alpha
//   dc = qbar Phi + F Phi' (radial)    Sbar B + P B' (angular)    F = w0^T beta = dU/dq    P = dU/dS
//
// The network's weights hold the factors of the descriptors already (training/parameters.py).
#include "nep_training_pairs.h"

// Where a bundle's results go and what the loss's derivatives are.
struct Site {
    double *energies, *forces, *virials;  // by structure; by atom, rows of 4; by structure, rows of 6
};
struct Seeds {
    const REAL *energy, *force, *virial;  // eps by structure; lambda by atom, rows of 4; Lambda (6, structures)
    int n_structures;
};

template <int L>
DEVICE void descriptors(const TrainingModel& m, const TrainingGeometry& g, int first, int count, REAL* memory, int memory_step)
{
    constexpr int harmonics = Harmonics<L>::count;
    const REAL* numbers = m.of_type(g.types[first]);
    const int radial = m.radial_columns(), angular = m.angular_columns();
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const TypeSpan span(g, m.n_types, first + b);
        const int skipped = span.first * m.k_angular;
        const REAL* B = g.angular_sums + ((size_t)(first + b) * angular + skipped) * harmonics * LANES;
        multiply({numbers + m.angular_place() + skipped, angular, 1}, m.n_angular, span.count * m.k_angular, {B, harmonics, 1},
                 harmonics, {batch.sums, harmonics, 1});
    }
    const BatchMemory<L> bundle(m, memory);
    multiply({numbers + m.radial_place(), radial, 1}, m.n_radial, radial,
             {g.radial_sums + (size_t)first * radial * LANES, 1, radial}, count, {bundle.descriptors, 1, memory_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        Invariants<L>{m}.values(batch.sums, batch.descriptors);
    }
}

// energies, forces and virials of the atoms of a bundle, and in memory what the backward pass needs of them
template <int L>
OUTLINED void forward_bundle(const TrainingModel& m, const TrainingGeometry& g, int first, int count, REAL* memory, REAL* scratch,
                           const Site& site)
{
    constexpr int harmonics = Harmonics<L>::count;
    const int memory_step = BatchMemory<L>::rows(m), scratch_step = BatchScratch<L>::rows(m);
    const REAL* numbers = m.of_type(g.types[first]);
    const int radial = m.radial_columns(), angular = m.angular_columns();
    descriptors<L>(m, g, first, count, memory, memory_step);
    const BatchMemory<L> bundle(m, memory);
    const BatchScratch<L> bundle_scratch(m, scratch);
    multiply({numbers, m.n_descriptors, 1}, m.n_neurons, m.n_descriptors, {bundle.descriptors, 1, memory_step}, count,
             {bundle.hidden, 1, memory_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        lanes energy = broadcast(0);
        for (int mu = 0; mu < m.n_neurons; ++mu) {
            const lanes h = tanh_lanes(load(batch.hidden + mu * LANES) - numbers[m.bias_place() + mu]);
            const REAL w1 = numbers[m.output_place() + mu];
            energy += w1 * h;
            store(batch.hidden + mu * LANES, h);
            store(here.neurons + mu * LANES, w1 * ((REAL)1 - h * h));
        }
        // shared out over lanes after they have been stored
        const int place = (first + b) * LANES;
        REAL* by_lane = here.neuron_curvature;
        store(by_lane, energy);
        GROUP_SYNC();
        FOR_LANE_ELEMENTS(l, LANES)
            if (g.occupied[place + l] > 0) atomic_add(site.energies + g.structures[place + l], (double)by_lane[l]);
        GROUP_SYNC();
    }
    multiply({numbers, 1, m.n_descriptors}, m.n_descriptors, m.n_neurons, {bundle_scratch.neurons, 1, scratch_step}, count,
             {bundle.descriptor_slopes, 1, memory_step});
    multiply({numbers + m.radial_place(), 1, radial}, radial, m.n_radial, {bundle.descriptor_slopes, 1, memory_step}, count,
             {bundle_scratch.radial, 1, scratch_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        Invariants<L>{m}.slopes(batch.sums, batch.descriptors, batch.descriptor_slopes, batch.sum_slopes);
        const TypeSpan span(g, m.n_types, first + b);
        const int skipped = span.first * m.k_angular;
        multiply({numbers + m.angular_place() + skipped, 1, angular}, span.count * m.k_angular, m.n_angular,
                 {batch.sum_slopes, harmonics, 1}, harmonics, {here.angular + (size_t)skipped * harmonics * LANES, harmonics, 1});
        PairForces pairs(site.forces, m.with_virial);
        radial_forces(m, g, first + b, here.radial, pairs);
        angular_forces<L>(m, g, first + b, here.angular, pairs);
        const int place = (first + b) * LANES;
        scatter_force(site.forces, g.atoms + place, -pairs.force[0], -pairs.force[1], -pairs.force[2]);
        if (!m.with_virial) continue;
        REAL* by_lane = here.descriptor_rates;
        for (int a = 0; a < 6; ++a) {
            store(by_lane, pairs.virial[a]);
            GROUP_SYNC();
            FOR_LANE_ELEMENTS(l, LANES) atomic_add(site.virials + 6 * (size_t)g.structures[place + l] + a, (double)by_lane[l]);
            GROUP_SYNC();
        }
    }
}

// gradient += that of a bundle, by lane; memory as the forward pass left it
template <int L>
OUTLINED void backward_bundle(const TrainingModel& m, const TrainingGeometry& g, int first, int count, const REAL* memory_of_bundle,
                            REAL* scratch, const Seeds& seeds, REAL* gradient)
{
    constexpr int harmonics = Harmonics<L>::count;
    REAL* memory = const_cast<REAL*>(memory_of_bundle);
    const int memory_step = BatchMemory<L>::rows(m), scratch_step = BatchScratch<L>::rows(m), type = g.types[first];
    const REAL* numbers = m.of_type(type);
    REAL* of_type = gradient + (size_t)type * m.per_type() * LANES;
    const int radial = m.radial_columns(), angular = m.angular_columns();
    const BatchMemory<L> bundle(m, memory);
    const BatchScratch<L> bundle_scratch(m, scratch);
    for (int b = 0; b < count; ++b) {
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        const int place = (first + b) * LANES;
        PairRates rates;
        rates.lambda = seeds.force;
        rates.with_virial = seeds.virial != nullptr;
        load_vectors(seeds.force, g.atoms + place, rates.own[0], rates.own[1], rates.own[2]);
        if (rates.with_virial)
            for (int a = 0; a < 6; ++a) rates.strain[a] = gather(seeds.virial + (size_t)a * seeds.n_structures, g.structures + place);
        radial_rates(m, g, first + b, rates, here.radial);
        angular_rates<L>(m, g, first + b, rates, here.angular);
    }
    multiply({numbers + m.radial_place(), radial, 1}, m.n_radial, radial, {bundle_scratch.radial, 1, scratch_step}, count,
             {bundle_scratch.descriptor_rates, 1, scratch_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        const TypeSpan span(g, m.n_types, first + b);
        const int skipped = span.first * m.k_angular;
        multiply({numbers + m.angular_place() + skipped, angular, 1}, m.n_angular, span.count * m.k_angular,
                 {here.angular + (size_t)skipped * harmonics * LANES, harmonics, 1}, harmonics, {here.sum_rates, harmonics, 1});
        Invariants<L>{m}.rates(batch.sums, batch.descriptors, here.sum_rates, here.descriptor_rates);
    }
    multiply({numbers, m.n_descriptors, 1}, m.n_neurons, m.n_descriptors, {bundle_scratch.descriptor_rates, 1, scratch_step}, count,
             {bundle_scratch.neurons, 1, scratch_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        const int place = (first + b) * LANES;
        const lanes eps = load(g.occupied + place) * gather(seeds.energy, g.structures + place);
        for (int mu = 0; mu < m.n_neurons; ++mu) {
            const REAL w1 = numbers[m.output_place() + mu];
            const lanes h = load(batch.hidden + mu * LANES), rate = load(here.neurons + mu * LANES);
            const lanes slope = (REAL)1 - h * h, beta = w1 * slope, alpha = beta * (eps - (REAL)2 * h * rate);
            store(here.neurons + mu * LANES, alpha);
            store(here.neuron_curvature + mu * LANES, beta);
            REAL *bias = of_type + (size_t)(m.bias_place() + mu) * LANES, *output = of_type + (size_t)(m.output_place() + mu) * LANES;
            store(bias, load(bias) - alpha);
            store(output, load(output) + eps * h + slope * rate);
        }
    }
    add_outer({of_type, m.n_descriptors, 1}, m.n_neurons, m.n_descriptors, count,
              {bundle_scratch.neurons, 1, scratch_step}, {bundle.descriptors, 1, memory_step},
              {bundle_scratch.neuron_curvature, 1, scratch_step}, {bundle_scratch.descriptor_rates, 1, scratch_step});
    multiply({numbers, 1, m.n_descriptors}, m.n_descriptors, m.n_neurons, {bundle_scratch.neurons, 1, scratch_step}, count,
             {bundle_scratch.descriptor_adjoints, 1, scratch_step});
    add_outer({of_type + (size_t)m.radial_place() * LANES, radial, 1}, m.n_radial, radial, count,
              {bundle_scratch.descriptor_adjoints, 1, scratch_step}, {g.radial_sums + (size_t)first * radial * LANES, 1, radial},
              {bundle.descriptor_slopes, 1, memory_step}, {bundle_scratch.radial, 1, scratch_step});
    for (int b = 0; b < count; ++b) {
        const BatchMemory<L> batch(m, memory + (size_t)b * memory_step * LANES);
        const BatchScratch<L> here(m, scratch + (size_t)b * scratch_step * LANES);
        Invariants<L>{m}.adjoints(batch.sums, batch.descriptors, batch.descriptor_slopes, here.sum_rates, here.descriptor_rates,
                                  here.descriptor_adjoints, here.sum_adjoints);
        const TypeSpan span(g, m.n_types, first + b);
        const int skipped = span.first * m.k_angular;
        const REAL* B = g.angular_sums + ((size_t)(first + b) * angular + skipped) * harmonics * LANES;
        add_outer({of_type + (size_t)(m.angular_place() + skipped) * LANES, angular, 1}, m.n_angular, span.count * m.k_angular,
                  harmonics, {here.sum_adjoints, harmonics, 1}, {B, harmonics, 1}, {batch.sum_slopes, harmonics, 1},
                  {here.angular + (size_t)skipped * harmonics * LANES, harmonics, 1});
    }
}

// Labels, the weights of the loss, and errors: (dE/N, sum tau |dF|^2, sum |dF|^2, sum (dW/N)^2) of each structure.
struct Labels {
    const double *energies, *forces, *virials;  // by structure; (atoms, 3); (structures, 6)
    const double *weights, *atom_weights;       // a, b, c by structure, below 0 where there is no label; tau by atom
    double output_bias;
};

// errors of a structure and the derivatives of the loss
DEVICE void residuals(const TrainingGeometry& g, const Labels& labels, int s, const Site& site, REAL* eps, REAL* lambda, REAL* Lambda,
                      int n_structures, double* errors)
{
    const int first = g.first_atoms[s], end = g.first_atoms[s + 1];
    const double n = end - first;
    const double a = labels.weights[3 * s], b = labels.weights[3 * s + 1], c = labels.weights[3 * s + 2];
    double* of_structure = errors + 4 * (size_t)s;
    FOR_LANE_ELEMENTS(k, 4) of_structure[k] = 0;
    GROUP_SYNC();
    double weighted = 0, plain = 0;
    FOR_LANE_ELEMENTS(k, end - first)
    {
        const int atom = first + k;
        const double tau = labels.atom_weights[atom];
        double square = 0;
        for (int x = 0; x < 3; ++x) {
            const double difference = b >= 0 ? site.forces[4 * (size_t)atom + x] - labels.forces[3 * (size_t)atom + x] : 0;
            square += difference * difference;
            lambda[4 * (size_t)atom + x] = (REAL)(2 * b * tau * difference);
        }
        weighted += tau * square;
        plain += square;
    }
    // on a GPU each lane has a part of these sums
#if HPCTHERMO_GPU
    atomic_add(of_structure + 1, weighted);
    atomic_add(of_structure + 2, plain);
#else
    of_structure[1] = weighted;
    of_structure[2] = plain;
#endif
    ONE_LANE
    {
        const double error = a >= 0 ? (site.energies[s] - n * labels.output_bias - labels.energies[s]) / n : 0;
        of_structure[0] = error;
        eps[s] = (REAL)(2 * a * error / n);
        if (Lambda) {
            double square = 0;
            for (int x = 0; x < 6; ++x) {
                const double difference = c >= 0 ? (site.virials[6 * (size_t)s + x] - labels.virials[6 * (size_t)s + x]) / n : 0;
                square += difference * difference;
                // each of xy and yx has half of the derivative by their mean
                Lambda[(size_t)x * n_structures + s] = (REAL)((x < 3 ? 2 : 1) * c * difference / n);
            }
            of_structure[3] = square;
        }
    }
    GROUP_SYNC();
}

// out[p] += sums over lanes; the gradient by lane is used up
DEVICE void add_gradient(REAL* gradient, int n, double* out)
{
    int p = 0;
    for (; p + 8 <= n; p += 8) {
        lanes part[8];
        UNROLL for (int k = 0; k < 8; ++k) part[k] = load(gradient + (size_t)(p + k) * LANES);
        GROUP_SYNC();
        REAL* sums = gradient + (size_t)p * LANES;
        reduce_add_many(part, sums);
        GROUP_SYNC();
        FOR_LANE_ELEMENTS(k, 8) atomic_add(out + p + k, (double)sums[k]);
    }
    for (; p < n; ++p) {
        const REAL sum = reduce_add(load(gradient + (size_t)p * LANES));
        ONE_LANE atomic_add(out + p, (double)sum);
    }
}

// ---- kernels ---------------------------------------------------------------------------------------

#define MODEL_ARGUMENTS const int *sizes, const REAL *numbers, const REAL *harmonic_weights, const int *terms, const REAL *term_coefficients
#define GEOMETRY_ARGUMENTS                                                                                                    \
    const int *types, const int *bundles, const int *atoms, const int *structures, const REAL *occupied,                      \
    const int *radial_starts, const REAL *radial_rows, const int *radial_index, const int *angular_starts,                    \
    const REAL *angular_rows, const int *angular_index, const REAL *radial_sums, const REAL *angular_sums,                    \
    const int *first_atoms, const int *chunks
#define MODEL                                                                                                                  \
    {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], sizes[9], sizes[10],            \
     sizes[11] != 0, numbers, harmonic_weights, terms, term_coefficients}
#define GEOMETRY                                                                                                               \
    {types, bundles, atoms, structures, occupied, radial_starts, radial_rows, radial_index, angular_starts, angular_rows,     \
     angular_index, radial_sums, angular_sums, first_atoms, chunks}

// degrees of the angular functions that are compiled; sizes[12] is one of them. A GPU's text may state one only.
#ifdef DEGREE
#define BY_DEGREE(...) { constexpr int L = DEGREE; __VA_ARGS__; }
#else
#define BY_DEGREE(...)                                      \
    switch (sizes[12]) {                                    \
    case 4: { constexpr int L = 4; __VA_ARGS__; } break;    \
    default: { constexpr int L = 8; __VA_ARGS__; } break;   \
    }
#endif

// f_k and f'_k of a pair: f_k = f_c (T_k(x) + 1)/2, f_0 = f_c = (1 + cos(pi r/rc))/2, x = 2 (r/rc - 1)^2 - 1
DEVICE void basis_functions(double r, double cutoff, int n, double* f, double* slope)
{
    const double s = r / cutoff - 1, x = 2 * s * s - 1, dx = 4 * s / cutoff, pi = 3.14159265358979323846;
    const double fc = r < cutoff ? 0.5 * (1 + cos(pi * r / cutoff)) : 0, dfc = r < cutoff ? -0.5 * pi / cutoff * sin(pi * r / cutoff) : 0;
    f[0] = fc;
    slope[0] = dfc;
    double t0 = 1, t1 = x, u0 = 1, u1 = 2 * x;
    for (int k = 1; k < n; ++k) {
        f[k] = 0.5 * (t1 + 1) * fc;
        slope[k] = 0.5 * (k * u0 * dx * fc + (t1 + 1) * dfc);
        const double t2 = 2 * x * t1 - t0, u2 = 2 * x * u1 - u0;
        t0 = t1;
        t1 = t2;
        u0 = u1;
        u1 = u2;
    }
}
#define MOST_BASIS 17

// Rows of pairs of batches [begin, end) from r_ij (rows, 3, LANES), 0 in unused slots; with functions only if `with_functions`
// (angular), else their sums over pairs (radial).
KERNEL(cache_pairs)(int begin, int end, const int* types, int n_types, int n_basis, const double* cutoffs, const int* starts,
                    const double* vectors, int with_functions, REAL* rows, REAL* sums)
{
    const int row_length = (4 + (with_functions ? 2 : 1) * n_basis) * LANES;
    FOR_EACH_GROUP(batch, begin, end)
    {
        FOR_LANE_ELEMENTS(l, LANES)
        {
            for (int t = 0; t < n_types; ++t) {
                const double cutoff = cutoffs[types[batch] * n_types + t];
                double total[MOST_BASIS];
                for (int k = 0; k < n_basis; ++k) total[k] = 0;
                for (int row = starts[batch * n_types + t]; row < starts[batch * n_types + t + 1]; ++row) {
                    const double* d = vectors + (size_t)row * 3 * LANES + l;
                    const double x = d[0], y = d[LANES], z = d[2 * LANES], r = sqrt(x * x + y * y + z * z);
                    REAL* out = rows + (size_t)row * row_length + l;
                    double f[MOST_BASIS], slope[MOST_BASIS];
                    if (r > 0) {
                        basis_functions(r, cutoff, n_basis, f, slope);
                    } else {
                        for (int k = 0; k < n_basis; ++k) f[k] = slope[k] = 0;
                    }
                    const double inverse = r > 0 ? 1 / r : 0;
                    out[0] = (REAL)(x * inverse);
                    out[LANES] = (REAL)(y * inverse);
                    out[2 * LANES] = (REAL)(z * inverse);
                    out[3 * LANES] = (REAL)(r > 0 ? r : 1);
                    REAL* values = out + 4 * LANES;
                    for (int k = 0; k < n_basis; ++k) {
                        if (with_functions) {
                            values[k * LANES] = (REAL)f[k];
                            values[(n_basis + k) * LANES] = (REAL)slope[k];
                        } else {
                            values[k * LANES] = (REAL)slope[k];
                            total[k] += f[k];
                        }
                    }
                }
                if (!with_functions)
                    for (int k = 0; k < n_basis; ++k) sums[(((size_t)batch * n_types + t) * n_basis + k) * LANES + l] = (REAL)total[k];
            }
        }
        GROUP_SYNC();
    }
}

// B of batches [begin, end)
KERNEL(sum_angular)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, REAL* out)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    FOR_EACH_GROUP(batch, begin, end)
        BY_DEGREE(sum_angular_functions<L>(m, g, batch, out + (size_t)batch * m.angular_columns() * Harmonics<L>::count * LANES))
}

// lane rows of a batch's memory and scratch
KERNEL(memory_rows)(int begin, int end, MODEL_ARGUMENTS, int* rows)
{
    const TrainingModel m = MODEL;
    FOR_EACH_THREAD(k, begin, end)
        BY_DEGREE(rows[k] = k ? BatchScratch<L>::rows(m) * BATCHES_TOGETHER : BatchMemory<L>::rows(m))
}

// q of the atoms of bundles [begin, end), (atoms, n_descriptors)
KERNEL(training_descriptors)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, int memory_size, REAL* memory, double* q)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    REAL* own = memory + (size_t)GROUP_IN_GRID() * memory_size;
    FOR_EACH_GROUP(bundle, begin, end)
    {
        const int first = g.bundles[2 * bundle], count = g.bundles[2 * bundle + 1];
        BY_DEGREE({
            const int step = BatchMemory<L>::rows(m);
            descriptors<L>(m, g, first, count, own, step);
            GROUP_SYNC();
            for (int b = 0; b < count; ++b) {
                const REAL* from = BatchMemory<L>(m, own + (size_t)b * step * LANES).descriptors;
                FOR_LANE_ELEMENTS(l, LANES)
                    for (int d = 0; d < m.n_descriptors && g.occupied[(first + b) * LANES + l] > 0; ++d)
                        q[(size_t)g.atoms[(first + b) * LANES + l] * m.n_descriptors + d] = (double)from[d * LANES + l];
            }
            GROUP_SYNC();
        })
    }
}

// Sums over the atoms of bundles [begin, end); memory is that of batch `first_batch` and those after it.
KERNEL(forward)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, int first_batch, REAL* memory, int scratch_size, REAL* scratch,
                double* energies, double* forces, double* virials)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    REAL* own = scratch + (size_t)GROUP_IN_GRID() * scratch_size;
    FOR_EACH_GROUP(bundle, begin, end)
    {
        const int first = g.bundles[2 * bundle], count = g.bundles[2 * bundle + 1];
        BY_DEGREE(forward_bundle<L>(m, g, first, count, memory + (size_t)(first - first_batch) * BatchMemory<L>::rows(m) * LANES, own,
                                    {energies, forces, virials}))
    }
}

// Errors of structures [begin, end) and derivatives of the loss by their energies, forces and virials.
KERNEL(loss_derivatives)(int begin, int end, GEOMETRY_ARGUMENTS, const double* label_energies, const double* label_forces,
                         const double* label_virials, const double* weights, const double* atom_weights, double output_bias,
                         int n_structures, double* energies, double* forces, double* virials, REAL* eps, REAL* lambda, REAL* Lambda,
                         double* errors)
{
    const TrainingGeometry g = GEOMETRY;
    const Labels labels = {label_energies, label_forces, label_virials, weights, atom_weights, output_bias};
    FOR_EACH_GROUP(s, begin, end) residuals(g, labels, s, {energies, forces, virials}, eps, lambda, Lambda, n_structures, errors);
}

// Gradients by lane of bundles [begin, end), each group's in a slice of its own.
KERNEL(backward)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, int first_batch, const REAL* memory, int scratch_size,
                 REAL* scratch, int n_structures, const REAL* eps, const REAL* lambda, const REAL* Lambda, REAL* gradients)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    REAL* own = scratch + (size_t)GROUP_IN_GRID() * scratch_size;
    REAL* gradient = gradients + (size_t)GROUP_IN_GRID() * m.count() * LANES;
    FOR_EACH_GROUP(bundle, begin, end)
    {
        const int first = g.bundles[2 * bundle], count = g.bundles[2 * bundle + 1];
        BY_DEGREE(backward_bundle<L>(m, g, first, count, memory + (size_t)(first - first_batch) * BatchMemory<L>::rows(m) * LANES, own,
                                     {eps, lambda, Lambda, n_structures}, gradient))
    }
}

// gradient += slices [begin, end) summed over lanes
KERNEL(sum_gradients)(int begin, int end, int count, REAL* gradients, double* gradient)
{
    FOR_EACH_GROUP(slice, begin, end) add_gradient(gradients + (size_t)slice * count * LANES, count, gradient);
}

// Rows of the Jacobian, d(E/N), dF or d(W/N) by the numbers of the model, of structures of one chunk after `forward`. A row is
// (structure, what): 0 the energy, 1 + 3 i + x a force, -1 - ab a virial. `seeds` is zero before and after, by group: lambda of
// the chunk's atoms, then eps and Lambda of the part's structures.
KERNEL(jacobian)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, int chunk, const REAL* memory, int scratch_size, REAL* scratch,
                 int n_structures, const int* requests, int seed_size, REAL* seeds, REAL* gradients, double* sums, float* out)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    const int group = GROUP_IN_GRID(), count = m.count();
    const int *chunk_start = g.chunks + 3 * chunk, *chunk_end = chunk_start + 3;
    const int first_atom = g.first_atoms[chunk_start[2]], n_atoms = g.first_atoms[chunk_end[2]] - first_atom;
    REAL* own = scratch + (size_t)group * scratch_size;
    REAL *lambda = seeds + (size_t)group * seed_size, *eps = lambda + 4 * (size_t)n_atoms, *Lambda = eps + n_structures;
    REAL* gradient = gradients + (size_t)group * count * LANES;
    double* total = sums + (size_t)group * count;
    FOR_EACH_GROUP(row, begin, end)
    {
        const int s = requests[2 * row], what = requests[2 * row + 1], start = g.first_atoms[s];
        const REAL per_atom = (REAL)(1.0 / (g.first_atoms[s + 1] - start));
        REAL* seed = what == 0 ? eps + s : what > 0 ? lambda + 4 * (size_t)(start - first_atom + (what - 1) / 3) + (what - 1) % 3
                                                     : Lambda + (size_t)(-1 - what) * n_structures + s;
        // a shear component is the mean of two
        ONE_LANE *seed = what > 0 ? (REAL)1 : what < -3 ? (REAL)0.5 * per_atom : per_atom;
        for (int p = 0; p < count; ++p) store(gradient + (size_t)p * LANES, broadcast(0));
        FOR_LANE_ELEMENTS(p, count) total[p] = 0;
        GROUP_SYNC();
        for (int bundle = chunk_start[0]; bundle < chunk_end[0]; ++bundle) {
            const int first = g.bundles[2 * bundle], n = g.bundles[2 * bundle + 1];
            // structures of a bundle are in order
            if (g.structures[first * LANES] > s || g.structures[(first + n) * LANES - 1] < s) continue;
            BY_DEGREE(backward_bundle<L>(m, g, first, n, memory + (size_t)(first - chunk_start[1]) * BatchMemory<L>::rows(m) * LANES, own,
                                         {eps, lambda - 4 * (size_t)first_atom, what < 0 ? Lambda : nullptr, n_structures}, gradient))
        }
        GROUP_SYNC();
        add_gradient(gradient, count, total);
        GROUP_SYNC();
        FOR_LANE_ELEMENTS(p, count) out[(size_t)row * count + p] = (float)total[p];
        ONE_LANE *seed = 0;
        GROUP_SYNC();
    }
}
