"""Lets tests on a GPU use the cases of the other folders."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("kernels", "physics")]
