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
    const double steps = 1.0 / frame[3];
    FOR_EACH_THREAD(i, begin, end)
    {
        Position p;
        double r[3];
        for (int a = 0; a < 3; ++a) r[a] = i < n_atoms ? positions[3 * (size_t)i + a] - frame[a] : frame[4];
        if (sizeof(REAL) == 4) {
            // round half up, the same on both machines
            p.x = (decltype(p.x))floor(r[0] * steps + 0.5);
            p.y = (decltype(p.y))floor(r[1] * steps + 0.5);
            p.z = (decltype(p.z))floor(r[2] * steps + 0.5);
        } else {
            p.x = (decltype(p.x))r[0];
            p.y = (decltype(p.y))r[1];
            p.z = (decltype(p.z))r[2];
        }
        p.type = (decltype(p.type))(i < n_atoms ? types[i] : 0);
        packed[i] = p;
    }
}

// Atoms in cell order, relative to the grid's origin, for contiguous loads; slot_of_atom inverts cell_atoms.
KERNEL(arrange_sweep)(int begin, int end, const int* cell_atoms, const double* positions, const int* types, const int* layers,
                      const double* grid_box, REAL* x, REAL* y, REAL* z, REAL* type, REAL* layer, int* slot_of_atom)
{
    FOR_EACH_THREAD(k, begin, end)
    {
        const int i = cell_atoms[k];
        const double* r = positions + 3 * (size_t)i;
        x[k] = (REAL)(r[0] - grid_box[0]);
        y[k] = (REAL)(r[1] - grid_box[1]);
        z[k] = (REAL)(r[2] - grid_box[2]);
        type[k] = (REAL)types[i];
        layer[k] = (REAL)layers[i];
        slot_of_atom[i] = k;
    }
}

// Distance from a coordinate to the cells [cell, cell] of an axis, 0 inside.
DEVICE REAL distance_to_cell(const CellGrid& grid, int axis, int cell, REAL coordinate)
{
    const REAL size = (REAL)(1.0 / grid.inverse_size[axis]);
    const REAL below = cell * size - coordinate, above = coordinate - (cell + 1) * size;
    return below > 0 ? below : (above > 0 ? above : 0);
}

// One group per owned atom. First one sweep over the columns of cells the cutoff sphere touches collects
// all candidates with their squared distance; then each type and shell takes its own from them.
// Cutoffs carry the rounding margin of REAL. needed: the largest row met (with a smaller stride, allocate again).
KERNEL(build_neighbors)(int begin, int end, int n_types, const double* cutoff_squared, double largest_cutoff,
                        double inner_cutoff_squared, int different_layers, const double* grid_box, const int* grid_count,
                        const int* cell_start, const int* cell_atoms, const int* slot_of_atom,
                        const REAL* x, const REAL* y, const REAL* z, const REAL* type, const REAL* layer,
                        int padding_index, int stride, REAL* real_scratch, int* int_scratch,
                        int* neighbors, int* segments, int* inner, int* needed)
{
    CellGrid grid;
    for (int a = 0; a < 3; ++a) {
        grid.origin[a] = 0;
        grid.inverse_size[a] = grid_box[3 + a];
        grid.count[a] = grid_count[a];
    }
    REAL* found_r2 = real_scratch + (size_t)GROUP_IN_GRID() * 2 * stride;
    REAL* found_type = found_r2 + stride;
    int* found_atom = int_scratch + (size_t)GROUP_IN_GRID() * stride;
    FOR_EACH_GROUP(i, begin, end)
    {
        const int self = slot_of_atom[i];
        const REAL centre[3] = {x[self], y[self], z[self]};
        const REAL reach = (REAL)largest_cutoff, reach2 = reach * reach;
        int found = 0;
        const int first_x = cell_coordinate(grid, centre[0] - reach, 0), last_x = cell_coordinate(grid, centre[0] + reach, 0);
        const int first_y = cell_coordinate(grid, centre[1] - reach, 1), last_y = cell_coordinate(grid, centre[1] + reach, 1);
        for (int cx = first_x; cx <= last_x; ++cx) {
            const REAL dx = distance_to_cell(grid, 0, cx, centre[0]);
            for (int cy = first_y; cy <= last_y; ++cy) {
                const REAL dy = distance_to_cell(grid, 1, cy, centre[1]);
                const REAL height2 = reach2 * (REAL)1.0001 - dx * dx - dy * dy;
                if (height2 <= 0) continue;
                const REAL height = sqrt(height2);
                const size_t column = ((size_t)cx * grid.count[1] + cy) * grid.count[2];
                const int from = cell_start[column + cell_coordinate(grid, centre[2] - height, 2)];
                const int to = cell_start[column + cell_coordinate(grid, centre[2] + height, 2) + 1];
                for (int k = from; k < to; k += LANES) {
                    const lanes rx = load(x + k) - centre[0], ry = load(y + k) - centre[1], rz = load(z + k) - centre[2];
                    const lanes r2 = rx * rx + ry * ry + rz * rz, lane = lane_numbers();
                    lane_mask in = (r2 < reach2) & (lane < (REAL)(to - k)) & (lane != (REAL)(self - k));
                    if (different_layers) in = in & (load(layer + k) != layer[self]);
                    const lane_set kept = lane_set_of(in);
                    if (found + LANES <= stride) {
                        append(found_r2 + found, kept, r2);
                        append(found_type + found, kept, load(type + k));
                        append(found_atom + found, kept, cell_atoms + k);
                    }
                    found += count_lanes(kept);
                }
            }
        }
        GROUP_SYNC();
        // a row ends with a whole vector of room, so that appending needs no bounds
        ONE_LANE atomic_maximum(needed, found + (n_types + 1) * LANES);
        if (found + (n_types + 1) * LANES > stride) continue;
        int* row = neighbors + (size_t)i * stride;
        const int ti = (int)type[self];
        int used = 0;
        for (int tj = 0; tj < n_types; ++tj) {
            ONE_LANE segments[(size_t)i * (n_types + 1) + tj] = used;
            const int start = used;
            const REAL limit = (REAL)cutoff_squared[ti * n_types + tj], near = (REAL)inner_cutoff_squared;
            for (int shell = near > 0 ? 0 : 1; shell < 2; ++shell) {
                for (int k = 0; k < found; k += LANES) {
                    const lanes r2 = load(found_r2 + k);
                    lane_mask in = (load(found_type + k) == (REAL)tj) & (r2 < limit) & (lane_numbers() < (REAL)(found - k));
                    in = in & (shell == 0 ? r2 < near : r2 >= near);
                    const lane_set kept = lane_set_of(in);
                    append(row + used, kept, found_atom + k);
                    used += count_lanes(kept);
                }
                if (shell == 0) ONE_LANE inner[(size_t)i * n_types + tj] = (used - start + LANES - 1) / LANES * LANES;
            }
            if (!(near > 0)) ONE_LANE inner[(size_t)i * n_types + tj] = 0;
            FOR_LANE_ELEMENTS(l, LANES) row[used + l] = padding_index;
            used = (used + LANES - 1) / LANES * LANES;
            GROUP_SYNC();
        }
        ONE_LANE segments[(size_t)i * (n_types + 1) + n_types] = used;
        GROUP_SYNC();
    }
}
