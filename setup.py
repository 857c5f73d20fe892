"""Builds the CPU kernels with the host compiler; everything else is in pyproject.toml."""

import importlib.util
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def load_compile_module():
    """``hpcthermo.gpu.compile`` without importing the package, whose dependencies may not be there yet."""
    spec = importlib.util.spec_from_file_location("kernel_compile", ROOT / "hpcthermo" / "gpu" / "compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildWithKernels(build_py):
    """Copy the Python files, then compile the kernels into the package."""

    def run(self):
        super().run()
        compiler = load_compile_module()
        root = ROOT if self.editable_mode else Path(self.build_lib)
        try:
            compiler.build_cpu_kernels(root / "hpcthermo" / "gpu" / "_build")
        except RuntimeError as error:
            sys.exit(f"hpcthermo: {error}")


class BinaryDistribution(Distribution):
    """The wheel holds compiled libraries, so it is tied to a platform."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildWithKernels}, distclass=BinaryDistribution)
