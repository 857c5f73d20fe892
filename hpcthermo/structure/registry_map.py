"""Local stacking, distance and corrugation of two honeycomb layers that lie on each other.

Registry. One layer is the reference, with lattice vectors a_1, a_2, its sites 0 and 1 and the bond vector delta from
site 0 to site 1; the hollow lies at -delta. The registry b of a site-0 atom of the other layer is its in-plane
position minus that of the nearest site-0 atom of the reference, modulo a_1 and a_2. It varies slowly over a moire
pattern; at the other atoms it is the mean over their nearest site-0 atoms, as a mean of the phases
exp(2 pi i b . (g_1, g_2)).

Stacking. The name of the registry next to b, out of

===========  ===============  =======================================================
b            not turned       turned (the other layer's bonds point the other way)
===========  ===============  =======================================================
0            AA               AB'   (site 0 on site 0, site 1 on the hollow)
+delta       BA               AA'   (site 0 on site 1, site 1 on site 0)
-delta       AB               A'B   (site 0 on the hollow, site 1 on site 1)
+-delta/2 +  DW               DW'   halfway between AB and BA, or AB' and A'B,
lattice                             over the saddle
===========  ===============  =======================================================

An elemental layer has no turn of its own: its sites are named so that it is not turned. On a binary layer whose site 0
is B and site 1 N, +delta is then C on N, the AB of Liang et al. (2025), and -delta is C on B, their ABp, here AB'.

Distance. From an atom to a paraboloid through the nearest atoms of the other layer, along its normal: in a rippled
bilayer heights alone would be too long by 1/cos(slope), and a plane would cut the curvature off (0.02 A in a moire
pattern).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.checks import with_close_images
from hpcthermo.structure.layers import bonded_pairs

#: images of atoms within this distance of a cell edge take part in the interpolation, A
_MARGIN = 10.0
#: nearest site-0 atoms whose registries are averaged
_AVERAGED = 3
#: nearest atoms of the other layer through which the paraboloid goes, about three rings
_SURFACE_ATOMS = 24
#: points of the height map along the longer edge of the cell
_MAP_POINTS = 256
#: harmonics of the height map with at least this share of the largest belong to the pattern
_HARMONIC_SHARE = 0.3
_SHELL_WIDTH = 0.15


@dataclass(frozen=True)
class Honeycomb:
    """One layer of a structure as a honeycomb lattice.

    Attributes
    ----------
    atoms : (n,) int
        Rows of the structure.
    sites : (n,) int
        0 or 1.
    bonds : (3, 2) float64
        Mean in-plane vectors from site 0 to site 1, A.
    neighbors : (n, 3) int
        Bonded atoms, as indices into `atoms`.
    elemental : bool
        Whether both sites have one species.
    """

    atoms: np.ndarray
    sites: np.ndarray
    bonds: np.ndarray
    neighbors: np.ndarray
    elemental: bool

    @property
    def lattice(self) -> np.ndarray:
        """(2, 2) mean lattice vectors in rows, A."""
        return np.array([self.bonds[1] - self.bonds[0], self.bonds[2] - self.bonds[0]])

    def with_sites_swapped(self) -> Honeycomb:
        """The same layer with the other names for its sites."""
        return replace(self, sites=1 - self.sites, bonds=-self.bonds)


@dataclass(frozen=True)
class RegistryMap:
    """Two layers on each other, by atom; rows are the atoms of the lower layer, then those of the upper.

    Attributes
    ----------
    atoms : (n,) int
        Rows of the structure.
    upper : (n,) bool
    registry : (n, 2) float64
        b in fractions of the reference lattice, within [0, 1).
    stacking : (n,) int
        Index into `names`.
    names : tuple of str
        Stackings that can occur, domain walls last.
    departure : (n,) float64
        Of the registry from that of its stacking, A.
    distance : (n,) float64
        To the other layer, A.
    turned : bool
        See the table above.
    """

    atoms: np.ndarray
    upper: np.ndarray
    registry: np.ndarray
    stacking: np.ndarray
    names: tuple[str, ...]
    departure: np.ndarray
    distance: np.ndarray
    turned: bool

    def core(self, name: str, radius: float) -> np.ndarray:
        """(n,) bool, atoms whose registry is within `radius` (A) of that of a stacking."""
        return (self.stacking == self.names.index(name)) & (self.departure < radius)


def map_registry(cell: np.ndarray, positions: np.ndarray, symbols: np.ndarray, layers: np.ndarray,
                 interface: tuple[int, int] = (0, 1)) -> RegistryMap:
    """Local stacking and distance of two neighbouring layers.

    Parameters
    ----------
    cell : (3, 3) float64
        A; a and b in the plane, both periodic.
    positions : (N, 3) float64, A
    symbols : (N,) str
    layers : (N,) int
        From bottom to top.
    interface : (int, int)
        Lower and upper layer.

    Raises
    ------
    InputError
        If one of the two is no honeycomb of three bonds to each atom.
    """
    rows = [np.flatnonzero(layers == layer) for layer in interface]
    for layer, atoms in zip(interface, rows, strict=True):
        if not len(atoms):
            raise InputError(f"moire_map.interface: layer {layer} does not exist, the structure has "
                             f"{int(layers.max()) + 1} layers; correct it")
    lower, upper = (find_honeycomb(cell, positions, symbols, atoms) for atoms in rows)
    # the binary layer is the reference: its sites have names of their own
    flipped = lower.elemental and not upper.elemental
    reference, other = (upper, lower) if flipped else (lower, upper)
    turned = _points_against(reference, other)
    if other.elemental and turned:
        other, turned = other.with_sites_swapped(), False
    fraction = _registry(cell, positions, reference, other, np.concatenate(rows))
    names, points = _special_registries(reference, turned, other.elemental and not reference.elemental)
    stacking, departure = _nearest(fraction, points, reference.lattice)
    return RegistryMap(
        atoms=np.concatenate(rows), upper=np.repeat([False, True], [len(rows[0]), len(rows[1])]), registry=fraction,
        stacking=stacking, names=tuple(names), departure=departure,
        distance=np.concatenate([distance_to_layer(cell, positions[rows[1]], positions[rows[0]]),
                                 distance_to_layer(cell, positions[rows[0]], positions[rows[1]])]),
        turned=turned,
    )


def find_honeycomb(cell: np.ndarray, positions: np.ndarray, symbols: np.ndarray, atoms: np.ndarray) -> Honeycomb:
    """Sites and mean bond vectors of one layer.

    Raises
    ------
    InputError
        If an atom has not three neighbours, or the bonds do not join two kinds of sites.
    """
    periodic = np.array([True, True, False])
    pairs, vectors = bonded_pairs(positions[atoms], list(symbols[atoms]), cell, periodic)
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    vectors = np.concatenate([vectors, -vectors])[:, :2]
    count = np.bincount(first, minlength=len(atoms))
    if np.any(count != 3):
        bad = int(np.argmax(count != 3))
        raise InputError(f"moire: atom {int(atoms[bad])} (counted from 0) has {count[bad]} bonds within its layer, a "
                         "honeycomb has three; choose another interface")
    sites = _two_colours(first, second, symbols[atoms])
    from_zero = sites[first] == 0
    starts = first[from_zero]
    bonds = vectors[from_zero][np.argsort(starts, kind="stable")].reshape(-1, 3, 2)
    neighbors = second[np.argsort(first, kind="stable")].reshape(-1, 3)
    return Honeycomb(atoms, sites, _mean_bonds(bonds), neighbors, len(np.unique(symbols[atoms])) == 1)


def _two_colours(first: np.ndarray, second: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """(n,) site of each atom: by species in a binary layer, else so that bonds join unlike sites."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order

    n = len(symbols)
    species = np.unique(symbols)
    if len(species) == 2:
        sites = (symbols == species[1]).astype(np.int64)
    else:
        graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n)).tocsr()
        order, before = breadth_first_order(graph, 0, directed=False)
        if len(order) < n:
            raise InputError("moire: the bonds of a layer do not connect all its atoms; choose another interface")
        sites = np.zeros(n, dtype=np.int64)
        for atom in order[1:]:
            sites[atom] = 1 - sites[before[atom]]
    if np.any(sites[first] == sites[second]):
        raise InputError("moire: bonds join like atoms of a layer, so it is no honeycomb of two sites (a cell with an "
                         "odd ring, or a grain boundary); choose another structure")
    return sites


def _mean_bonds(bonds: np.ndarray) -> np.ndarray:
    """(3, 2) mean of the bonds (n, 3, 2) of each of the three directions, in the order of their angles."""
    angles = np.angle(bonds[..., 0] + 1j * bonds[..., 1])
    common = np.angle(np.exp(3j * angles).mean()) / 3.0
    direction = np.rint((angles - common) / (2.0 * np.pi / 3.0)).astype(np.int64) % 3
    return np.array([bonds[direction == k].mean(axis=0) for k in range(3)])


def _points_against(reference: Honeycomb, other: Honeycomb) -> bool:
    """Whether the bonds of the two point in directions nearer to opposite than to equal ones."""
    angles = [3.0 * np.angle(complex(*honeycomb.bonds[0])) for honeycomb in (reference, other)]
    return bool(np.cos(angles[1] - angles[0]) < 0.0)


def _registry(cell: np.ndarray, positions: np.ndarray, reference: Honeycomb, other: Honeycomb,
              wanted: np.ndarray) -> np.ndarray:
    """(n, 2) registry of the atoms `wanted` in fractions of the reference lattice."""
    from scipy.spatial import cKDTree

    starts = positions[reference.atoms[reference.sites == 0], :2]
    carriers = positions[other.atoms[other.sites == 0], :2]
    _, images, _ = _images(cell, starts)
    vectors = carriers - images[cKDTree(images).query(carriers)[1]]
    phases = np.exp(2j * np.pi * (vectors @ np.linalg.inv(reference.lattice)))
    _, places, owners = _images(cell, carriers)
    near = cKDTree(places).query(_wrapped(cell, positions[wanted, :2]), k=_AVERAGED)[1]
    return np.angle(phases[owners[near]].mean(axis=1)) / (2.0 * np.pi) % 1.0


def _special_registries(reference: Honeycomb, turned: bool, carbon_on_binary: bool) -> tuple[list[str], np.ndarray]:
    """Names and registries (fractions of the reference lattice); each name may have several registries."""
    inverse = np.linalg.inv(reference.lattice)
    delta = reference.bonds[0] @ inverse
    # the saddle between +delta and -delta: from one to the other over the three bonds
    bonds = reference.bonds @ inverse
    saddles = [0.5 * (bonds[k] - bonds[j]) for k, j in ((0, 1), (1, 2), (2, 0))]
    if turned:
        # between 0 and -delta
        names, points = ["AA'", "AB'", "A'B"], [delta, 0.0 * delta, -delta]
        saddles = list(-0.5 * bonds)
        return [*names, "DW'"], np.array([[point] * 3 for point in points] + [saddles])
    names = ["AA", "AB", "AB'"] if carbon_on_binary else ["AA", "AB", "BA"]
    points = [0.0 * delta, delta, -delta] if carbon_on_binary else [0.0 * delta, -delta, delta]
    return [*names, "DW"], np.array([[point] * 3 for point in points] + [saddles])


def _nearest(fraction: np.ndarray, points: np.ndarray, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) index of the nearest of the points (names, equivalents, 2) modulo the lattice, and its distance, A."""
    difference = fraction[:, None, None, :] - points
    difference -= np.rint(difference)
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    lengths = np.linalg.norm((difference[..., None, :] + shifts) @ lattice, axis=-1).min(axis=(-1, -2))
    return lengths.argmin(axis=1), lengths.min(axis=1)


# ---- heights ------------------------------------------------------------------------------------------

def _images(cell: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """In-plane points with their images near the edges of the cell (`with_close_images`)."""
    flat = np.zeros((len(places), 3))
    flat[:, :2] = places
    frame = np.array([[*cell[0, :2], 0.0], [*cell[1, :2], 0.0], [0.0, 0.0, 1.0]])
    wrapped, images, owners = with_close_images(frame, np.array([True, True, False]), flat, _MARGIN)
    return wrapped[:, :2], images[:, :2], owners


def _wrapped(cell: np.ndarray, places: np.ndarray) -> np.ndarray:
    return _images(cell, places)[0]


def distance_to_layer(cell: np.ndarray, layer: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance (n,) of points (n, 3) from a layer (m, 3), A.

    Each from the surface z = p_0 + p_1 x + p_2 y + p_3 x^2 + p_4 x y + p_5 y^2 through the nearest atoms.
    """
    from scipy.spatial import cKDTree

    _, places, owners = _images(cell, layer[:, :2])
    here = _wrapped(cell, points[:, :2])
    near = cKDTree(places).query(here, k=_SURFACE_ATOMS)[1]
    x, y = np.moveaxis(places[near] - here[:, None, :], -1, 0)
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    normal_matrix = np.swapaxes(design, 1, 2) @ design
    surface = np.linalg.solve(normal_matrix, np.swapaxes(design, 1, 2) @ layer[owners, 2][near][..., None])[..., 0]
    return np.abs(points[:, 2] - surface[:, 0]) / np.sqrt(1.0 + surface[:, 1] ** 2 + surface[:, 2] ** 2)


def height_at(cell: np.ndarray, layer: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Height (n,) of a layer (m, 3) at in-plane places (n, 2), linear between its atoms, A."""
    return value_at(cell, layer[:, :2], layer[:, 2], places)


def value_at(cell: np.ndarray, points: np.ndarray, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (m,) at points (m, 2), linear between them at other places (n, 2) of a periodic plane."""
    from scipy.interpolate import LinearNDInterpolator

    _, images, owners = _images(cell, points)
    found = LinearNDInterpolator(images, values[owners])(_wrapped(cell, places))
    if not np.all(np.isfinite(found)):
        raise InputError("moire: a layer has holes wider than the interpolation reaches; choose another interface")
    return found


def corrugation(heights: np.ndarray) -> tuple[float, float]:
    """Peak to peak and standard deviation of the heights of a layer, A."""
    return float(np.ptp(heights)), float(heights.std())


@dataclass(frozen=True)
class Period:
    """Wavelength of a hexagonal pattern in a height map.

    Attributes
    ----------
    value : float
        lambda = 4 pi / (sqrt(3) |G|), mean over the harmonics G of the first shell, A.
    spread : float
        Standard deviation over these harmonics, A: how far the pattern is from hexagonal.
    amplitude : float
        Largest amplitude of the shell, A.
    """

    value: float
    spread: float
    amplitude: float


def pattern_period(cell: np.ndarray, layer: np.ndarray) -> Period:
    """Period of the height map of a layer (m, 3) from its strongest harmonics.

    Harmonics are those of the cell, so a cell that holds few periods imposes them: `spread` is no error.
    """
    plane = cell[:2, :2]
    lengths = np.linalg.norm(plane, axis=1)
    count = np.maximum(8, np.rint(_MAP_POINTS * lengths / lengths.max())).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in count), indexing="ij"), axis=-1).reshape(-1, 2)
    heights = height_at(cell, layer, grid @ plane).reshape(count)
    amplitude = 2.0 * np.abs(np.fft.fft2(heights)) / heights.size
    amplitude[0, 0] = 0.0
    orders = np.stack(np.meshgrid(*(np.fft.fftfreq(n, 1.0 / n) for n in count), indexing="ij"), axis=-1)
    wave_numbers = 2.0 * np.pi * np.linalg.norm(orders @ np.linalg.inv(plane).T, axis=-1)
    strongest = np.unravel_index(int(amplitude.argmax()), amplitude.shape)
    shell = ((amplitude >= _HARMONIC_SHARE * amplitude[strongest])
             & (np.abs(wave_numbers / wave_numbers[strongest] - 1.0) < _SHELL_WIDTH))
    wavelengths = 4.0 * np.pi / (np.sqrt(3.0) * wave_numbers[shell])
    return Period(float(wavelengths.mean()), float(wavelengths.std()), float(amplitude[strongest]))
