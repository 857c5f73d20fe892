// Gather, compaction and scatter on the CPU.
#pragma once

// r_j - r_i for LANES neighbours j = index[0..LANES)
DEVICE void load_displacements(const Position* positions, const int* index, const Position& centre,
                               double scale, lanes& x, lanes& y, lanes& z)
{
    for (int l = 0; l < LANES; ++l) {
        REAL d[3];
        displacement(centre, positions[index[l]], scale, d);
        x[l] = d[0];
        y[l] = d[1];
        z[l] = d[2];
    }
}

DEVICE int count_lanes(lane_mask m)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) n -= (int)m[l];
    return n;
}
// write the lanes of v whose mask is set to buffer[0..count_lanes(m)); buffer has LANES of slack
DEVICE void append(REAL* buffer, lane_mask m, lanes v)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) {
        buffer[n] = v[l];
        n -= (int)m[l];
    }
}
DEVICE void append(int* buffer, lane_mask m, const int* index)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) {
        buffer[n] = index[l];
        n -= (int)m[l];
    }
}

// forces[index] -= f: rows of 4 float64 (x, y, z, unused)
DEVICE void scatter_force(double* forces, const int* index, lanes fx, lanes fy, lanes fz)
{
    for (int l = 0; l < LANES; ++l) {
        double* row = forces + 4 * (size_t)index[l];
        row[0] -= fx[l];
        row[1] -= fy[l];
        row[2] -= fz[l];
    }
}
// virials[index] -= r (x) f: rows of 12 float64, component (a, b) at 4 a + b
DEVICE void scatter_virial(double* virials, const int* index, lanes x, lanes y, lanes z, lanes fx, lanes fy, lanes fz)
{
    for (int l = 0; l < LANES; ++l) {
        double* row = virials + 12 * (size_t)index[l];
        const double r[3] = {x[l], y[l], z[l]}, f[3] = {fx[l], fy[l], fz[l]};
        for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) row[4 * a + b] -= r[a] * f[b];
    }
}
// plain and atomic adds of one value to one address
DEVICE void atomic_add(double* address, double value) { *address += value; }
DEVICE int atomic_increment(int* address) { return (*address)++; }
DEVICE void atomic_maximum(int* address, int value) { if (value > *address) *address = value; }
