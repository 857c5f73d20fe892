// Verlet lists from a cell grid.
//
// Every owned atom i gets one row of `stride` int32 slots. Within the row the neighbours j (owned or
// ghost, r_ij < cutoff) stand sorted by type; the segment of each type is padded to a multiple of
// LANES with `padding_index` (a position row far from every atom):
//
//   row i = | type 0 ... pad | type 1 ... pad | ... |     segments[i (T+1) + t] = start of type t
//
// Inside a segment, neighbours closer than inner_cutoff come first; inner[i T + t] is the number of
// slots, rounded up to LANES, that can hold one of them.
#include "portable.h"

struct CellGrid {
    double origin[3], inverse_size[3];
    int count[3];
};

DEVICE int cell_coordinate(const CellGrid& grid, double x, int axis)
{
    const double c = (x - grid.origin[axis]) * grid.inverse_size[axis];
    const int cell = c > 0 ? (c < grid.count[axis] ? (int)c : grid.count[axis] - 1) : 0;
    return cell < grid.count[axis] ? cell : grid.count[axis] - 1;
}

// the cell of each atom
KERNEL(assign_cells)(int begin, int end, const double* positions, const double* grid_box, const int* grid_count, int* cell)
{
    CellGrid grid;
    for (int a = 0; a < 3; ++a) {
        grid.origin[a] = grid_box[a];
        grid.inverse_size[a] = grid_box[3 + a];
        grid.count[a] = grid_count[a];
    }
    FOR_EACH_THREAD(i, begin, end)
    {
        const double* r = positions + 3 * (size_t)i;
        cell[i] = (cell_coordinate(grid, r[0], 0) * grid.count[1] + cell_coordinate(grid, r[1], 1)) * grid.count[2]
                  + cell_coordinate(grid, r[2], 2);
    }
}

// positions to packed rows; row n_atoms is the padding row
KERNEL(pack_positions)(int begin, int end, const double* positions, const int* types, const double* frame,
                       int n_atoms, Position* packed)
{
    // frame: origin (3), scale (length of one integer step), padding coordinate
    FOR_EACH_THREAD(i, begin, end)
    {
        Position p;
        double r[3];
        for (int a = 0; a < 3; ++a) r[a] = i < n_atoms ? positions[3 * (size_t)i + a] - frame[a] : frame[4];
        if (sizeof(REAL) == 4) {
            // round half up, the same on both machines
            p.x = (decltype(p.x))floor(r[0] / frame[3] + 0.5);
            p.y = (decltype(p.y))floor(r[1] / frame[3] + 0.5);
            p.z = (decltype(p.z))floor(r[2] / frame[3] + 0.5);
        } else {
            p.x = (decltype(p.x))r[0];
            p.y = (decltype(p.y))r[1];
            p.z = (decltype(p.z))r[2];
        }
        p.type = (decltype(p.type))(i < n_atoms ? types[i] : 0);
        packed[i] = p;
    }
}

// One thread per owned atom. cell_start/cell_atoms: atoms of each cell in ascending order of row.
// needed: the largest row length met (a caller with a smaller stride allocates again).
KERNEL(build_neighbors)(int begin, int end, const double* positions, const int* types, const int* layers, int n_types,
                        const double* cutoff_squared, double inner_cutoff_squared, int different_layers,
                        const double* grid_box, const int* grid_count, const int* grid_reach,
                        const int* cell_start, const int* cell_atoms, int padding_index, int lanes_of_list,
                        int stride, int* neighbors, int* segments, int* inner, int* needed)
{
    CellGrid grid;
    for (int a = 0; a < 3; ++a) {
        grid.origin[a] = grid_box[a];
        grid.inverse_size[a] = grid_box[3 + a];
        grid.count[a] = grid_count[a];
    }
    FOR_EACH_THREAD(i, begin, end)
    {
        const double* ri = positions + 3 * (size_t)i;
        const int ti = types[i];
        int low[3], high[3];
        for (int a = 0; a < 3; ++a) {
            const int c = cell_coordinate(grid, ri[a], a);
            low[a] = c - grid_reach[a] > 0 ? c - grid_reach[a] : 0;
            high[a] = c + grid_reach[a] < grid.count[a] - 1 ? c + grid_reach[a] : grid.count[a] - 1;
        }
        int* row = neighbors + (size_t)i * stride;
        int used = 0;
        for (int tj = 0; tj < n_types; ++tj) {
            segments[(size_t)i * (n_types + 1) + tj] = used;
            const double limit = cutoff_squared[ti * n_types + tj];
            // inner neighbours first, then the others
            for (int shell = 0; shell < 2; ++shell) {
                const double from = shell == 0 ? -1.0 : inner_cutoff_squared;
                const double to = shell == 0 ? (inner_cutoff_squared < limit ? inner_cutoff_squared : limit) : limit;
                if (from < to)
                    for (int cx = low[0]; cx <= high[0]; ++cx)
                        for (int cy = low[1]; cy <= high[1]; ++cy) {
                            const size_t line = ((size_t)cx * grid.count[1] + cy) * grid.count[2];
                            for (int k = cell_start[line + low[2]]; k < cell_start[line + high[2] + 1]; ++k) {
                                const int j = cell_atoms[k];
                                if (types[j] != tj || j == i) continue;
                                if (different_layers && layers[j] == layers[i]) continue;
                                const double* rj = positions + 3 * (size_t)j;
                                const double dx = rj[0] - ri[0], dy = rj[1] - ri[1], dz = rj[2] - ri[2];
                                const double r2 = dx * dx + dy * dy + dz * dz;
                                if (r2 >= to || r2 < from) continue;
                                if (used < stride) row[used] = j;
                                ++used;
                            }
                        }
                if (shell == 0)
                    inner[(size_t)i * n_types + tj] =
                        (used - segments[(size_t)i * (n_types + 1) + tj] + lanes_of_list - 1) / lanes_of_list * lanes_of_list;
            }
            const int padded = (used + lanes_of_list - 1) / lanes_of_list * lanes_of_list;
            for (; used < padded; ++used)
                if (used < stride) row[used] = padding_index;
        }
        segments[(size_t)i * (n_types + 1) + n_types] = used;
        atomic_maximum(needed, used);
    }
}
