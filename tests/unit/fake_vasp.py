"""What VASP writes, as far as it is read: a program for tests of what may go wrong.

    python fake_vasp.py KIND

KIND is the fault; POSCAR in the folder says the atoms. The force on an atom is its place in POSCAR, along x.
"""

import sys
from pathlib import Path

XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp </i><i name="version" type="string">6.4.2 </i></generator>
 <incar><i name="ENCUT">400</i></incar>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
 <parameters><separator name="electronic"><i type="int" name="NELM">60</i></separator></parameters>
 <atominfo><atoms>{count}</atoms><types>{kinds}</types><array name="atoms"><set>
{elements}
 </set></array></atominfo>
 <structure name="initialpos">{structure}</structure>
 <calculation>
  <scstep>{energy}</scstep>
  <structure>{structure}</structure>
  <varray name="forces">{forces}</varray>
  <varray name="stress"><v>-10.0 2.0 0.0</v><v>2.0 -20.0 0.0</v><v>0.0 0.0 -30.0</v></varray>
  {energy}
 </calculation>
 <structure name="finalpos">{structure}</structure>
</modeling>
"""
ENERGY = '<energy><i name="e_fr_energy">-9.75</i><i name="e_wo_entrp">-9.0</i><i name="e_0_energy">-9.5</i></energy>'
OUTCAR = """ vasp.6.4.2 20Jul23 (build) complex
--------------------------------------- Iteration    1(   1)
--------------------------------------- Iteration    1(   2)
 number of electron      12.0000000 magnetization      -1.2500000
{dispersion}
{end}
"""


def read_input() -> tuple[list[list[float]], list[str], list[list[float]]]:
    """Cell (A), elements and fractional positions of POSCAR."""
    lines = Path("POSCAR").read_text().splitlines()
    elements = [element for element, count in zip(lines[5].split(), lines[6].split(), strict=True)
                for _ in range(int(count))]
    return ([[float(x) for x in line.split()] for line in lines[2:5]], elements,
            [[float(x) for x in line.split()[:3]] for line in lines[8:8 + len(elements)]])


def rows(vectors: list[list[float]]) -> str:
    """Vectors of vasprun.xml."""
    return "".join("<v>{:16.8f} {:16.8f} {:16.8f}</v>".format(*vector) for vector in vectors)


def main(kind: str) -> None:
    """Write the outputs."""
    cell, elements, positions = read_input()
    mean = 0.5 * (len(elements) - 1)
    forces = [[k - mean, 0.0, 0.0] for k in range(len(elements))]
    if kind == "relaxed":
        positions[0][0] += 0.01
    if kind == "wrapped":
        positions = [[x % 1.0 for x in position] for position in positions]
    if kind == "strained":
        cell[2][2] += 0.1
    structure = (f'<crystal><varray name="basis">{rows(cell)}</varray></crystal>'
                 f'<varray name="positions">{rows(positions)}</varray>')
    kinds = list(dict.fromkeys(elements))
    text = XML.format(count=len(elements), kinds=len(kinds), structure=structure, forces=rows(forces), energy=ENERGY,
                      elements="\n".join(f"<rc><c>{element}</c><c>{kinds.index(element) + 1}</c></rc>"
                                         for element in elements))
    Path("vasprun.xml").write_text(text[:text.index("stress")] if kind == "cut" else text)
    Path("OUTCAR").write_text(OUTCAR.format(
        dispersion="" if kind == "no_dispersion" else "  DFTD3 V3.0 Rev 1\n  Edisp (eV):   -0.10000",
        end="" if kind == "unconverged" else " aborting loop because EDIFF is reached"))
    if kind == "crash":
        print(" Error EDDDAV: Call to ZHEGV failed. Returncode =   8")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
