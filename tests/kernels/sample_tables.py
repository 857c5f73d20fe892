"""Files of embedded-atom potentials with made-up functions."""

from __future__ import annotations

import numpy as np


def finnis_sinclair_text(n_r=400, n_rho=300) -> str:
    """Two elements whose densities at each other differ."""
    cutoff, largest = 5.2, 60.0
    r, rho = cutoff / (n_r - 1) * np.arange(n_r), largest / (n_rho - 1) * np.arange(n_rho)

    def numbers(values):
        return "\n".join(" ".join(f"{v:.12e}" for v in values[k:k + 5]) for k in range(0, len(values), 5))

    fade = np.maximum(cutoff - r, 0.0) ** 3
    lines = ["synthetic", "two elements", "for tests", "2 Al Cu", f"{n_rho} {rho[1]:.17g} {n_r} {r[1]:.17g} {cutoff}"]
    for k in range(2):
        lines += [f"{13 + 16 * k} {27.0 + 36.0 * k} 4.05 fcc", numbers(-0.25 * np.sqrt(rho + 1.0) * (1.0 + 0.1 * k))]
        lines += [numbers(0.2 * (1.0 + 0.3 * k + 0.7 * m) * fade * np.exp(-0.3 * (1 + k) * r)) for m in range(2)]
    lines += [numbers(r * (0.1 + 0.05 * k) * fade * (2.6 + 0.1 * k - r)) for k in range(3)]
    return "\n".join(lines) + "\n"


def funcfl_text(n=400) -> str:
    """Aluminium in the form of one element per file."""
    x = np.arange(n)
    r, rho = 5.0 / (n - 1) * x, 40.0 / (n - 1) * x
    fade = np.maximum(5.0 - r, 0.0)
    tables = (-0.4 * np.sqrt(rho + 0.5), 2.0 * fade**2 / 25.0 * np.exp(-0.5 * r), 0.3 * fade**3 * np.exp(-0.2 * r))
    numbers = "\n".join(f"{v:.14e}" for table in tables for v in table)
    return f"synthetic\n13 26.98 4.05 fcc\n{n} {rho[1]:.17g} {n} {r[1]:.17g} 5.0\n{numbers}\n"
