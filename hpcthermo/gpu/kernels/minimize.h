// FIRE: sums over mobile atoms and the move. `mobile` has 1 for coordinates that move, 0 for others.
#include "portable.h"

#define SUM_ROWS 128

// partial[4 chunk ...] = sums of F.v, F.F, v.v and the largest F.F of an atom
KERNEL(fire_sums)(int begin, int end, int count, const double* mobile, const double* forces, const double* velocities,
                  double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int last = (chunk + 1) * SUM_ROWS < count ? (chunk + 1) * SUM_ROWS : count;
        double sum[3] = {0, 0, 0}, largest = 0;
        for (int i = chunk * SUM_ROWS; i < last; ++i) {
            double square = 0;
            for (int a = 0; a < 3; ++a) {
                const double f = mobile[3 * (size_t)i + a] * forces[4 * (size_t)i + a], v = velocities[3 * (size_t)i + a];
                sum[0] += f * v;
                square += f * f;
                sum[2] += v * v;
            }
            sum[1] += square;
            largest = square > largest ? square : largest;
        }
        for (int c = 0; c < 3; ++c) partial[4 * (size_t)chunk + c] = sum[c];
        partial[4 * (size_t)chunk + 3] = largest;
    }
}

// v <- (1 - mix) (v + dt F) + steer F,  r += back v_old + dt v with every component within +-limit; velocities are
// those of unit mass, forgotten first if keep is 0
KERNEL(fire_move)(int begin, int end, double keep, double back, double timestep, double mix, double steer, double limit,
                  const double* mobile, const double* forces, double* velocities, double* positions)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        for (int a = 0; a < 3; ++a) {
            const double f = mobile[3 * (size_t)i + a] * forces[4 * (size_t)i + a], old = velocities[3 * (size_t)i + a];
            const double v = (1 - mix) * (keep * old + timestep * f) + steer * f;
            double move = back * old + timestep * v;
            move = move > limit ? limit : move < -limit ? -limit : move;
            velocities[3 * (size_t)i + a] = v;
            positions[3 * (size_t)i + a] += move;
        }
    }
}
