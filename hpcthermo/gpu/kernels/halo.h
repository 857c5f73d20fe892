// Rows to and from ghost atoms, and the sums an engine needs over the atoms of a rank.
//
//   forward   ghost row = owner's row (+ image @ cell for positions), packed in the order of sending
//   reverse   owner's row += rows of its copies, each owner summed by one thread in a fixed order
//   begin     what a force call finds ready: packed rows, zeros, and how far atoms have moved
//
// Sums run over chunks of CHUNK rows, one thread each, so that they do not depend on the machine's
// order of threads; the caller adds the partial results.
#include "portable.h"
#include "packing.h"

#define CHUNK 512

// Copies i in the order of sending; those in [own_begin, own_end) are this rank's own ghosts own_ghost, own_ghost + 1,
// ..., rows n_owned + ghost of a field; the others are rows i of a message.
DEVICE double* copy_row(int i, int own_begin, int own_end, int own_ghost, int columns, double* message, int n_owned,
                        double* field)
{
    if (i < own_begin || i >= own_end) return message + (size_t)columns * i;
    return field + (size_t)columns * (n_owned + own_ghost + i - own_begin);
}

// copy i = field[index[i]], rows of `columns` values
KERNEL(collect_rows)(int begin, int end, const int* index, int own_begin, int own_end, int own_ghost, int columns,
                    double* message, int n_owned, double* field)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const double* from = field + (size_t)columns * index[i];
        double* to = copy_row(i, own_begin, own_end, own_ghost, columns, message, n_owned, field);
        for (int c = 0; c < columns; ++c) to[c] = from[c];
    }
}

// copy i = positions[index[i]] + shifts[i]
KERNEL(gather_positions)(int begin, int end, const int* index, int own_begin, int own_end, int own_ghost,
                         const double* shifts, double* message, int n_owned, double* positions)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const double* from = positions + 3 * (size_t)index[i];
        double* to = copy_row(i, own_begin, own_end, own_ghost, 3, message, n_owned, positions);
        for (int a = 0; a < 3; ++a) to[a] = from[a] + shifts[3 * (size_t)i + a];
    }
}

// field[owners[o]] += sum of the copies rows[k], k in [starts[o], starts[o + 1])
KERNEL(add_rows)(int begin, int end, const int* owners, const int* starts, const int* rows, int own_begin, int own_end,
                 int own_ghost, int columns, const double* message, int n_owned, double* field)
{
    FOR_EACH_THREAD(o, begin, end)
    {
        double* to = field + (size_t)columns * owners[o];
        for (int k = starts[o]; k < starts[o + 1]; ++k) {
            const int i = rows[k];
            const double* from = i < own_begin || i >= own_end
                ? message + (size_t)columns * i
                : field + (size_t)columns * (n_owned + own_ghost + i - own_begin);
            for (int c = 0; c < columns; ++c) to[c] += from[c];
        }
    }
}

// What a force call begins with, for each owned atom: its packed row, zero energy and force; zero in the n_more values
// of `more`; and the largest |r - r_reference D|^2 of all atoms in largest[slot], NOT_FINITE where a position is not a
// number. The other slot is made ready for the next call.
#define NOT_FINITE 1e300
KERNEL(begin_owned)(int begin, int end, int n_owned, int n_atoms, const double* positions, const int* types,
                    const double* reference, const double* deformation, const double* frame, Position* packed,
                    double* energies, double* forces, int n_more, double* more, int slot, double* largest)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        if (i == 0) largest[1 - slot] = 0;
        if (i < n_more) more[i] = 0;
        if (i >= n_owned) continue;
        const double* r = positions + 3 * (size_t)i;
        const double* s = reference + 3 * (size_t)i;
        double d2 = 0;
        for (int a = 0; a < 3; ++a) {
            const double d = r[a] - (s[0] * deformation[a] + s[1] * deformation[3 + a] + s[2] * deformation[6 + a]);
            d2 += d * d;
        }
        atomic_maximum(largest + slot, d2 < NOT_FINITE ? d2 : NOT_FINITE);
        packed[i] = packed_position(i, n_atoms, positions, types, frame);
        energies[i] = 0;
        for (int a = 0; a < 4; ++a) forces[4 * (size_t)i + a] = 0;
    }
}

// the same for ghosts, which have no energy; the force row n_atoms takes what padding slots scatter
KERNEL(begin_ghosts)(int begin, int end, int n_atoms, const double* positions, const int* types, const double* frame,
                     Position* packed, double* forces)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        packed[i] = packed_position(i, n_atoms, positions, types, frame);
        for (int a = 0; a < 4; ++a) forces[4 * (size_t)i + a] = 0;
    }
}

// the force columns of virial rows, (W_xb, W_yb, W_zb, F_b) at 4 b, go to the force rows
KERNEL(settle_forces)(int begin, int end, const double* virials, double* forces)
{
    FOR_EACH_THREAD(i, begin, end)
        for (int b = 0; b < 3; ++b) forces[4 * (size_t)i + b] += virials[12 * (size_t)i + 4 * b + 3];
}

// sum of r_a F_b of each chunk at 3 a + b; rows of r have 3 values, rows of F 4
KERNEL(outer_sum)(int begin, int end, int n_rows, const double* vectors, const double* forces, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int last = (chunk + 1) * CHUNK < n_rows ? (chunk + 1) * CHUNK : n_rows;
        double sum[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
        for (int i = chunk * CHUNK; i < last; ++i)
            for (int a = 0; a < 3; ++a)
                for (int b = 0; b < 3; ++b) sum[3 * a + b] += vectors[3 * (size_t)i + a] * forces[4 * (size_t)i + b];
        for (int c = 0; c < 9; ++c) partial[9 * (size_t)chunk + c] = sum[c];
    }
}

// sum of m v^2 / 2 of each chunk
KERNEL(kinetic_sum)(int begin, int end, int n_atoms, const double* velocities, const int* types, const double* masses,
                    double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int last = (chunk + 1) * CHUNK < n_atoms ? (chunk + 1) * CHUNK : n_atoms;
        double sum = 0;
        for (int i = chunk * CHUNK; i < last; ++i) {
            const double* v = velocities + 3 * (size_t)i;
            sum += 0.5 * masses[types[i]] * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        }
        partial[chunk] = sum;
    }
}
