"""What pw.x prints, as far as its output is read: a program for tests of what may go wrong.

    python fake_pw.py KIND -in pw.in

KIND is the fault; the input in the folder says the atoms.
"""

import sys
import time
from pathlib import Path

BOHR = 0.529177210903  # A

HEAD = """
     Program PWSCF v.6.7MaX starts on 22Nov2026 at  5:35:44

     bravais-lattice index     =            0
     lattice parameter (alat)  =  {alat:12.7f}  a.u.
     number of atoms/cell      =  {n:11d}
     celldm(1)= {alat:11.7f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
{axes}
   Cartesian axes

     site n.     atom                  positions (alat units)
{sites}

     number of k points=   292  Marzari-Vanderbilt smearing, width (Ry)=  0.0100

     Number of k-points >= 100: set verbosity='high' to print them.

"""
SCF = """     estimated scf accuracy    <       0.00000001 Ry
     End of self-consistent calculation

     Number of k-points >= 100: set verbosity='high' to print the bands.

     the Fermi energy is     6.0334 ev

!    total energy              =  {energy:16.8f} Ry
     estimated scf accuracy    <       0.00000001 Ry
     smearing contrib. (-TS)   =      -0.00010000 Ry
{dispersion}
     convergence has been achieved in  11 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

{forces}

     Total force =     0.000000     Total SCF correction =     0.000000

     Computing stress (Cartesian axis) and pressure

          total   stress  (Ry/bohr**3)                   (kbar)     P=        1.00
   0.00001000   0.00000200   0.00000000            1.47        0.29        0.00
   0.00000200   0.00002000   0.00000000            0.29        2.94        0.00
   0.00000000   0.00000000   0.00003000            0.00        0.00        4.41

=------------------------------------------------------------------------------=
   JOB DONE.
"""


def read_input() -> tuple[list[list[float]], list[tuple[str, list[float]]]]:
    """Cell and atoms of pw.in, A."""
    lines = Path("pw.in").read_text().splitlines()
    cell = lines.index("CELL_PARAMETERS angstrom") + 1
    first = lines.index("ATOMIC_POSITIONS angstrom") + 1
    rows = [line.split() for line in lines[first:] if line.strip()]
    return ([[float(x) for x in line.split()] for line in lines[cell:cell + 3]],
            [(row[0], [float(x) for x in row[1:4]]) for row in rows])


def main(kind: str) -> int:
    cell, atoms = read_input()
    unit = sum(x * x for x in cell[0]) ** 0.5
    if kind == "strained":
        cell[2][2] += 0.1
    axes = "\n".join("               a({}) = (  {:10.6f}  {:10.6f}  {:10.6f} )".format(k + 1, *(x / unit for x in row))
                     for k, row in enumerate(cell))
    if kind == "relaxed":
        atoms[-1] = (atoms[-1][0], [atoms[-1][1][0] + 0.01, *atoms[-1][1][1:]])
    sites = "\n".join("        {:2d}           {:2s}  tau({:4d}) = ( {:11.7f} {:11.7f} {:11.7f}  )".format(
        k + 1, symbol, k + 1, *(x / unit for x in position)) for k, (symbol, position) in enumerate(atoms))
    print(HEAD.format(alat=unit / BOHR, n=len(atoms), axes=axes, sites=sites))
    if kind == "unconverged":
        print("     estimated scf accuracy    <       0.00100000 Ry")
        print("     convergence NOT achieved after 100 iterations: stopping\n   JOB DONE.")
        return 2
    if kind == "crash":
        print("     %%%%%%%%\n     Error in routine cdiaghg (1):\n     eigenvectors failed to converge\n     %%%%%%%%")
        return 1
    if kind == "slow":
        time.sleep(60)
    force = 0.5 if kind == "net_force" else 0.001
    row = "     atom {:4d} type  1   force = {:13.8f}    0.00000000    0.00000000"
    forces = "\n".join(row.format(k + 1, force if k else -0.001) for k in range(len(atoms)))
    dispersion = "" if kind == "no_dispersion" else "     DFT-D3 Dispersion         =      -0.01000000 Ry"
    text = SCF.format(energy=-10.0, forces=forces, dispersion=dispersion)
    print(text[:text.index("Forces")] if kind == "cut" else text.replace("-10.00000000", "-10.0****000")
          if kind == "garbled" else text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
