"""Thermal conductivity from the same force constants and mesh, beside phono3py, in interleaved rounds.

    python benchmarks/bte_speed.py si_19_rta --data LATTICE --record
    python benchmarks/bte_speed.py own --data LATTICE --record        # ours alone: temperatures, threads, meshes

LATTICE is a folder with phono3py_si_pbesol.yaml, FORCES_FC3_si_pbesol and phono3py_params_NaCl222.yaml.xz; phono3py
makes fc2.hdf5, fc3.hdf5 and a YAML file of cells from them once, and both codes read those files.

Each run is a process of its own with two threads. The clock goes from opening the files to the conductivity in memory;
all modules that a run loads are imported before (a run of each code on a small mesh tells which). The time of the
whole process, imports included, and its peak memory stand beside. Isotopes are off in both codes. phono3py runs with
its defaults (Rust back end); for the comparison of the conductivities it averages the weights over degenerate bands in
a run that is not timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record
from rounds import interleaved, ratios, spread

THREADS, TEMPERATURE_K = 2, 300.0
_ANSWER = "ANSWER "


@dataclass(frozen=True)
class Case:
    """One conductivity, the ratio that is asked for and what was expected before the first measurement."""

    material: str
    mesh: int
    method: str
    goal: float
    prediction: str


CASES = {
    "si_11_rta": Case("si", 11, "rta", 10.0, "15: set-up and kernel in equal parts"),
    "si_19_rta": Case("si", 19, "rta", 25.0, "45: the prototype's 50 to 76 with AVX-512; lanes are half as wide here"),
    "si_15_lbte": Case("si", 15, "lbte", 15.0, "20: as the rates, and the list of processes as much again"),
    "nacl_19_rta": Case("nacl", 19, "rta", 15.0, "40: as Si; phonons with dipoles cost 0.1 s"),
}


# ---- the two sides of a run -------------------------------------------------------------------------


def _names(folder: str, material: str) -> dict[str, str]:
    stem = str(Path(folder) / material)
    return {"yaml": f"{stem}_phono3py.yaml", "fc2": f"{stem}_fc2.hdf5", "fc3": f"{stem}_fc3.hdf5"}


def _own(request: dict[str, Any]) -> np.ndarray:
    from hpcthermo.phonons.files.load import load_lattice_dynamics
    from hpcthermo.transport.bte.settings import BteSettings
    from hpcthermo.transport.bte.solution import solve

    files = _names(request["folder"], request["material"])
    dynamics = load_lattice_dynamics(files["yaml"], fc2=files["fc2"], fc3=files["fc3"])
    settings = BteSettings(mesh=(request["mesh"],) * 3, temperatures_K=tuple(request["temperatures"]),
                          method=request["method"], isotopes=False, coherence=False)
    solution = solve(dynamics, settings, threads=request["threads"])
    found = solution.relaxation_time if request["method"] == "rta" else solution.full
    assert found is not None
    return found.kappa


def _phono3py(request: dict[str, Any]) -> np.ndarray:
    import phono3py

    files = _names(request["folder"], request["material"])
    driver = phono3py.load(files["yaml"], fc2_filename=files["fc2"], fc3_filename=files["fc3"], produce_fc=False,
                           log_level=0)
    driver.mesh_numbers = [request["mesh"]] * 3
    driver.init_phph_interaction(average_degenerate_weights=request["average"])
    driver.run_thermal_conductivity(temperatures=request["temperatures"], is_LBTE=request["method"] == "lbte")
    xx, yy, zz, yz, xz, xy = np.array(driver.thermal_conductivity.kappa).reshape(-1, 6).T
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)


def _make_files(request: dict[str, Any]) -> None:
    import phono3py
    from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5

    data, names = Path(request["data"]), _names(request["folder"], request["material"])
    if request["material"] == "si":
        driver = phono3py.load(str(data / "phono3py_si_pbesol.yaml"), log_level=0, is_compact_fc=True,
                               forces_fc3_filename=str(data / "FORCES_FC3_si_pbesol"))
    else:
        driver = phono3py.load(str(data / "phono3py_params_NaCl222.yaml.xz"), log_level=0, is_compact_fc=True)
    driver.save(names["yaml"], settings={"force_sets": False, "displacements": False, "force_constants": False})
    write_fc2_to_hdf5(driver.fc2, filename=names["fc2"], p2s_map=driver.phonon_primitive.p2s_map)
    write_fc3_to_hdf5(driver.fc3, filename=names["fc3"], p2s_map=driver.primitive.p2s_map)


SIDES = {"own": _own, "phono3py": _phono3py}


def _worker(request: dict[str, Any]) -> None:
    if request["side"] == "files":
        _make_files(request)
        return
    for name in request["modules"]:
        try:
            importlib.import_module(name)
        except Exception:  # a name that only its package can import comes with that package
            continue
    before = set(sys.modules)
    start, processor = time.perf_counter(), time.process_time()
    kappa = SIDES[request["side"]](request)
    answer = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor,
              "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, "kappa": kappa.tolist(),
              "modules": sorted(set(sys.modules) - before), "all_modules": sorted(sys.modules)}
    print(_ANSWER + json.dumps(answer))


def run(side: str, folder: Path, material: str, mesh: int, method: str, **options: Any) -> dict[str, Any]:
    """One run in a process of its own; `process_seconds` is its whole time."""
    threads = options.get("threads", THREADS)
    request = {"side": side, "folder": str(folder), "material": material, "mesh": mesh, "method": method,
               "threads": threads, "temperatures": [TEMPERATURE_K], "average": False, "modules": [], **options}
    peer = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    environment = {**os.environ, **(peer if side == "phono3py" else {"OMP_NUM_THREADS": "1"})}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--worker", json.dumps(request)], capture_output=True, text=True,
                          cwd=folder, env=environment, check=False)
    elapsed = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"bte_speed: {side} failed: {done.stderr.strip().splitlines()[-1:]}")
    if side == "files":
        return {}
    answer: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines()
                                             if line.startswith(_ANSWER))[len(_ANSWER):])
    return {**answer, "process_seconds": elapsed}


def modules_of(side: str, folder: Path, material: str, method: str) -> list[str]:
    """All modules that a run of this side loads."""
    loaded: list[str] = run(side, folder, material, 3, method)["all_modules"]
    return [name for name in loaded if not name.startswith("_") and name != "__main__"]


# ---- reports ----------------------------------------------------------------------------------------


def compare(name: str, folder: Path, rounds: int) -> list[str]:
    """Lines about one case."""
    case = CASES[name]
    modules = {side: modules_of(side, folder, case.material, case.method) for side in SIDES}
    runs = {side: (lambda side=side: run(side, folder, case.material, case.mesh, case.method, modules=modules[side]))
            for side in SIDES}
    found = interleaved(runs, rounds, lambda text: print(text, file=sys.stderr))
    reference = run("phono3py", folder, case.material, case.mesh, case.method, average=True)
    ours, theirs = np.array(found["own"][0]["kappa"])[0], np.array(reference["kappa"])[0]
    lines = [f"case      {name}: mesh {case.mesh}^3, {case.method}, {TEMPERATURE_K:g} K, {THREADS} threads, "
             f"{rounds} rounds",
             f"kappa_xx  own {ours[0, 0]:.5f}, phono3py {theirs[0, 0]:.5f} (weights averaged over degenerate bands), "
             f"difference {abs(ours - theirs).max() / theirs[0, 0]:.1e} of it; "
             f"its default {np.array(found['phono3py'][0]['kappa'])[0][0, 0]:.5f}"]
    for key, unit in (("seconds", "s, files to kappa"), ("processor_seconds", "s of processor time, the same"),
                      ("process_seconds", "s, whole process"), ("peak_MiB", "MiB, peak memory")):
        values = {side: [result[key] for result in found[side]] for side in SIDES}
        ratio = spread(ratios(values["phono3py"], values["own"]))
        lines.append(f"{unit:<30}  own {spread(values['own']).text()}   phono3py {spread(values['phono3py']).text()}   "
                     f"ratio {ratio.text(3)}")
    return [*lines, f"asked for {case.goal:g} in the first row; predicted {case.prediction}"]


def alone(folder: Path, rounds: int) -> list[str]:
    """Lines about ours: temperatures, threads, exponent of the mesh."""
    modules = modules_of("own", folder, "si", "rta")

    def seconds(mesh: int, **options: Any) -> float:
        found = [run("own", folder, "si", mesh, "rta", modules=modules, **options)["seconds"] for _ in range(rounds)]
        return spread(found).median

    twenty = np.linspace(100.0, 1050.0, 20).tolist()
    one_t, twenty_t = seconds(19), seconds(19, temperatures=twenty)
    meshes = (11, 15, 19, 23, 27)
    times = [seconds(mesh, threads=1) for mesh in meshes]
    slope = np.polyfit(np.log(np.array(meshes[1:]) ** 3), np.log(times[1:]), 1)[0]
    return [f"Si 19^3, 1 temperature {one_t:.3f} s, 20 temperatures {twenty_t:.3f} s: {twenty_t / one_t:.2f} times",
            f"Si 19^3, 1 thread {times[2]:.3f} s, 2 threads {one_t:.3f} s: {times[2] / one_t:.2f} times",
            "one thread: " + ", ".join(f"{mesh}^3 {t:.3f} s" for mesh, t in zip(meshes, times, strict=True))
            + f"; exponent against the number of points from {meshes[1]}^3 on {slope:.2f} (2 for all pairs of points)"]


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--worker"]:
        _worker(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=[*CASES, "own"])
    parser.add_argument("--data", type=Path, required=True, help="folder with phono3py's inputs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for material in ("si", "nacl"):
            run("files", Path(folder), material, 0, "", data=str(arguments.data.resolve()))
        lines = (alone(Path(folder), arguments.rounds) if arguments.case == "own"
                 else compare(arguments.case, Path(folder), arguments.rounds))
    write_record("bte_speed" if arguments.record else None, "Conductivity from force constants, against phono3py",
                 lines)


if __name__ == "__main__":
    main()
