"""What three-phonon linewidths of a 28-atom bilayer on 24 x 24 points should take on one H200, from operation counts.

    python benchmarks/gpu_linewidths_prediction.py > benchmarks/results/gpu_linewidths_prediction.txt

Triplets are those of the turned bilayer of graphene (21.79 degrees), counted on its mesh. Operations follow the
formulas of transport/bte/strength.py and the text of gpu/kernels/linewidths.h; what is assumed is printed as well.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.config.structure import TwistedBilayer
from hpcthermo.phonons.relaxed_crystal import primitive_crystal
from hpcthermo.preparation import build_structure
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import STRENGTH_BYTES
from hpcthermo.transport.bte.triplets import TripletSymmetry

#: of an H200 without tensor cores, and what is taken as reached of it
FLOPS, MULTIPROCESSORS, CLOCK, BYTES = 67e12, 132, 1.98e9, 4.8e12
PRODUCTS_REACH, MEMORY_REACH = 0.5, 0.7
#: instructions in one cycle of a multiprocessor (four at most) and warps that share it, when warps wait for memory
ISSUE_OF_ONE_WARP, MOST_ISSUE = 0.15, 2.0
#: one weight of 24 tetrahedra with its gathers, and one test of a pair of bands: warp instructions for 32 of them
WEIGHT_INSTRUCTIONS, TEST_INSTRUCTIONS = 1400, 45
#: share of the triples of bands, each of three kinds, that may conserve energy
CANDIDATES = (0.02, 0.05, 0.10)
#: calls of the host for a part of the triplets of one first point, and seconds of one
CALLS, CALL_S = 150, 10e-6


def main() -> None:
    """Print the prediction."""
    table = TwistedBilayer(builder="twisted_bilayer", vacuum_A=40.0, materials=("graphene",), angle_deg=21.79)
    crystal = primitive_crystal(build_structure(table), True).crystal
    mesh = Mesh.create(crystal, (24, 24, 1))
    symmetry, bands = TripletSymmetry(mesh), crystal.n_bands
    counts = np.array([len(symmetry.of(slot)) for slot in range(symmetry.n_irreducible)])
    legs = sum(int((symmetry.of(slot).slots >= 0).sum()) for slot in range(symmetry.n_irreducible))
    together = max(1, STRENGTH_BYTES["cuda"] // (8 * bands**3))
    parts = -(-counts // together)
    triplets = int(counts.sum())
    print("Three-phonon linewidths on one H200: prediction for the turned bilayer of graphene (21.79 degrees),")
    print("24 x 24 x 1 points, strengths in float32. Nothing here is measured: no GPU has run this path.\n")
    print(f"{crystal.n_atoms} atoms, {bands} bands, {mesh.n_points} points, {symmetry.n_irreducible} irreducible, "
          f"{len(mesh.rotations)} rotations with time reversal")
    print(f"{triplets:,} triplets seen from {legs:,} legs, {int(parts.sum())} launches, "
          f"{triplets / parts.sum():.0f} triplets (warps) in each\n")

    products = 16.0 * bands**4 * triplets
    # matrix, half and products once written and read in float32, strengths in float64
    traffic = triplets * bands**3 * (2 * 4 * (2 + 2 + 4) + 2 * 8)
    times = {"products of legs 1 and 2, arithmetic": products / (PRODUCTS_REACH * FLOPS),
             "the same, memory": traffic / (MEMORY_REACH * BYTES),
             "calls of the host": float(parts.sum()) * CALLS * CALL_S}
    print(f"{products:.2e} floating-point operations in legs 1 and 2, {traffic:.2e} bytes\n")
    for name, seconds in times.items():
        print(f"  {name:<44}{seconds:8.2f} s")
    warps = float(triplets / parts.sum()) / MULTIPROCESSORS
    issue = min(MOST_ISSUE, ISSUE_OF_ONE_WARP * max(1.0, warps)) * min(1.0, warps)
    for share in CANDIDATES:
        weights = legs * bands**3 * 3 * share / 32
        tests = legs * bands**2 * np.ceil(bands / 32)
        seconds = (weights * WEIGHT_INSTRUCTIONS + tests * TEST_INSTRUCTIONS) / (issue * MULTIPROCESSORS * CLOCK)
        whole = max(list(times.values())[:2]) + times["calls of the host"] + seconds
        print(f"  energy weights, {share:>3.0%} of the triples         {seconds:10.2f} s      in all {whole:6.2f} s")
    print(f"""
Assumed: {PRODUCTS_REACH:.0%} of {FLOPS / 1e12:.0f} TFLOP/s and {MEMORY_REACH:.0%} of {BYTES / 1e12:.1f} TB/s;
{CALLS} calls of {CALL_S * 1e6:.0f} us a launch;
{WEIGHT_INSTRUCTIONS} warp instructions for 32 energy weights, read off the text and not counted in
machine code; {issue:.2f} instructions a cycle and multiprocessor, as {warps:.1f} warps share one.
The last is the weakest assumption and the limit: a triplet is one warp's work, and a launch has the triplets of one
first point only. Leg 0 and the Fourier sums (less than a tenth of the products' operations with force constants cut
off at 5 A), phonons, and reading the force constants are left out.""")


if __name__ == "__main__":
    main()
