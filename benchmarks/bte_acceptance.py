"""Acceptance of phonons and of the Boltzmann equation: phono3py, stored values, exact properties, literature.

    python benchmarks/bte_acceptance.py modes silicon_table settings_table salt_table self_energy_table
    python benchmarks/bte_acceptance.py physics differences gruneisen diamond graphene silicon --record

Sections are independent. Inputs are those of ../shared (forces of silicon and rock salt, NEP models). phono3py runs in
processes of its own (tests/kernels/phono3py_oracle.py) from the same force constants and meshes; "gauge-free" are its
weights averaged over degenerate bands, its default depends on the eigenvectors that LAPACK chose among them. Stored
values are those of phono3py's tests (default weights); "apart" is ours against gauge-free. A line that misses what is
asked for begins with MISS.
"""

from __future__ import annotations

import argparse
import time

from acceptance import displacements, literature, phono3py_tables, properties
from phono3py_oracle import lattice_data
from record import write_record

SECTIONS = {"modes": phono3py_tables.modes, "silicon_table": phono3py_tables.silicon_table,
            "settings_table": phono3py_tables.settings_table, "salt_table": phono3py_tables.salt_table,
            "self_energy_table": phono3py_tables.self_energy_table, "physics": properties.physics,
            "differences": displacements.differences, "gruneisen": displacements.gruneisen,
            **{name: (lambda name=name: literature.literature(name)) for name in literature.MATERIALS}}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    lattice_data()
    for name in arguments.sections:
        start = time.perf_counter()
        lines = SECTIONS[name]()
        lines.append(f"{time.perf_counter() - start:.0f} s")
        write_record("bte_acceptance" if arguments.record else None, f"Boltzmann equation, acceptance: {name}", lines)


if __name__ == "__main__":
    main()
