// Product of the collision matrix of three-phonon processes, and of its transpose, with fields of vectors.
//
// Process p of modes a, b, c with h = share * amount and s = 1/sinh(x):
//
//   gained_a += h (s_c F_b + s_b F_c)        given_b += h s_c G_a        given_c += h s_b G_a
//
// and with one weight for the three legs of a process also what its partners give each other,
//
//   given_b += h s_a |star of a| F_c         given_c += h s_a |star of a| F_b         h = 0 if s_a, s_b or s_c is 0
//
//   symbol   is
//   F        field on the whole mesh, rows of `n_columns` (a multiple of 3)
//   G        field at irreducible points, as many columns
//   starred  s |star| of the modes of irreducible points; null without coupling of partners
#include "portable.h"

KERNEL(collide)(int begin, int end, const int* modes, const int* first, const int* second, const double* amounts,
                const double* inverse_sinh, const double* starred, double share, int n_columns, const double* everywhere,
                const double* own, double* gained, double* given)
{
    FOR_EACH_THREAD(process, begin, end)
    {
        const int64_t a = (int64_t)modes[process] * n_columns, b = (int64_t)first[process] * n_columns;
        const int64_t c = (int64_t)second[process] * n_columns;
        const double of_first = inverse_sinh[first[process]], of_second = inverse_sinh[second[process]];
        const double of_own = starred ? starred[modes[process]] : 0;
        if (starred && (of_own == 0 || of_first == 0 || of_second == 0)) continue;
        const double part = share * amounts[process];
        const double by_second = part * of_second, by_first = part * of_first, between = part * of_own;
        for (int column = 0; column < n_columns; column += 3) {
            UNROLL for (int d = 0; d < 3; ++d) {
                const int k = column + d;
                const double field_b = everywhere[b + k], field_c = everywhere[c + k];
                atomic_add(gained + a + k, by_second * field_b + by_first * field_c);
                atomic_add(given + b + k, by_second * own[a + k] + between * field_c);
                atomic_add(given + c + k, by_first * own[a + k] + between * field_b);
            }
        }
    }
}
