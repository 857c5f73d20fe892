// What integrators do to the atoms of a rank.
//
// Velocity Verlet:  v(t + dt/2) = v(t) + dt/2 F(t)/m        r(t + dt) = r(t) + dt v(t + dt/2)
//
// Kernels with `rows` work on a selection of atoms, the rows rows[0 ... count), or 0 ... count if rows is null.
// Sums run over chunks of SUM_ROWS atoms, one thread each; the caller adds the partial results.
#include "portable.h"

#define SUM_ROWS 128
#define FOR_CHUNK_ROWS(i, chunk, count) \
    for (int i = (chunk) * SUM_ROWS, i##_last = i + SUM_ROWS < (count) ? i + SUM_ROWS : (count); i < i##_last; ++i)

// v += dt/2 F/m; inverse masses by atom, 0 freezes the atom
KERNEL(kick)(int begin, int end, double half_timestep, const double* forces, const double* inverse_masses, double* velocities)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const double scale = half_timestep * inverse_masses[i];
        for (int a = 0; a < 3; ++a) velocities[3 * (size_t)i + a] += scale * forces[4 * (size_t)i + a];
    }
}

// r += dt v
KERNEL(drift)(int begin, int end, double timestep, const double* velocities, double* positions)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        for (int a = 0; a < 3; ++a) positions[3 * (size_t)i + a] += timestep * velocities[3 * (size_t)i + a];
    }
}

// v += dt/2 F/m, then r += dt v
KERNEL(kick_drift)(int begin, int end, double timestep, const double* forces, const double* inverse_masses,
                   double* velocities, double* positions)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const double scale = 0.5 * timestep * inverse_masses[i];
        for (int a = 0; a < 3; ++a) {
            const size_t k = 3 * (size_t)i + a;
            const double v = velocities[k] + scale * forces[4 * (size_t)i + a];
            velocities[k] = v;
            positions[k] += timestep * v;
        }
    }
}

// partial[chunk] = sum of m v^2 / 2
KERNEL(kinetic_rows)(int begin, int end, int count, const int* rows, const int* types, const double* masses,
                     const double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        double sum = 0;
        FOR_CHUNK_ROWS(i, chunk, count)
        {
            const int row = rows ? rows[i] : i;
            const double* v = velocities + 3 * (size_t)row;
            sum += 0.5 * masses[types[row]] * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        }
        partial[chunk] = sum;
    }
}

// partial[9 chunk + 3 a + b] = sum of m v_a v_b
KERNEL(kinetic_tensor)(int begin, int end, int count, const int* rows, const int* types, const double* masses,
                       const double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        double sum[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
        FOR_CHUNK_ROWS(i, chunk, count)
        {
            const int row = rows ? rows[i] : i;
            const double m = masses[types[row]];
            const double* v = velocities + 3 * (size_t)row;
            for (int a = 0; a < 3; ++a)
                for (int b = 0; b < 3; ++b) sum[3 * a + b] += m * v[a] * v[b];
        }
        for (int c = 0; c < 9; ++c) partial[9 * (size_t)chunk + c] = sum[c];
    }
}

// partial[4 chunk ...] = sums of m v (3) and of m
KERNEL(momentum_rows)(int begin, int end, int count, const int* rows, const int* types, const double* masses,
                      const double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        double sum[4] = {0, 0, 0, 0};
        FOR_CHUNK_ROWS(i, chunk, count)
        {
            const int row = rows ? rows[i] : i;
            const double m = masses[types[row]];
            for (int a = 0; a < 3; ++a) sum[a] += m * velocities[3 * (size_t)row + a];
            sum[3] += m;
        }
        for (int c = 0; c < 4; ++c) partial[4 * (size_t)chunk + c] = sum[c];
    }
}

// v *= factor
KERNEL(scale_rows)(int begin, int end, const int* rows, double factor, double* velocities)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const size_t row = rows ? rows[i] : i;
        for (int a = 0; a < 3; ++a) velocities[3 * row + a] *= factor;
    }
}

// v += (x, y, z); partial[chunk] = change of kinetic energy
KERNEL(shift_rows)(int begin, int end, int count, const int* rows, const int* types, const double* masses, double x,
                   double y, double z, double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const double shift[3] = {x, y, z};
        double energy = 0;
        FOR_CHUNK_ROWS(i, chunk, count)
        {
            const int row = rows ? rows[i] : i;
            double* v = velocities + 3 * (size_t)row;
            for (int a = 0; a < 3; ++a) {
                energy += 0.5 * masses[types[row]] * shift[a] * (2 * v[a] + shift[a]);
                v[a] += shift[a];
            }
        }
        partial[chunk] = energy;
    }
}

// r <- r M for row vectors r, M at 3 a + b
KERNEL(deform_positions)(int begin, int end, const double* matrix, double* positions)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        double* r = positions + 3 * (size_t)i;
        const double x = r[0], y = r[1], z = r[2];
        for (int b = 0; b < 3; ++b) r[b] = x * matrix[b] + y * matrix[3 + b] + z * matrix[6 + b];
    }
}

// v <- v M; partial[chunk] = change of kinetic energy
KERNEL(deform_velocities)(int begin, int end, int count, const int* rows, const int* types, const double* masses,
                          const double* matrix, double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        double energy = 0;
        FOR_CHUNK_ROWS(i, chunk, count)
        {
            const int row = rows ? rows[i] : i;
            double* v = velocities + 3 * (size_t)row;
            const double x = v[0], y = v[1], z = v[2];
            for (int b = 0; b < 3; ++b) {
                const double old = v[b];
                v[b] = x * matrix[b] + y * matrix[3 + b] + z * matrix[6 + b];
                energy += 0.5 * masses[types[row]] * (v[b] - old) * (v[b] + old);
            }
        }
        partial[chunk] = energy;
    }
}
