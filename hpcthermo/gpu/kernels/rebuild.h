// What a neighbour rebuild does with the owned atoms of a rank before lists are built (domain/rebuild.py, domain/halo.py).
//
//   s = r C^-1                                coordinates in the cell C, whose rows are the cell vectors
//   r <- r - n C,  n = floor(s)               wrapping, along periodic axes
//   cell = floor(s count)                     cells of space, in whose order atoms are stored
//   copies = { (i, n) : low <= s_i + n <= high }      by box: the brick of a rank, widened by the halo, and one n
//
// Coordinates are by axis, s[a n_atoms + i]. Products with matrices are fused multiply-adds, written out: so all
// machines and instruction sets find the same bits, and the same order of atoms.
#include "portable.h"

// atoms whose copies one thread finds, rebuild.COPY_CHUNK
#define COPY_CHUNK 64

// component a of v M
DEVICE double product(const double* v, const double* M, int a)
{
    return fma(v[2], M[6 + a], fma(v[1], M[3 + a], v[0] * M[a]));
}

KERNEL(fractional_coordinates)(int begin, int end, int n_atoms, const double* positions, const double* inverse,
                               double* fractional)
{
    FOR_EACH_THREAD(i, begin, end)
        for (int a = 0; a < 3; ++a) fractional[a * (size_t)n_atoms + i] = product(positions + 3 * (size_t)i, inverse, a);
}

// Atoms into the cell, n into images; s in [0, 1) along periodic axes. Atoms inside keep their bits.
KERNEL(wrap_atoms)(int begin, int end, int n_atoms, const double* cell, const double* inverse, const int* periodic,
                   double* positions, int* images, double* fractional)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        double *r = positions + 3 * (size_t)i, n[3];
        for (int a = 0; a < 3; ++a) {
            double s = product(r, inverse, a);
            n[a] = periodic[a] ? floor(s) : 0;
            s -= n[a];
            // s - floor(s) rounds to 1 for s just below 0: such an atom stays where it is and counts as s = 0
            if (periodic[a] && s >= 1) {
                n[a] += 1;
                s = 0;
            }
            fractional[a * (size_t)n_atoms + i] = s;
        }
        if (n[0] == 0 && n[1] == 0 && n[2] == 0) continue;
        for (int a = 0; a < 3; ++a) {
            r[a] -= product(n, cell, a);
            images[3 * (size_t)i + a] += (int)n[a];
        }
    }
}

// Cell of each atom, cells[a n_atoms + i], and whether it is within the depth of a face of the brick [lower, upper).
// brick: lower (3), upper (3), depth (3), cells along each axis (3)
KERNEL(sort_into_cells)(int begin, int end, int n_atoms, const double* fractional, const double* brick, int64_t* cells,
                        int64_t* boundary)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        bool interior = true;
        for (int a = 0; a < 3; ++a) {
            const double s = fractional[a * (size_t)n_atoms + i];
            interior = interior && s - brick[a] > brick[6 + a] && brick[3 + a] - s > brick[6 + a];
            cells[a * (size_t)n_atoms + i] = (int64_t)floor(s * brick[9 + a]);
        }
        boundary[i] = !interior;
    }
}

// rows of `box`: n (3), low (3), high (3)
DEVICE bool is_copied(const double* fractional, int n_atoms, const double* box, int i)
{
    bool inside = true;
    for (int a = 0; a < 3; ++a) {
        const double s = fractional[a * (size_t)n_atoms + i] + box[a];
        inside = inside & (s >= box[3 + a]) & (s <= box[6 + a]);
    }
    return inside;
}

// copies[box n_chunks + chunk] = atoms of the chunk with a copy in the box
KERNEL(count_copies)(int begin, int end, int n_atoms, const double* fractional, int n_boxes, const double* boxes,
                     int n_chunks, int* copies)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int first = chunk * COPY_CHUNK, last = first + COPY_CHUNK < n_atoms ? first + COPY_CHUNK : n_atoms;
        for (int box = 0; box < n_boxes; ++box) {
            int count = 0;
            for (int i = first; i < last; ++i) count += is_copied(fractional, n_atoms, boxes + 9 * box, i);
            copies[box * (size_t)n_chunks + chunk] = count;
        }
    }
}

// index, images: atom and n of each copy, ordered by box, then atom; ends: sums of `copies`, each with its own
KERNEL(place_copies)(int begin, int end, int n_atoms, const double* fractional, int n_boxes, const double* boxes,
                     int n_chunks, const int* copies, const int* ends, int* index, int* images)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int first = chunk * COPY_CHUNK, last = first + COPY_CHUNK < n_atoms ? first + COPY_CHUNK : n_atoms;
        for (int box = 0; box < n_boxes; ++box) {
            const size_t place = box * (size_t)n_chunks + chunk;
            if (copies[place] == 0) continue;
            int to = ends[place] - copies[place];
            for (int i = first; i < last; ++i) {
                if (!is_copied(fractional, n_atoms, boxes + 9 * box, i)) continue;
                index[to] = i;
                for (int a = 0; a < 3; ++a) images[3 * (size_t)to + a] = (int)boxes[9 * box + a];
                ++to;
            }
        }
    }
}

// shifts = images C
KERNEL(lattice_shifts)(int begin, int end, const int* images, const double* cell, double* shifts)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const int* n = images + 3 * (size_t)i;
        const double image[3] = {(double)n[0], (double)n[1], (double)n[2]};
        for (int a = 0; a < 3; ++a) shifts[3 * (size_t)i + a] = product(image, cell, a);
    }
}
