"""The analytic embedded-atom potential of Zhou et al. for 16 and more metals and any of their alloys.

    f_a(r)    = f_e e^(-beta x) / (1 + (x + 1 - lambda)^20)                                 x = r/r_e - 1
    phi_aa(r) = A e^(-alpha x) / (1 + (x + 1 - kappa)^20) - B e^(-beta x) / (1 + (x + 1 - lambda)^20)
    phi_ab(r) = 1/2 [ f_b/f_a phi_aa + f_a/f_b phi_bb ]                          rho_ab(r) = f_b(r)
    F(rho)    = sum_i F_ni (rho/rho_n - 1)^i,    rho < rho_n = 0.85 rho_e (Pt: 0.25 rho_e)
              = sum_i F_i (rho/rho_e - 1)^i,     rho < rho_0 = 1.15 rho_e                   i = 0 ... 3
              = F_e [1 - ln (rho/rho_s)^eta] (rho/rho_s)^eta

X. W. Zhou, R. A. Johnson and H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004), table III. The F_ni of Pt join the middle
piece, in value and slope, at 0.25 rho_e and nowhere else. In the same form: Cr of Z. Lin, R. A. Johnson and L. V.
Zhigilei, Phys. Rev. B 77, 214108 (2008). (GPUMD's file has another beta, A and B for Cr, with which it is bound by
4.19 eV at 2.855 A instead of 4.10 eV at 2.880 A.) V is that of GPUMD's file, ascribed there to S. Zhao et al., Acta
Mater. (2021), which could not be consulted: energy, lattice and elastic constants are those of V, but the slope
dF/d(rho/rho_e) jumps by 0.06 eV at rho_n and by 0.2 eV at rho_0.

The form has no cutoff. All its functions are below 1e-6 eV at the default one; at the 6.5 A that are in use elsewhere
they are for Al, Cu and Ni, but not for Zr or Pb (1e-3 eV).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.potentials.cubic_tables import RadialFunction, cubic_rows
from hpcthermo.potentials.eam import EmbeddingTable

COLUMNS = ("r_e", "f_e", "rho_e", "rho_s", "alpha", "beta", "A", "B", "kappa", "lambda", "Fn0", "Fn1", "Fn2", "Fn3",
           "F0", "F1", "F2", "F3", "eta", "Fe")
DEFAULT_CUTOFF_A = 8.0

#: two lines by element
_PARAMETERS = """
Cu 2.556162 1.554485 21.175871 21.175395 8.12762 4.334731 0.39662 0.548085 0.308782 0.756515
   -2.170269 -0.263788 1.088878 -0.817603 -2.19 0 0.56183 -2.100595 0.31049 -2.186568
Ag 2.891814 1.106232 14.6041 14.604144 9.13201 4.870405 0.277758 0.419611 0.33971 0.750758
   -1.729364 -0.255882 0.91205 -0.561432 -1.75 0 0.744561 -1.15065 0.783924 -1.748423
Au 2.885034 1.529021 19.991632 19.991509 9.516052 5.075228 0.229762 0.356666 0.35657 0.748798
   -2.937772 -0.500288 1.601954 -0.83553 -2.98 0 1.706587 -1.134778 1.021095 -2.978815
Ni 2.488746 2.007018 27.562015 27.562031 8.383453 4.471175 0.429046 0.633531 0.443599 0.820658
   -2.693513 -0.076445 0.241442 -2.375626 -2.7 0 0.26539 -0.152856 0.44547 -2.7
Pd 2.750897 1.595417 21.335246 21.940073 8.697397 4.638612 0.406763 0.59888 0.397263 0.754799
   -2.321006 -0.473983 1.615343 -0.231681 -2.36 0 1.481742 -1.675615 1.13 -2.352753
Pt 2.771916 2.336509 33.367564 35.205357 7.105782 3.78975 0.556398 0.696037 0.385255 0.77051
   -1.455568 -2.149952 0.528491 1.222875 -4.17 0 3.010561 -2.420128 1.45 -4.145597
Al 2.863924 1.403115 20.418205 23.19574 6.613165 3.527021 0.314873 0.365551 0.379846 0.759692
   -2.807602 -0.301435 1.258562 -1.247604 -2.83 0 0.622245 -2.488244 0.785902 -2.824528
Pb 3.499723 0.647872 8.450154 8.450063 9.121799 5.212457 0.161219 0.236884 0.250805 0.764955
   -1.42237 -0.210107 0.682886 -0.529378 -1.44 0 0.702726 -0.538766 0.93538 -1.439436
Fe 2.481987 1.885957 20.041463 20.041463 9.81827 5.236411 0.392811 0.646243 0.170306 0.340613
   -2.534992 -0.059605 0.193065 -2.282322 -2.54 0 0.200269 -0.14877 0.39175 -2.539945
Mo 2.7281 2.72371 29.354065 29.354065 8.393531 4.47655 0.708787 1.120373 0.13764 0.27528
   -3.692913 -0.178812 0.38045 -3.13365 -3.71 0 0.875874 0.776222 0.790879 -3.712093
Ta 2.860082 3.086341 33.787168 33.787168 8.489528 4.527748 0.611679 1.032101 0.176977 0.353954
   -5.103845 -0.405524 1.112997 -3.585325 -5.14 0 1.640098 0.221375 0.848843 -5.141526
W 2.74084 3.48734 37.234847 37.234847 8.900114 4.746728 0.882435 1.394592 0.139209 0.278417
   -4.946281 -0.148818 0.365057 -4.432406 -4.96 0 0.661935 0.348147 0.582714 -4.961306
Mg 3.196291 0.544323 7.1326 7.1326 10.228708 5.455311 0.137518 0.22593 0.5 1
   -0.896473 -0.044291 0.162232 -0.68995 -0.9 0 0.122838 -0.22601 0.431425 -0.899702
Co 2.505979 1.975299 27.206789 27.206789 8.679625 4.629134 0.421378 0.640107 0.5 1
   -2.541799 -0.219415 0.733381 -1.589003 -2.56 0 0.705845 -0.68714 0.694608 -2.559307
Ti 2.933872 1.8632 25.565138 25.565138 8.775431 4.68023 0.373601 0.570968 0.5 1
   -3.203773 -0.198262 0.683779 -2.321732 -3.22 0 0.608587 -0.75071 0.558572 -3.219176
Zr 3.199978 2.230909 30.879991 30.879991 8.55919 4.564902 0.424667 0.640054 0.5 1
   -4.485793 -0.293129 0.990148 -3.202516 -4.51 0 0.928602 -0.98187 0.597133 -4.509025
Cr 2.493879 1.793835 17.641302 19.60545 8.604593 7.170494 1.551848 1.827556 0.18533 0.277995
   -2.022754 0.039608 -0.183611 -2.245972 -2.02 0 -0.056517 0.439144 0.456 -2.020038
V 2.594662 2.523567 27.724393 27.724393 7.51586 4.908879 0.631438 0.886485 0.18517 0.419307
   -3.352734 -0.254664 0.640819 -2.830487 -3.380243 0 1.242722 0.134111 0.635059 -3.365898
"""
#: rho_n / rho_e
_INNER, _INNER_OF = 0.85, {"Pt": 0.25}
PARAMETERS: dict[str, dict[str, float]] = {
    words[0]: {**dict(zip(COLUMNS, map(float, words[1:]), strict=True)), "inner": _INNER_OF.get(words[0], _INNER)}
    for words in np.reshape(_PARAMETERS.split(), (-1, 1 + len(COLUMNS))).tolist()
}
#: intervals of the table of F per 0.05 rho_e, of which rho_n and rho_0 are multiples; and its end in rho_e
_INTERVALS, _LARGEST_DENSITY = 20, 10.0


@dataclass(frozen=True)
class ZhouModel:
    """`hpcthermo.potentials.eam.EamModel` of the analytic form.

    Attributes
    ----------
    source : str
    cutoff : float
        A.
    elements : tuple of str
    """

    source: str
    cutoff: float = DEFAULT_CUTOFF_A
    elements: tuple[str, ...] = tuple(PARAMETERS)

    def pair(self, a: int, b: int) -> RadialFunction:
        """phi_ab, eV."""
        p, q = self._parameters(a), self._parameters(b)

        def phi(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if a == b:
                return _pair(p, r)
            (f, df), (g, dg), (u, du), (v, dv) = _density(p, r), _density(q, r), _pair(p, r), _pair(q, r)
            ratio = g / f
            slope = ratio * (dg / g - df / f)
            return (0.5 * (ratio * u + v / ratio),
                    0.5 * (ratio * du + slope * u + dv / ratio - slope / ratio**2 * v))

        return phi

    def density(self, a: int, b: int) -> RadialFunction:
        """rho_ab = f_b."""
        p = self._parameters(b)
        return lambda r: _density(p, r)

    def density_key(self, a: int, b: int) -> tuple[int, int]:
        """Densities depend on the neighbour only."""
        return b, b

    def embedding(self, a: int) -> EmbeddingTable:
        """F_a, eV, up to 10 rho_e."""
        p = self._parameters(a)
        step = 0.05 / _INTERVALS
        left = np.arange(round(_LARGEST_DENSITY / step)) * step
        # the pieces meet in the printed digits only: each interval is from one of them
        values, slopes = (np.stack(parts, axis=-1) for parts in zip(
            *(embedding(p, (left + end) * p["rho_e"], (left + 0.5 * step) * p["rho_e"]) for end in (0.0, step)),
            strict=True))
        return EmbeddingTable(step * p["rho_e"], cubic_rows(values, slopes * step * p["rho_e"])[:, 0])

    def _parameters(self, a: int) -> dict[str, float]:
        return PARAMETERS[self.elements[a]]


def _screened_exponential(amplitude: float, decay: float, shift: float, length: float,
                          r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The function amplitude e^(-decay (r/length - 1)) / (1 + (r/length - shift)^20) and its slope."""
    u = r / length - shift
    u19 = u**19
    denominator = 1.0 + u * u19
    value = amplitude * np.exp(-decay * (r / length - 1.0)) / denominator
    return value, -value * (decay + 20.0 * u19 / denominator) / length


def _density(p: dict[str, float], r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _screened_exponential(p["f_e"], p["beta"], p["lambda"], p["r_e"], r)


def _pair(p: dict[str, float], r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    repulsion = _screened_exponential(p["A"], p["alpha"], p["kappa"], p["r_e"], r)
    attraction = _screened_exponential(p["B"], p["beta"], p["lambda"], p["r_e"], r)
    return repulsion[0] - attraction[0], repulsion[1] - attraction[1]


def embedding(p: dict[str, float], density: np.ndarray, piece_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F and dF/drho at some densities, with the piece that belongs to the densities `piece_of`."""
    low, high = p["inner"] * p["rho_e"], 1.15 * p["rho_e"]
    pieces = []
    for prefix, scale in (("Fn", low), ("F", p["rho_e"])):
        x = density / scale - 1.0
        c = [p[f"{prefix}{i}"] for i in range(4)]
        pieces.append((c[0] + x * (c[1] + x * (c[2] + x * c[3])),
                       (c[1] + x * (2.0 * c[2] + 3.0 * x * c[3])) / scale))
    ratio = np.maximum(density, 0.5 * low) / p["rho_s"]
    power, logarithm = ratio ** p["eta"], p["eta"] * np.log(ratio)
    pieces.append((p["Fe"] * (1.0 - logarithm) * power, -p["Fe"] * p["eta"] * logarithm * power / (ratio * p["rho_s"])))
    chosen = [piece_of < low, piece_of < high]
    return (np.select(chosen, [pieces[0][0], pieces[1][0]], pieces[2][0]),
            np.select(chosen, [pieces[0][1], pieces[1][1]], pieces[2][1]))
