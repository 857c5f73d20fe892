"""Made-up parameters by triplet for two elements: every number differs where the format lets it."""

from __future__ import annotations

import itertools

from hpcthermo.potentials.stillinger_weber import StillingerWeberPotential, parse_stillinger_weber
from hpcthermo.potentials.tersoff_mod import TersoffModPotential, parse_tersoff_mod

#: A B p q sigma a by pair; gamma by ordered pair; lambda and cos theta_0 by centre and unordered ends
_PAIRS = {"CC": (6.0, 0.55, 4.2, 0.3, 1.9, 1.7), "CSi": (6.5, 0.6, 4.0, 0.0, 2.0, 1.75),
          "SiSi": (7.0, 0.62, 3.7, 0.5, 2.1, 1.8)}
_GAMMA = {"CC": 1.1, "CSi": 0.8, "SiC": 1.3, "SiSi": 1.2}
_ANGLES = {"CCC": (20.0, -0.3), "CCSi": (15.0, -0.4), "CSiSi": (22.0, -0.35), "SiCC": (18.0, -0.2),
           "SiCSi": (25.0, -0.5), "SiSiSi": (21.0, -1.0 / 3.0)}


def stillinger_weber_text() -> str:
    """LAMMPS file; what an entry with two kinds of ends has no use for is nonsense."""
    lines = []
    for i, j, k in itertools.product(("C", "Si"), repeat=3):
        bend, cosine = _ANGLES[i + "".join(sorted((j, k)))]
        a, b, p, q, sigma, reach = _PAIRS["".join(sorted((i, j)))] if j == k else (9.0, 9.0, 9.0, 1.0, 0.7, 0.9)
        gamma = _GAMMA[i + j] if j == k else 0.1
        epsilon = {"CC": 1.5, "SiSi": 2.0}.get(i + j, 1.7) if j == k else 1.6
        lines.append(f"{i} {j} {k} {epsilon} {sigma} {reach} {bend} {gamma} {cosine!r}\n  {a} {b} {p} {q} 0.0")
    return "\n".join(lines)


def tersoff_mod_text() -> str:
    """LAMMPS file; what belongs to a pair is the same seen from both ends."""
    lines = []
    for n, (i, j, k) in enumerate(itertools.product(("C", "Si"), repeat=3)):
        pair = sorted(_PAIRS).index("".join(sorted((i, j)))) if j == k else n
        lines.append(f"{i} {j} {k} {3 if n % 2 else 1} {2.0 + 0.1 * n} {-0.3 - 0.02 * n} {1.0 - 0.03 * n} 1 "
                     f"{1.3 + 0.01 * n} {120 + n} {2.9 + 0.03 * pair} {0.2 + 0.02 * pair} {3.2 + 0.01 * pair} "
                     f"{3200 + 10 * pair} {0.9 + 0.02 * n} {0.2 + 0.01 * n} {7e5 + 1e4 * n} {1e6 - 1e4 * n} "
                     f"{1 - 0.05 * n} {26 - n}")
    return "\n".join(lines)


def mixed_stillinger_weber() -> StillingerWeberPotential:
    return StillingerWeberPotential(parse_stillinger_weber(stillinger_weber_text(), "test"))


def mixed_tersoff_mod() -> TersoffModPotential:
    return TersoffModPotential(parse_tersoff_mod(tersoff_mod_text(), "test"))
