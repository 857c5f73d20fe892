// Embedded-atom potential, alloy and Finnis-Sinclair (Daw and Baskes, PRB 29, 6443 (1984)).
//
//   U_i = F_a(rho_i) + 1/2 sum_j phi_ab(r_ij),   rho_i = sum_j rho_ab(r_ij)         a, b: types of i, j
//   F_i = sum_j [F'_i rho'_ab + F'_j rho'_ba + phi'_ab] r_ij / r_ij,   r_ij = r_j - r_i
//   W_i = -sum_j [F'_j rho'_ba + phi'_ab / 2] r_ij (x) r_ij / r_ij
//
//   rho_ab   electron density at an atom of type a from one of type b        F'_i   dF_a/drho at rho_i
//
// An owned atom sees all its neighbours, so its density is whole without any exchange. Between the two kernels F' goes to
// the ghosts; then each pair is seen from both sides, and nothing is scattered (pair_sums.h).
//
// Functions of r are tables in t = (r/r_c)^2, so that neither a root nor a division is needed: f'(r)/r = 2 df/dt / r_c^2.
// They are 0 from the cutoff r_c on, which saves masks.
#include "portable.h"
#include "pair_sums.h"
#include "tables.h"

struct EamTables {
    int n_types, bits;           // 2^bits rows per binade of t
    REAL inverse_square;         // 1 / r_c^2
    const REAL* rows;            // [function][row]
    const int *density, *pair;   // function of rho_ab and of phi_ab, by [a][b]
    MEMBER const REAL* function(int number) const { return rows + (size_t)number * cubic_rows(bits) * CUBIC_ROW; }
    MEMBER const REAL* density_at(int a, int b) const { return function(density[a * n_types + b]); }
    MEMBER const REAL* pair_energy(int a, int b) const { return function(pair[a * n_types + b]); }
    MEMBER TablePlace place(lanes square) const { return table_place(square * inverse_square, bits); }
};

// F and dF/drho on n_cells intervals; in a straight line beyond both ends
struct Embedding {
    int n_cells;
    const double *rows, *cells_per_density;  // [type][cell][4], [type]
    MEMBER void operator()(int type, double density, double& energy, double& slope) const
    {
        const double scale = cells_per_density[type], t = density * scale;
        const int cell = t < 1 ? 0 : t < n_cells ? (int)t : n_cells - 1;
        const double* c = rows + ((size_t)type * n_cells + cell) * CUBIC_ROW;
        const double from = t - cell, x = from < 0 ? 0 : from > 1 ? 1 : from;
        const double slope_x = c[1] + x * (2 * c[2] + 3 * x * c[3]);
        energy = c[0] + x * (c[1] + x * (c[2] + x * c[3])) + (from - x) * slope_x;
        slope = slope_x * scale;
    }
};

// F_a(rho_i) to energies, F'_i to slopes
KERNEL(eam_density)(int begin, int end, const Position* packed, double scale, const int* neighbors, int stride,
                    const int* segments, int n_types, int bits, double inverse_square, const REAL* rows,
                    const int* density, const int* pair, int n_cells, const double* embedding_rows,
                    const double* cells_per_density, double* energies, double* slopes)
{
    const EamTables tables = {n_types, bits, (REAL)inverse_square, rows, density, pair};
    const Embedding embedding = {n_cells, embedding_rows, cells_per_density};
    FOR_EACH_GROUP(i, begin, end)
    {
        const Position centre = packed[i];
        const int* row = neighbors + (size_t)i * stride;
        const int* segment = segments + (size_t)i * (n_types + 1);
        const int a = type_of(centre);
        lanes sum = broadcast(0);
        for (int b = 0; b < n_types; ++b) {
            const REAL* table = tables.density_at(a, b);
            for (int slot = segment[b]; slot < segment[b + 1]; slot += LANES) {
                lanes x, y, z;
                load_displacements(packed, row + slot, centre, scale, x, y, z);
                const TablePlace place = tables.place(x * x + y * y + z * z);
                sum += cubic_of(table, place).value(place.x);
            }
        }
        const REAL density_sum = reduce_add(sum);
        ONE_LANE
        {
            double energy, slope;
            embedding(a, (double)density_sum, energy, slope);
            energies[i] += energy;
            slopes[i] = slope;
        }
    }
}

// A core finds the places of several vectors of neighbours before it reads their rows, and so has registers for the sums.
#define VECTORS_TOGETHER (HPCTHERMO_GPU ? 1 : 8)
#define SLOTS_TOGETHER (VECTORS_TOGETHER * LANES)

// slopes: F' of all rows, and a number for the row of padding slots
KERNEL(eam_force)(int begin, int end, const Position* packed, double scale, const double* positions, const int* neighbors,
                  int stride, const int* segments, int n_types, int bits, double inverse_square, const REAL* rows,
                  const int* density, const int* pair, const REAL* slopes,
                  double* energies, double* forces, double* virials, double* total_virial)
{
    const EamTables tables = {n_types, bits, (REAL)inverse_square, rows, density, pair};
    FOR_EACH_GROUP(i, begin, end)
    {
        const Position centre = packed[i];
        const int* row = neighbors + (size_t)i * stride;
        const int* segment = segments + (size_t)i * (n_types + 1);
        const int a = type_of(centre);
        const REAL own_slope = slopes[i];
        PairSums sums = no_pairs();
        for (int b = 0; b < n_types; ++b) {
            const REAL *here = tables.density_at(a, b), *there = tables.density_at(b, a), *pairs = tables.pair_energy(a, b);
            for (int slot = segment[b]; slot < segment[b + 1]; slot += SLOTS_TOGETHER) {
                const int left = (segment[b + 1] - slot) / LANES, count = left < VECTORS_TOGETHER ? left : VECTORS_TOGETHER;
                lanes displacement[VECTORS_TOGETHER][3];
                TablePlace places[VECTORS_TOGETHER];
                for (int v = 0; v < count; ++v) {
                    lanes* r = displacement[v];
                    load_displacements(packed, row + slot + v * LANES, centre, scale, r[0], r[1], r[2]);
                    places[v] = tables.place(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
                }
                for (int v = 0; v < count; ++v) {
                    const lanes* r = displacement[v];
                    const TablePlace& place = places[v];
                    const Cubic phi = cubic_of(pairs, place);
                    const lanes slope_here = cubic_of(here, place).slope(place.x);
                    const lanes slope_there = here == there ? slope_here : cubic_of(there, place).slope(place.x);
                    const lanes from_neighbor = gather(slopes, row + slot + v * LANES) * slope_there;
                    const lanes phi_slope = phi.slope(place.x), pull = phi_slope + own_slope * slope_here + from_neighbor;
                    const lanes weight = phi_slope + (REAL)2 * from_neighbor;
                    sums.energy += phi.value(place.x);
                    int ab = 0;
                    for (int c = 0; c < 3; ++c) {
                        sums.force[c] += pull * r[c];
                        const lanes weighted = weight * r[c];
                        for (int d = c; d < 3; ++d) sums.virial[ab++] += weighted * r[d];
                    }
                }
            }
        }
        const REAL per_distance = 2 * (REAL)inverse_square;  // f'(r)/r = 2 df/dt / r_c^2
        for (int c = 0; c < 3; ++c) sums.force[c] *= per_distance;
        for (int ab = 0; ab < 6; ++ab) sums.virial[ab] *= per_distance;
        put_sums(sums, i, positions + 3 * (size_t)i, energies, forces, virials, total_virial);
    }
}
