// NEP training on a CPU: all passes over one chunk of structures after the other, while what belongs to it is in the cache.
// A GPU takes the passes one by one over all bundles (nep_training_kernels.h).
#include "nep_training_kernels.h"

// Errors and gradient of chunks [begin, end); no gradient where there is no memory for it.
KERNEL(loss_and_gradient)(int begin, int end, MODEL_ARGUMENTS, GEOMETRY_ARGUMENTS, REAL* memory, REAL* scratch, const double* label_energies,
                          const double* label_forces, const double* label_virials, const double* weights, const double* atom_weights,
                          double output_bias, int n_structures, double* energies, double* forces, double* virials, REAL* eps, REAL* lambda,
                          REAL* Lambda, double* errors, REAL* gradient_by_lane, double* gradient)
{
    const TrainingModel m = MODEL;
    const TrainingGeometry g = GEOMETRY;
    const Labels labels = {label_energies, label_forces, label_virials, weights, atom_weights, output_bias};
    const Site site = {energies, forces, virials};
    for (int chunk = begin; chunk < end; ++chunk) {
        const int *start = g.chunks + 3 * chunk, *next = start + 3;
        const int first_atom = g.first_atoms[start[2]], last_atom = g.first_atoms[next[2]];
        memset(forces + 4 * (size_t)first_atom, 0, sizeof(double) * 4 * (last_atom - first_atom));
        for (int s = start[2]; s < next[2]; ++s) {
            energies[s] = 0;
            for (int a = 0; a < 6; ++a) virials[6 * (size_t)s + a] = 0;
        }
        BY_DEGREE({
            const size_t step = (size_t)BatchMemory<L>::rows(m) * LANES;
            for (int bundle = start[0]; bundle < next[0]; ++bundle) {
                const int first = g.bundles[2 * bundle];
                forward_bundle<L>(m, g, first, g.bundles[2 * bundle + 1], memory + (first - start[1]) * step, scratch, site);
            }
            for (int s = start[2]; s < next[2]; ++s)
                residuals(g, labels, s, site, eps, lambda, m.with_virial ? Lambda : nullptr, n_structures, errors);
            if (gradient_by_lane) {
                memset(gradient_by_lane, 0, sizeof(REAL) * LANES * m.count());
                for (int bundle = start[0]; bundle < next[0]; ++bundle) {
                    const int first = g.bundles[2 * bundle];
                    backward_bundle<L>(m, g, first, g.bundles[2 * bundle + 1], memory + (first - start[1]) * step, scratch,
                                       {eps, lambda, m.with_virial ? Lambda : nullptr, n_structures}, gradient_by_lane);
                }
                add_gradient(gradient_by_lane, m.count(), gradient);
            }
        })
    }
}
