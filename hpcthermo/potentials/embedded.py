"""Potentials that are known by name, with their literature source.

The Lennard-Jones sets are those of the universal force field (`universal_force_field`), epsilon = D and
sigma = x / 2^(1/6): lj_uff mixes as UFF does, lj_gr_hbn by Lorentz-Berthelot. T. Liang et al., Int. J. Heat Mass
Transfer 151, 119395 (2020), the reference for the Tersoff+LJ baseline of graphene/h-BN interface conductance, could not
be consulted; its numbers may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.eam import EamPotential
from hpcthermo.potentials.eam_zhou import ZhouModel
from hpcthermo.potentials.ilp import InterlayerPotential
from hpcthermo.potentials.ilp_file import parse_lammps_ilp
from hpcthermo.potentials.meam import MeamPotential
from hpcthermo.potentials.meam_file import parse_meam
from hpcthermo.potentials.nep import NepPotential
from hpcthermo.potentials.nep_file import read_nep_file
from hpcthermo.potentials.stillinger_weber import StillingerWeberPotential, parse_stillinger_weber
from hpcthermo.potentials.tersoff import TersoffPotential
from hpcthermo.potentials.tersoff_file import parse_gpumd_tersoff, parse_lammps_tersoff
from hpcthermo.potentials.tersoff_mod import TersoffModPotential, parse_tersoff_mod
from hpcthermo.potentials.triplets import TripletModel
from hpcthermo.potentials.universal_force_field import NONBOND, universal_lennard_jones

_SILICON_1988 = "Si Si Si 3 1 1.3258 4.8381 2.0417 0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7"
_SILICON_1989 = """tersoff_1989 1 Si
1830.8 471.18 2.4799 1.7322 1.1e-6 0.78734 1.0039e5 16.217 -0.59825 2.7 3.0"""
# n = 1 / (2 delta), delta = 0.53298909; R and D from R_1 = 2.7, R_2 = 3.3
_SILICON_2007 = ("Si Si Si 1 2.3890327 -0.365 1 1 1.345797 121.00047 3.0 0.3 3.2300135 3281.5905 "
                 f"{0.5 / 0.53298909!r} 0.20173476 730418.72 1000000.0 1.0 26.0")
# epsilon = 50 kcal/mol and the reduced parameters of the paper
_SILICON_1985 = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4 0 0"
_GRAPHENE = """tersoff_1989 1 C
1393.6 430.0 3.4879 2.2119 1.5724e-7 0.72751 38049.0 4.3484 -0.93 1.8 2.1"""

# Kinaci et al.: c, d, cos(theta0), n, beta belong to the centre (and to like pairs), the rest to the pair
_BNC_CENTRE = {
    "B": "25000 4.3484 -0.89 0.72751 1.25724e-7", "N": "25000 4.3484 -0.89 0.72751 1.25724e-7",
    "C": "38049 4.3484 -0.93 0.72751 1.5724e-7",
    "BB": "0.52629 0.001587 0.5 3.9929061 1.6e-6", "NN": "17.7959 5.9484 0 0.6184432 0.019251",
}
_BNC_PAIR = {
    "BB": "2.0774982 43.132016 2.0 0.1 2.2372578 40.0520156", "NN": "2.6272721 138.77866 2.0 0.1 2.8293093 128.86866",
    "CC": "2.2119 430.0 1.95 0.15 3.4879 1393.6", "BN": "2.199 340.0 1.95 0.05 3.568 1380.0",
    "BC": "2.2054 339.06891 1.95 0.10 3.5279 1386.78", "CN": "2.2054 387.575152 1.95 0.10 3.5279 1386.78",
}

# Ouyang et al.: beta (A), alpha, gamma (A), epsilon (meV), C (meV), d, s_R, r_eff (A), C6 (meV A^6)
_GR_HBN_INTERLAYER = {
    "CC": "3.205843 7.511126 1.235334 1.528338e-5 37.530428 15.499947 0.7954443 3.681440 25714.535",
    "BB": "3.143737 9.825139 1.936405 2.7848400 14.495957 15.199263 0.7834022 3.682950 49498.013",
    "NN": "3.443196 7.084490 1.747349 2.9139991 46.508553 15.020370 0.8008370 3.551843 14810.151",
    "HH": "3.974540 6.53799 1.080633 0.6700556 0.8333833 15.022371 0.7490632 2.767223 1615.9581",
    "BC": "3.303662 10.54415 2.926741 16.719972 0.3571734 15.305254 0.7001581 3.097327 30162.869",
    "CN": "3.253564 8.825921 1.059550 18.344740 21.913573 15.000000 0.7234983 3.013117 19063.095",
    "BN": "3.295257 7.224311 2.872667 1.3715032 0.4347152 14.594578 0.8044028 3.765728 24669.996",
    "CH": "2.642950 12.91410 1.020257 0.9750012 25.340996 15.222927 0.8115998 3.887324 5687.4617",
    "BH": "2.718657 9.214551 3.273063 14.015714 14.760509 15.084752 0.7768383 3.640866 7964.2467",
    "HN": "2.753464 8.226713 3.106390 0.8073613 0.3944229 15.033188 0.7451414 2.733583 3846.1530",
}


def _normal_cutoff(i: str, j: str) -> float:
    """How far i looks for neighbours j that make its normal, A; hydrogen looks beyond its own bond."""
    if i == "H":
        return 1.2 if j == "H" else 2.2
    return 1.5 if j == "H" else 2.0


_INTERLAYER_CUTOFF_A = 10.0


#: label, lattice, Z, number, mass, alpha, b0 ... b3, lattice constant, E_c, A, t0 ... t3, rho0, form of G
_MEAM_AL_SI_LIBRARY = """Al fcc 12 13 26.9815 4.64 2.04 3.00 6.0 1.50 4.05 3.353 1.07 1.0 4.50 -2.30 8.01 1.0 -5
Si dia 4 14 28.086 4.87 4.4 5.5 5.5 5.5 5.431 4.63 1.0 1.0 2.05 4.47 -1.80 2.2 -5"""
_MEAM_AL_SI = """
rc = 5.0
delr = 0.25658351
ialloy = 1
augt1 = 0
emb_lin_neg = 1
bkgd_dyn = 1
nn2(1,1) = 1
nn2(1,2) = 1
nn2(2,2) = 1
repuls(1,1) = 0.1
lattce(1,2) = b1
delta(1,2) = 0.28
alpha(1,2) = 4.56
re(1,2) = 2.62
Cmin(1,1,1) = 0.8
Cmin(1,1,2) = 0.5
"""


@dataclass(frozen=True)
class EmbeddedPotential:
    """One entry of the table of names.

    Attributes
    ----------
    source : str
        Literature reference.
    build : callable
        Source to potential.
    """

    source: str
    build: Callable[[str], Potential]


def embedded_names() -> tuple[str, ...]:
    """Names of the embedded potentials."""
    return tuple(_TABLE)


def embedded_source(name: str) -> str:
    """Literature source of an embedded potential.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return _entry(name).source


def embedded_potential(name: str) -> Potential:
    """An embedded potential by name.

    Raises
    ------
    InputError
        For an unknown name.
    """
    entry = _entry(name)
    return entry.build(f"{name} ({entry.source})")


def _entry(name: str) -> EmbeddedPotential:
    if name not in _TABLE:
        raise InputError(f"potential: no embedded potential {name!r}; expected one of {', '.join(_TABLE)}")
    return _TABLE[name]


def _bnc_model(source: str) -> TripletModel:
    lines = []
    for i in "BCN":
        for j in "BCN":
            pair = "".join(sorted(i + j))
            centre = _BNC_CENTRE.get(i + j, _BNC_CENTRE[i])
            lines += [f"{i} {j} {k} 3 1 0 {centre} {_BNC_PAIR[pair]}" for k in "BCN"]
    return parse_lammps_tersoff("\n".join(lines), source)


def _interlayer_text() -> str:
    return "\n".join(f"{i} {j} {_GR_HBN_INTERLAYER[''.join(sorted(i + j))]} 1.0 {_normal_cutoff(i, j)}"
                     for i in "BCHN" for j in "BCHN")


def _neuroevolution_potential(name: str, source: str) -> NepPotential:
    """A model that lies beside this file, as NAME.nep.txt."""
    return NepPotential(replace(read_nep_file(Path(__file__).with_name(f"{name}.nep.txt")), path=source))


_TABLE: dict[str, EmbeddedPotential] = {
    "nep_gr_hbn_d3": EmbeddedPotential(
        "B-C-N in graphene and h-BN, NEP, from PBE-D3(BJ) labels of this program (jobs/gr_hbn_nep)",
        lambda source: _neuroevolution_potential("nep_gr_hbn_d3", source)),
    "tersoff_si": EmbeddedPotential(
        "Si, J. Tersoff, Phys. Rev. B 39, 5566 (1989)",
        lambda source: TersoffPotential(parse_gpumd_tersoff(_SILICON_1989, source))),
    "tersoff_si_1988": EmbeddedPotential(
        "Si, J. Tersoff, Phys. Rev. B 37, 6991 (1988)",
        lambda source: TersoffPotential(parse_lammps_tersoff(_SILICON_1988, source))),
    "tersoff_mod_si": EmbeddedPotential(
        "Si, T. Kumagai et al., Comput. Mater. Sci. 39, 457 (2007)",
        lambda source: TersoffModPotential(parse_tersoff_mod(_SILICON_2007, source))),
    "sw_si": EmbeddedPotential(
        "Si, F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)",
        lambda source: StillingerWeberPotential(parse_stillinger_weber(_SILICON_1985, source))),
    "tersoff_graphene": EmbeddedPotential(
        "C, L. Lindsay and D. A. Broido, Phys. Rev. B 81, 205441 (2010)",
        lambda source: TersoffPotential(parse_gpumd_tersoff(_GRAPHENE, source))),
    "tersoff_bnc": EmbeddedPotential(
        "B-N-C, A. Kinaci et al., Phys. Rev. B 86, 115410 (2012)",
        lambda source: TersoffPotential(_bnc_model(source))),
    "ilp_gr_hbn": EmbeddedPotential(
        "B-C-H-N between layers, 16 A, W. Ouyang et al., Nano Lett. 18, 6009 (2018)",
        lambda source: InterlayerPotential(parse_lammps_ilp(_interlayer_text(), source))),
    "lj_gr_hbn": EmbeddedPotential(
        "B-N-C between layers, 10 A, energy-shifted, UFF: A. K. Rappe et al., J. Am. Chem. Soc. 114, 10024 (1992)",
        lambda source: universal_lennard_jones({symbol: NONBOND[symbol] for symbol in "BCN"}, _INTERLAYER_CUTOFF_A,
                                               source, "lorentz_berthelot", between_layers_only=True)),
    "lj_uff": EmbeddedPotential(
        f"{len(NONBOND)} elements between layers, 10 A, energy-shifted, geometric mixing, UFF: A. K. Rappe et al., "
        "J. Am. Chem. Soc. 114, 10024 (1992)",
        lambda source: universal_lennard_jones(NONBOND, _INTERLAYER_CUTOFF_A, source, "geometric",
                                               between_layers_only=True)),
    "meam_al_si": EmbeddedPotential(
        "Al, Si, 2NN MEAM, B. Jelinek et al., Phys. Rev. B 85, 245102 (2012)",
        lambda source: MeamPotential(parse_meam(_MEAM_AL_SI_LIBRARY, _MEAM_AL_SI, {"Al": "Al", "Si": "Si"}, source))),
    "eam_zhou": EmbeddedPotential(
        "18 metals and alloys, X. W. Zhou, R. A. Johnson and H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004); "
        "Cr: Phys. Rev. B 77, 214108 (2008); V: unconfirmed",
        lambda source: EamPotential(ZhouModel(source), "eam_zhou")),
}
