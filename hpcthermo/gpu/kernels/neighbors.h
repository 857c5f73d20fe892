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
//
// Rows may also belong to tiles of TILE_ATOMS atoms that stand close together; their neighbours are those of any member.
#include "portable.h"
#include "packing.h"

#define TILE_ATOMS 4  // neighbors.TILE_ATOMS
#define CHUNK 512     // neighbors._CHUNK

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

// smallest and largest coordinates of each chunk of CHUNK atoms: x, y, z, x, y, z
KERNEL(bounding_boxes)(int begin, int end, int n_atoms, const double* positions, double* boxes)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int first = chunk * CHUNK, last = first + CHUNK < n_atoms ? first + CHUNK : n_atoms;
        double low[3], high[3];
        for (int a = 0; a < 3; ++a) low[a] = high[a] = positions[3 * (size_t)first + a];
        for (int i = first + 1; i < last; ++i)
            for (int a = 0; a < 3; ++a) {
                const double r = positions[3 * (size_t)i + a];
                low[a] = r < low[a] ? r : low[a];
                high[a] = r > high[a] ? r : high[a];
            }
        for (int a = 0; a < 3; ++a) {
            boxes[6 * (size_t)chunk + a] = low[a];
            boxes[6 * (size_t)chunk + 3 + a] = high[a];
        }
    }
}

// ---- atoms sorted by cell: count, (sum on the host side), place, order ------------------------------
// the cell of each atom; cell_size[c + 1] (zero before) becomes the number of atoms of cell c
KERNEL(assign_cells)(int begin, int end, const double* positions, const double* grid_box, const int* grid_count, int* cell,
                     int* cell_size)
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
        atomic_increment(cell_size + cell[i] + 1);
    }
}

// next[c]: the first free place of cell c, before and after
KERNEL(place_atoms)(int begin, int end, const int* cell, int* next, int* cell_atoms)
{
    FOR_EACH_THREAD(i, begin, end) cell_atoms[atomic_increment(next + cell[i])] = i;
}

// atoms of a cell by number, in whatever order they were placed
KERNEL(order_cells)(int begin, int end, const int* cell_start, int* cell_atoms)
{
    FOR_EACH_THREAD(c, begin, end)
        for (int k = cell_start[c] + 1; k < cell_start[c + 1]; ++k) {
            const int atom = cell_atoms[k];
            int to = k;
            for (; to > cell_start[c] && cell_atoms[to - 1] > atom; --to) cell_atoms[to] = cell_atoms[to - 1];
            cell_atoms[to] = atom;
        }
}

// positions to packed rows; row n_atoms is the padding row
KERNEL(pack_positions)(int begin, int end, const double* positions, const int* types, const double* frame,
                       int n_atoms, Position* packed)
{
    FOR_EACH_THREAD(i, begin, end) packed[i] = packed_position(i, n_atoms, positions, types, frame);
}

// Atoms in cell order, relative to the grid's origin, for contiguous loads; slot_of_atom inverts cell_atoms.
// layer: null where layers do not matter
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
        if (layer) layer[k] = (REAL)layers[i];
        slot_of_atom[i] = k;
    }
}

// ---- rows -------------------------------------------------------------------------------------------
// Distance from the interval [low, high] to a cell of an axis, 0 where they overlap.
DEVICE REAL distance_to_cell(const CellGrid& grid, int axis, int cell, REAL low, REAL high)
{
    const REAL size = (REAL)(1.0 / grid.inverse_size[axis]);
    const REAL below = cell * size - high, above = low - (cell + 1) * size;
    return below > 0 ? below : (above > 0 ? above : 0);
}

struct SweptAtoms {
    const REAL *x, *y, *z, *type, *layer;  // layer: null where layers do not matter
    const int *cell_start, *atom;
};

// Scratch of one row: candidates with r^2 (to the nearest member), type and number, and one segment in two shells.
struct RowScratch {
    REAL *r2, *type;
    int *atom, *near, *far;
    int capacity;
};

// All atoms closer than `reach` to one of the members: one sweep over the columns of cells that their box, widened
// by `reach`, touches. A single member is not its own candidate. Candidates beyond the capacity are only counted.
template <int MEMBERS>
DEVICE int find_candidates(const CellGrid& grid, const SweptAtoms& swept, const int* members, REAL reach, const RowScratch& found)
{
    REAL centre[MEMBERS][3], low[3], high[3];
    UNROLL for (int m = 0; m < MEMBERS; ++m) {
        centre[m][0] = swept.x[members[m]];
        centre[m][1] = swept.y[members[m]];
        centre[m][2] = swept.z[members[m]];
        for (int a = 0; a < 3; ++a) {
            low[a] = m == 0 || centre[m][a] < low[a] ? centre[m][a] : low[a];
            high[a] = m == 0 || centre[m][a] > high[a] ? centre[m][a] : high[a];
        }
    }
    const REAL reach2 = reach * reach;
    int count = 0;
    const int first_x = cell_coordinate(grid, low[0] - reach, 0), last_x = cell_coordinate(grid, high[0] + reach, 0);
    const int first_y = cell_coordinate(grid, low[1] - reach, 1), last_y = cell_coordinate(grid, high[1] + reach, 1);
    for (int cx = first_x; cx <= last_x; ++cx) {
        const REAL dx = distance_to_cell(grid, 0, cx, low[0], high[0]);
        for (int cy = first_y; cy <= last_y; ++cy) {
            const REAL dy = distance_to_cell(grid, 1, cy, low[1], high[1]);
            const REAL height2 = reach2 * (REAL)1.0001 - dx * dx - dy * dy;
            if (height2 <= 0) continue;
            const REAL height = sqrt(height2);
            const size_t column = ((size_t)cx * grid.count[1] + cy) * grid.count[2];
            const int from = swept.cell_start[column + cell_coordinate(grid, low[2] - height, 2)];
            const int to = swept.cell_start[column + cell_coordinate(grid, high[2] + height, 2) + 1];
            for (int k = from; k < to; k += LANES) {
                const lanes x = load(swept.x + k), y = load(swept.y + k), z = load(swept.z + k), lane = lane_numbers();
                lanes nearest = broadcast(0);
                UNROLL for (int m = 0; m < MEMBERS; ++m) {
                    const lanes rx = x - centre[m][0], ry = y - centre[m][1], rz = z - centre[m][2];
                    const lanes r2 = rx * rx + ry * ry + rz * rz;
                    nearest = m == 0 ? r2 : select(r2 < nearest, r2, nearest);
                }
                lane_mask in = (nearest < reach2) & (lane < (REAL)(to - k));
                if (MEMBERS == 1) in = in & (lane != (REAL)(members[0] - k));
                if (swept.layer) in = in & (load(swept.layer + k) != swept.layer[members[0]]);
                const lane_set kept = lane_set_of(in);
                if (count + LANES <= found.capacity) {
                    append(found.r2 + count, kept, nearest);
                    append(found.type + count, kept, load(swept.type + k));
                    append(found.atom + count, kept, swept.atom + k);
                }
                count += count_lanes(kept);
            }
        }
    }
    GROUP_SYNC();
    return count;
}

// One type's segment at row + start: candidates within the cutoff, those within the inner cutoff first, padding.
// Written if it ends within `stride`. Returns its end; near_slots: padded number of slots with near ones.
DEVICE int fill_segment(const RowScratch& found, int count, int type, REAL cutoff2, REAL inner2, int padding_index,
                        int* row, int stride, int start, int& near_slots)
{
    int n_near = 0, n_far = 0;
    for (int k = 0; k < count && cutoff2 > 0; k += LANES) {
        const lanes r2 = load(found.r2 + k);
        const lane_mask in = (load(found.type + k) == (REAL)type) & (r2 < cutoff2) & (lane_numbers() < (REAL)(count - k));
        if (inner2 > 0) {
            const lane_set near = lane_set_of(in & (r2 < inner2));
            append(found.near + n_near, near, found.atom + k);
            n_near += count_lanes(near);
        }
        const lane_set far = lane_set_of(in & (r2 >= inner2));
        append(found.far + n_far, far, found.atom + k);
        n_far += count_lanes(far);
    }
    GROUP_SYNC();
    near_slots = (n_near + LANES - 1) / LANES * LANES;
    const int beyond = start + n_near, used = beyond + n_far, end = (used + LANES - 1) / LANES * LANES;
    if (end <= stride) {
        FOR_LANE_ELEMENTS(k, n_near) row[start + k] = found.near[k];
        FOR_LANE_ELEMENTS(k, n_far) row[beyond + k] = found.far[k];
        FOR_LANE_ELEMENTS(k, end - used) row[used + k] = padding_index;
    }
    GROUP_SYNC();
    return end;
}

// One group per row. A row belongs to one atom, or to the TILE_ATOMS atoms of a tile (`members`, else null), which
// are of one layer where layers matter. Cutoffs carry the rounding margin of REAL.
// needed: slots of the longest row, most candidates of a row; whatever does not fit is only counted.
KERNEL(build_neighbors)(int begin, int end, const int* members, int n_types, const double* cutoff_squared, double largest_cutoff,
                        double inner_cutoff_squared, const double* grid_box, const int* grid_count,
                        const int* cell_start, const int* cell_atoms, const int* slot_of_atom,
                        const REAL* x, const REAL* y, const REAL* z, const REAL* type, const REAL* layer,
                        int padding_index, int capacity, REAL* real_scratch, int* int_scratch,
                        int stride, int* neighbors, int* segments, int* inner, int* needed)
{
    CellGrid grid;
    for (int a = 0; a < 3; ++a) {
        grid.origin[a] = 0;
        grid.inverse_size[a] = grid_box[3 + a];
        grid.count[a] = grid_count[a];
    }
    const SweptAtoms swept = {x, y, z, type, layer, cell_start, cell_atoms};
    REAL* reals = real_scratch + (size_t)GROUP_IN_GRID() * 2 * capacity;
    int* integers = int_scratch + (size_t)GROUP_IN_GRID() * 3 * capacity;
    const RowScratch found = {reals, reals + capacity, integers, integers + capacity, integers + 2 * capacity, capacity};
    FOR_EACH_GROUP(item, begin, end)
    {
        int slots[TILE_ATOMS], count;
        const int n_members = members ? TILE_ATOMS : 1;
        if (members) {
            for (int m = 0; m < TILE_ATOMS; ++m) slots[m] = slot_of_atom[members[(size_t)item * TILE_ATOMS + m]];
            count = find_candidates<TILE_ATOMS>(grid, swept, slots, (REAL)largest_cutoff, found);
        } else {
            slots[0] = slot_of_atom[item];
            count = find_candidates<1>(grid, swept, slots, (REAL)largest_cutoff, found);
        }
        ONE_LANE atomic_maximum(needed + 1, count + LANES);
        if (count + LANES > capacity) continue;
        int* row = neighbors + (size_t)item * stride;
        int used = 0, near_slots;
        for (int tj = 0; tj < n_types; ++tj) {
            ONE_LANE segments[(size_t)item * (n_types + 1) + tj] = used;
            REAL cutoff2 = 0;  // of any member
            for (int m = 0; m < n_members; ++m) {
                const REAL own = (REAL)cutoff_squared[(int)type[slots[m]] * n_types + tj];
                cutoff2 = own > cutoff2 ? own : cutoff2;
            }
            used = fill_segment(found, count, tj, cutoff2, (REAL)inner_cutoff_squared, padding_index, row, stride,
                                used, near_slots);
            ONE_LANE inner[(size_t)item * n_types + tj] = near_slots;
        }
        ONE_LANE segments[(size_t)item * (n_types + 1) + n_types] = used;
        ONE_LANE atomic_maximum(needed, used);
        GROUP_SYNC();
    }
}
