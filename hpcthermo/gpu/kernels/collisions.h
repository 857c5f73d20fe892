// Product of the collision matrix of three-phonon processes, and of its transpose, with fields of vectors.
//
// Process p of modes a, b, c with h = amount/2 and s = 1/sinh(x):
//
//   gained_a += h (s_c F_b + s_b F_c)        given_b += h s_c G_a        given_c += h s_b G_a
//
//   symbol   is
//   F        field on the whole mesh, rows of `n_columns` (a multiple of 3)
//   G        field at irreducible points, as many columns
#include "portable.h"

KERNEL(collide)(int begin, int end, const int* modes, const int* first, const int* second, const double* amounts,
                const double* inverse_sinh, int n_columns, const double* everywhere, const double* own, double* gained,
                double* given)
{
    FOR_EACH_THREAD(process, begin, end)
    {
        const int64_t a = (int64_t)modes[process] * n_columns, b = (int64_t)first[process] * n_columns;
        const int64_t c = (int64_t)second[process] * n_columns;
        const double half = 0.5 * amounts[process];
        const double by_second = half * inverse_sinh[second[process]], by_first = half * inverse_sinh[first[process]];
        for (int column = 0; column < n_columns; column += 3) {
            UNROLL for (int d = 0; d < 3; ++d) {
                const int k = column + d;
                atomic_add(gained + a + k, by_second * everywhere[b + k] + by_first * everywhere[c + k]);
                atomic_add(given + b + k, by_second * own[a + k]);
                atomic_add(given + c + k, by_first * own[a + k]);
            }
        }
    }
}
