"""The shell of CP2K, as far as ASE talks with it: a program for tests of what may go wrong.

    python fake_cp2k.py KIND

KIND is what becomes of the SCF: "converged", "warning" (versions before 2024), "ends" (later ones), "silent". Threads
that it was given are in the version that its output states: 2023.4 for four.
"""

import os
import sys
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HEAD = " CP2K| version string:                                      CP2K version 2023.{}\n"
ENDS = {"converged": "  *** SCF run converged in     2 steps ***\n", "silent": "",
        "warning": " *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n",
        "ends": " *  SCF run NOT converged. To continue the calculation regardless, please set *\n"}


def main(kind: str) -> None:
    """Answer until there is no more to answer."""
    threads = {os.environ.get(name, "0") for name in THREADS}
    output, atoms = Path(), 0

    def say(*lines: str) -> None:
        print(*lines, "* READY", sep="\n", flush=True)

    say()
    for line in sys.stdin:
        command, *words = line.split()
        if command == "VERSION":
            say("CP2K Shell Version: 2.1")
        elif command == "WRITE_FILE":
            path = Path(sys.stdin.readline().strip())
            path.write_text("".join(sys.stdin.readline() for _ in range(int(sys.stdin.readline()))))
            sys.stdin.readline()  # *END
            say()
        elif command == "LOAD":
            output = Path(words[1])
            output.write_text(HEAD.format("+".join(sorted(threads))))
            say("1")
        elif command == "SET_POS":
            atoms = int(sys.stdin.readline()) // 3
            for _ in range(atoms + 1):
                sys.stdin.readline()
            say("0.0")
        elif command == "SET_CELL":
            for _ in range(3):
                sys.stdin.readline()
            say()
        elif command == "EVAL_EF":
            with output.open("a") as file:
                file.write(ENDS[kind])
            if kind == "ends":
                sys.exit(1)
            say()
        elif command == "GET_E":
            say("-10.0")
        elif command == "GET_F":
            say(str(3 * atoms), *atoms * ["0.0 0.0 0.0"], "* END")
        elif command == "GET_STRESS":
            say(" ".join(9 * ["0.0"]))
        elif command == "EXIT":
            return
        else:
            say()


if __name__ == "__main__":
    main(sys.argv[1])
