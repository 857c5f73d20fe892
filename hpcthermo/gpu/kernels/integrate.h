// Velocity Verlet half steps.
//
//   v(t + dt/2) = v(t) + dt/2 F(t)/m        r(t + dt) = r(t) + dt v(t + dt/2)
#include "portable.h"

// v += dt/2 F/m; masses and mobile flag by atom (mobile = 0 freezes the atom)
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
