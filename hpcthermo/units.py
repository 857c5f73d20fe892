"""Internal units eV, A, amu, K and the factors to the units users see.

The natural unit of time follows from the others: sqrt(amu A^2 / eV) = 10.18051 fs.
Values are CODATA 2018.
"""

from __future__ import annotations

import math

ELEMENTARY_CHARGE_C = 1.602176634e-19
ATOMIC_MASS_KG = 1.66053906660e-27
BOLTZMANN_EV_PER_K = 8.617333262e-5
#: h, energy of a phonon of 1 THz
PLANCK_EV_PER_THZ = 4.135667696e-3
VACUUM_PERMITTIVITY_F_PER_M = 8.8541878128e-12

#: one natural unit of time in fs
TIME_FS = math.sqrt(ATOMIC_MASS_KG * 1e-20 / ELEMENTARY_CHARGE_C) * 1e15
#: e^2/(4 pi eps_0), eV A
COULOMB_EV_A = ELEMENTARY_CHARGE_C * 1e10 / (4.0 * math.pi * VACUUM_PERMITTIVITY_F_PER_M)
#: hbar in eV times the natural unit of time
REDUCED_PLANCK = PLANCK_EV_PER_THZ / (2.0 * math.pi) / (TIME_FS * 1e-3)
#: 1 eV per cell in J/mol
JOULE_PER_MOL = ELEMENTARY_CHARGE_C * 6.02214076e23
#: 1 eV/A^3 in GPa
PRESSURE_GPA = ELEMENTARY_CHARGE_C * 1e30 * 1e-9
#: 1 eV/(natural time) in eV/ps
POWER_EV_PER_PS = 1e3 / TIME_FS
#: 1 eV/(ps A^2 K) in MW/(m^2 K)
CONDUCTANCE_MW_PER_M2_K = ELEMENTARY_CHARGE_C * 1e12 * 1e20 * 1e-6
#: 1 eV/(ps A K) in W/(m K)
CONDUCTIVITY_W_PER_M_K = ELEMENTARY_CHARGE_C * 1e12 * 1e10
