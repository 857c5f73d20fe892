// From float64 positions to the rows that kernels read (portable.h, Position).
//
// frame: origin (3), length of one integer step, coordinate of the padding row n_atoms
#pragma once
#include "portable.h"

DEVICE Position packed_position(int i, int n_atoms, const double* positions, const int* types, const double* frame)
{
    const double steps = 1.0 / frame[3];
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
    return p;
}
