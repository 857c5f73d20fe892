"""How fast NEP should be on one H200: a prediction from the compiled kernels, to hold a measurement against.

    python benchmarks/gpu_prediction.py > benchmarks/results/gpu_prediction.txt

Warp instructions by atom are counted in the machine code of the Gr/h-BN model in mixed precision: every instruction
of the atom's loop once, inner loops as often as they run. Rebuilds are estimated from the
loops of the list's kernel and from what they ask of the device. The rest is arithmetic on the numbers below. No GPU is
needed; nvdisasm is (see gpu_kernels.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass

from gpu_kernels import disassembler, nep_module, report

# ---- the machine: NVIDIA H200 SXM data sheet; clock, slices and L2 rate are assumptions marked (a) ----------------
MULTIPROCESSORS, SCHEDULERS, CLOCK = 132, 4, 1.98e9        # CLOCK (a): highest boost, held under this load
FLOPS = 67e12
MEMORY_RATE, L2_RATE = 4.8e12, 5.5e12                      # bytes/s; L2 (a)
L2_ATOMICS = 96 * 1.6e9                                    # (a) one 32-byte sector by slice and L2 clock
LAUNCH = 4e-6                                              # s by kernel (a)
# ---- the work: Gr/h-BN stack at 300 K, skin 1 A -------------------------------------------------------------------
TYPES, RADIAL, ANGULAR = 3, 245, 28                        # neighbours within the cutoffs
LIST_SLOTS = 400                                           # listed within rc + 1 A, each type padded to 32
DESCRIPTORS, NEURONS, PRODUCTS, TERMS = 54, 50, 8, 13
SERIES_BYTES, POSITION_BYTES = 80, 16
USEFUL_FLOP = 98e3                                         # by atom, counted for the CPU kernel
ISSUE_SHARE = (0.50, 0.65, 0.80)                           # issue slots used: low, expected, high
BLOCK_WARPS = 20
# ---- the rest of a step: bytes by atom that its kernels read and write; launches as tests/kernels/test_cuda_host.py
# ---- sees them: kick_drift, begin_owned, kick; a graph of gather_positions, begin_ghosts, NEP's three and add_rows
STEP_BYTES, STEP_LAUNCHES, GRAPH_LAUNCHES = 650, 4, 6
GRAPH_LAUNCH = 1.5e-6                                      # s by kernel of a graph (a)
# ---- a neighbour rebuild: calls as the same tests count them ------------------------------------------------------
REBUILD_KERNELS, ARRAY_OPERATIONS, READINGS = 16, 130, 8
CALL, READING, RECORDING = 12e-6, 30e-6, 1e-3              # s: host's part of one, wait for a value, a graph (a)
REBUILD_BYTES = 2_500                                      # by atom: fields put into order, sort, lists written
SWEPT_COLUMNS, SWEPT_VECTORS, FILLED_VECTORS = 24, 36, 33  # of one row: columns of cells, vectors in them, 3 x 11
LIST_INSTRUCTIONS = 60 * SWEPT_COLUMNS + 85 * SWEPT_VECTORS + 55 * FILLED_VECTORS + 400  # read off build_neighbors
MEASURED_INTERVAL = "139 and 118 with 24,192 atoms on a CPU, fewer with more atoms"
REBUILD_INTERVALS = (20, 50, 100, 200)                     # steps


@dataclass(frozen=True)
class Loop:
    """Instructions [first, last] and how often they run for one atom each time the loop around them does."""

    first: int
    last: int
    trips: float
    what: str


def instructions_and_loops(lines: list[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Instructions in order, and the loops: backward branches to a label before them."""
    code: list[str] = []
    labels: dict[str, int] = {}
    for line in lines:
        if label := re.match(r"(\.L\w*):", line.strip()):
            labels[label[1]] = len(code)
        if found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            code.append(found[1].strip())
    targets = [(labels[m[1]], k) for k, text in enumerate(code) if (m := re.search(r"BRA.*`\((\.L\w+)\)", text))]
    return code, sorted((first, last) for first, last in targets if first <= last)


def operation(text: str) -> str:
    """FFMA of '@P0 FFMA.FTZ R1, ...'."""
    return re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]


def inner_loops(kernel: str, code: list[str], loops: list[tuple[int, int]], gather: bool) -> tuple[Loop, list[Loop]]:
    """The loop over atoms, and the loops in it with their trips; recognised by what they contain."""
    first, last = loops[0]
    found, functions = [], 0
    for a, b in loops[1:]:
        if b >= last:
            continue  # the way back from code for diverged warps, which do not occur
        c = Counter(operation(text) for text in code[a:b + 1])
        size = b - a + 1
        if kernel == "nep_gather":
            if c["POPC"]:
                found.append(Loop(a, b, LIST_SLOTS / 32 / c["POPC"] * 2, "compaction of the list"))
            elif c["SHFL"]:
                found.append(Loop(a, b, 0, "with virials"))
            else:
                virials = c["FFMA"] > 45
                found.append(Loop(a, b, 0 if virials else RADIAL / 32 + 0.34, "pair forces"))
        elif c["POPC"]:
            found.append(Loop(a, b, TYPES if c["SHFL"] else LIST_SLOTS / 32 / TYPES, "radial sums"))
        elif c["REDG"] or c["RED"] or c["ATOMG"]:
            forces = c["FFMA"] > 200
            trips = 1 if forces else (0 if gather else LIST_SLOTS / 32)
            found.append(Loop(a, b, trips, "angular forces" if forces else "radial forces by scattering"))
        elif c["LDG"] == 8 and c["FFMA"] == 16:
            seen = sum(loop.what == "network" for loop in found)
            found.append(Loop(a, b, (NEURONS if seen else DESCRIPTORS) / 8, "network"))
        elif c["LDG"] == 6 and c["FFMA"] in (20, 26):
            functions += 1  # g for the sums; again for the forces beyond 32 neighbours; dg/dr
            found.append(Loop(a, b, 0 if functions == 2 else TERMS / 2, "angular functions"))
        elif c["LDS"] and c["FFMA"] in (128, 32) and not c["LDG"]:
            slots = c["FFMA"] // 8
            found.append(Loop(a, b, ANGULAR // 16 if slots == 16 else ANGULAR % 16 / 4, "sums S"))
        elif c["FFMA"] > 200:
            found.append(Loop(a, b, 1, "angular sums"))
        elif size < 60 and c["LDG"] in (5, 6):
            found.append(Loop(a, b, PRODUCTS if size < 30 else 1, "cubic invariants"))
        else:
            raise SystemExit(f"{kernel}: a loop of {size} instructions is not known: {c.most_common(8)}")
    return Loop(first, last, 1, "atom"), found


def counted(kernel: str, lines: list[str], gather: bool) -> tuple[float, Counter[str], Counter[str]]:
    """Warp instructions by atom: all, by operation, by innermost loop."""
    code, loops = instructions_and_loops(lines)
    atom, inner = inner_loops(kernel, code, loops, gather)
    operations: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for k in range(atom.first, atom.last + 1):
        around = [loop for loop in inner if loop.first <= k <= loop.last]
        times = 1.0
        for loop in around:
            times *= loop.trips
        operations[operation(code[k])] += times
        parts[min(around, key=lambda loop: loop.last - loop.first).what if around else "outside of loops"] += times
    return sum(operations.values()), operations, parts


def line(name: str, *values: str) -> None:
    print(f"{name:44}" + "".join(f"{v:>16}" for v in values))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if disassembler() is None:
        sys.exit("nvdisasm is not found; install the wheel nvidia-cuda-nvdisasm")
    print("NEP on one H200: prediction for the Gr/h-BN model, mixed precision, forces without virials.")
    print("Nothing here is measured.")
    print(f"Assumed: {CLOCK / 1e9:.2f} GHz, L2 {L2_RATE / 1e12:.1f} TB/s and {L2_ATOMICS:.2g} atomic sectors/s, "
          f"{LIST_SLOTS} listed slots, {RADIAL} radial and {ANGULAR} angular neighbours.\n")
    totals = {}
    for title, gather in (("gather", True), ("scatter", False)):
        kernels = {k.name: k for k in report(nep_module("Gr/h-BN", gather=gather), "mixed", "sm_90")}
        names = ["nep_sites", "nep_gather"] if gather else ["nep_sites"]
        results = {name: counted(name, kernels[name].instructions, gather) for name in names}
        totals[title] = sum(r[0] for r in results.values())
        for name in names:
            total, operations, parts = results[name]
            k = kernels[name]
            print(f"{title}: {name}, {k.registers} registers, {k.local} local bytes, {k.shared} shared bytes, "
                  f"{k.resident_warps('sm_90')} warps resident: {total:.0f} warp instructions by atom")
            print("   by part:      " + ", ".join(f"{w} {n:.0f}" for w, n in parts.most_common()))
            print("   by operation: " + ", ".join(f"{w} {n:.0f}" for w, n in operations.most_common(14)) + "\n")
    print_bounds(totals)
    print_sizes(totals)
    print_steps(totals["gather"])
    print_next_steps()


def print_bounds(totals: dict[str, float]) -> None:
    """Upper bounds of the rate, each as if nothing else took time."""
    issue = MULTIPROCESSORS * SCHEDULERS * CLOCK
    atomics = {"gather": 3 * ANGULAR, "scatter": 3 * (ANGULAR + RADIAL)}
    positions = LIST_SLOTS * (POSITION_BYTES + 4) + ANGULAR * 2 * POSITION_BYTES
    l2 = {"gather": positions + RADIAL * (POSITION_BYTES + SERIES_BYTES) + LIST_SLOTS * 4, "scatter": positions}
    memory = {"gather": 2 * LIST_SLOTS * 4 + 2 * TYPES * SERIES_BYTES + 400, "scatter": LIST_SLOTS * 4 + 400}
    line("upper bounds, atom-step/s", "gather", "scatter")
    for name, rate in (("instruction issue, every slot used", {w: issue / totals[w] for w in totals}),
                       ("atomic additions in L2", {w: L2_ATOMICS / atomics[w] for w in totals}),
                       ("L2 traffic if L1 held nothing", {w: L2_RATE / l2[w] for w in totals}),
                       ("HBM traffic", {w: MEMORY_RATE / memory[w] for w in totals}),
                       ("FP32 peak, useful arithmetic", dict.fromkeys(totals, FLOPS / USEFUL_FLOP))):
        line("  " + name, *(f"{rate[w]:.2e}" for w in totals))
    line("  bytes by atom: L2, HBM", *(f"{l2[w]:.0f}, {memory[w]:.0f}" for w in totals))
    print(f"  roofline: {USEFUL_FLOP / memory['gather']:.0f} flop/byte of HBM, ridge at {FLOPS / MEMORY_RATE:.0f}: "
          "far on the compute side\n")


def rate_of_issue(instructions: float, share: float) -> float:
    """atom-step/s at a share of the issue slots."""
    return share * MULTIPROCESSORS * SCHEDULERS * CLOCK / instructions


def print_sizes(totals: dict[str, float]) -> None:
    """Rates by number of atoms: whole rounds of resident warps, launches; expected and range."""
    print("Predicted force call (gather: nep_sites, nep_settle, nep_gather), atom-step/s at 50, 65 and 80 % of the")
    print("issue slots:")
    for n in (24_644, 307_828, 2_000_000):
        rounds = n / (MULTIPROCESSORS * BLOCK_WARPS)
        filled = rounds / -(-rounds // 1)
        full = [rate_of_issue(totals["gather"], share) * filled for share in ISSUE_SHARE]
        rates = [1.0 / (1.0 / rate + 3 * LAUNCH / n) for rate in full]
        line(f"  {n:,} atoms", *(f"{r:.2e}" for r in rates))
    scatter = [min(rate_of_issue(totals["scatter"], share), 0.5 * L2_ATOMICS / (3 * (ANGULAR + RADIAL)))
               for share in ISSUE_SHARE]
    line("  scatter, many atoms, atomics at half rate", *(f"{r:.2e}" for r in scatter))
    print("""Goal 1e8, pass mark 5e7. Limit: issue slots, and the latency that 20 warps can hide; then the L1 requests
of the gather, in which each lane reads 80 bytes of another row. Gather over scatter rests on the atomics bound: at
half the assumed rate scatter is limited by L2, and with virials it has four times the atomics.
""")


def print_steps(instructions: float) -> None:
    """Whole NVE steps: the rest of a step, and rebuilds by their interval."""
    print("Whole NVE steps at 65 % of the issue slots, ms:")
    sizes = (24_644, 307_828, 2_000_000)
    line("", *(f"{n:,} atoms" for n in sizes))
    share = ISSUE_SHARE[1]
    force = {n: n / rate_of_issue(instructions, share) + 3 * GRAPH_LAUNCH for n in sizes}
    rest = {n: n * STEP_BYTES / MEMORY_RATE + STEP_LAUNCHES * LAUNCH + (GRAPH_LAUNCHES - 3) * GRAPH_LAUNCH
            for n in sizes}
    lists = {n: n / rate_of_issue(LIST_INSTRUCTIONS, ISSUE_SHARE[0]) for n in sizes}
    calls = (REBUILD_KERNELS + ARRAY_OPERATIONS) * CALL + READINGS * READING + RECORDING
    rebuild = {n: lists[n] + calls + n * REBUILD_BYTES / MEMORY_RATE for n in sizes}
    line("  force call", *(f"{1e3 * force[n]:.3f}" for n in sizes))
    line("  packing, integration, ghosts", *(f"{1e3 * rest[n]:.3f}" for n in sizes))
    line("  one rebuild", *(f"{1e3 * rebuild[n]:.2f}" for n in sizes))
    line("    of that the list's kernel", *(f"{1e3 * lists[n]:.2f}" for n in sizes))
    line("    of that calls by the host", *(f"{1e3 * calls:.2f}" for _ in sizes))
    print("atom-step/s with a rebuild every")
    for interval in REBUILD_INTERVALS:
        line(f"  {interval} steps", *(f"{n / (force[n] + rest[n] + rebuild[n] / interval):.2e}" for n in sizes))
    print(f"A rebuild is {REBUILD_KERNELS} kernels, about {ARRAY_OPERATIONS} array operations and {READINGS} readings "
          "of some hundred bytes at most;")
    print(f"no array of atoms leaves the device. An ordinary step is {STEP_LAUNCHES} launches, one of them a graph of "
          f"{GRAPH_LAUNCHES} kernels,")
    print("and one number read late. Steps between rebuilds at 300 K, 0.5 fs and a skin of 1 A:")
    print(f"{MEASURED_INTERVAL}.\n")


def print_next_steps() -> None:
    """What to do next, with the gain expected from the counts above."""
    print("""Next steps by predicted gain:
1. Products of the angular part on tensor cores (3 x TF32, 24 x 9 x 32): about 700 instructions of nep_sites become 120,
   8 % of a step. Lists of rc + 0.3 A renewed every few steps from the long ones: 6 %, as a quarter of the lanes of the
   radial sums hold neighbours beyond the cutoff.
2. Network for 4 atoms of a type at once, so that weights are loaded once: 200 instructions by atom, 3 %, and 27 kB of
   L1 traffic by atom become 7 kB.""")


if __name__ == "__main__":
    main()
