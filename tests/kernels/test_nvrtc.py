"""Every kernel module compiles for the GPU, without one: NVRTC to a cubin in both precisions and architectures."""

import ctypes
import os
import re
from pathlib import Path

import pytest

from hpcthermo.gpu.compile import GPU_ARCHITECTURES, GPU_FLAGS, MODULES, PRECISIONS, module_source, specialised

#: NEP by model: the sizes of the Gr/h-BN model, and the largest that a file may have
NEP_MODULES = {
    "nep": specialised(
        "nep_gpu", N_TYPES=3, N_RADIAL=9, K_RADIAL=13, N_ANGULAR=9, K_ANGULAR=13, DEGREE=4, N_DESCRIPTORS=54,
        N_NEURONS=50, N_PRODUCTS=8, FIVE_BODY=-1, REPULSION=0, ANGULAR_SLOTS=64, LIST_SLOTS=448, GATHER=1,
        FIXED_POINT=1, SHARED_SCRATCH=1, STAGE_CLOCK=0),
    "nep of degree 8": specialised(
        "nep_gpu", N_TYPES=16, N_RADIAL=13, K_RADIAL=17, N_ANGULAR=9, K_ANGULAR=17, DEGREE=8, N_DESCRIPTORS=148,
        N_NEURONS=120, N_PRODUCTS=40, FIVE_BODY=9, REPULSION=1, ANGULAR_SLOTS=128, LIST_SLOTS=640, GATHER=0,
        FIXED_POINT=0, SHARED_SCRATCH=0, STAGE_CLOCK=1),
    "nep with long lists": specialised(
        "nep_gpu", N_TYPES=2, N_RADIAL=5, K_RADIAL=9, N_ANGULAR=5, K_ANGULAR=9, DEGREE=4, N_DESCRIPTORS=30,
        N_NEURONS=30, N_PRODUCTS=8, FIVE_BODY=-1, REPULSION=0, ANGULAR_SLOTS=64, LIST_SLOTS=8192, GATHER=1,
        FIXED_POINT=1, SHARED_SCRATCH=1, STAGE_CLOCK=0),
}
#: the first is compiled by the test of its registers; the others take longest (`make kernels` compiles them), and
#: the emulator of warps runs most of them in quick tests
NOT_QUICK = ("nep", "nep of degree 8", "nep with long lists", "nep_training", "nep_training of degree 8", "tersoff",
             "meam", "ilp", "cubic_strength", "linewidths")
#: by degree of the angular functions
TRAINING_MODULES = {"nep_training": specialised("nep_training_kernels", DEGREE=4),
                    "nep_training of degree 8": specialised("nep_training_kernels", DEGREE=8)}
SOURCES = {m: m for m in MODULES if m != "nep"} | NEP_MODULES | TRAINING_MODULES


@pytest.fixture(scope="module")
def nvrtc():
    try:
        import nvidia.cuda_nvrtc as wheel
    except ImportError:
        if os.environ.get("CI") or os.environ.get("HPCTHERMO_REQUIRE_NVRTC") == "1":
            pytest.fail("the nvidia-cuda-nvrtc wheel is not installed, and this run has to compile the GPU kernels")
        pytest.skip("the nvidia-cuda-nvrtc wheel is not installed (extra hpcthermo[dev])")
    folder = Path(next(iter(wheel.__path__))) / "lib"
    return ctypes.CDLL(str(next(folder.glob("libnvrtc.so*"))))


def compile_to_cubin(nvrtc, source, options):
    """Cubin of a CUDA source and the compiler's log; fails with the log."""
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    arguments = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), arguments)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw, log.value.decode()


#: what jobs take in double precision only; all others are quick tests in mixed precision
IN_DOUBLE = ("collisions", "surfaces", "four_phonon")


def combinations():
    """All of them; in the precision that jobs do not take and for the older architecture slow tests, which
    `make kernels` runs too."""
    for module in SOURCES:
        for precision in PRECISIONS:
            for architecture in GPU_ARCHITECTURES:
                usual = "double" if module in IN_DOUBLE else "mixed"
                slow = module in NOT_QUICK or precision != usual or architecture != GPU_ARCHITECTURES[-1]
                yield pytest.param(module, precision, architecture, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("module", "precision", "architecture"), list(combinations()))
def test_kernel_compiles_for_the_gpu(nvrtc, module, precision, architecture):
    options = [*GPU_FLAGS, f"--gpu-architecture={architecture}", f"-DREAL={PRECISIONS[precision]}"]
    assert compile_to_cubin(nvrtc, module_source(SOURCES[module]), options)[0].startswith(b"\x7fELF")


def test_nep_keeps_its_numbers_in_registers(nvrtc):
    """What is spilled is at most a few values that are kept from atom to atom."""
    options = [*GPU_FLAGS, "--gpu-architecture=sm_90", "-DREAL=float", "--ptxas-options=-v"]
    cubin, log = compile_to_cubin(nvrtc, module_source(NEP_MODULES["nep"]), options)
    assert cubin.startswith(b"\x7fELF")
    local = dict(re.findall(r"Function properties for (nep_\w+).*?(\d+) bytes stack frame", log, re.DOTALL))
    assert local.keys() == {"nep_sites", "nep_gather", "nep_settle"}
    assert int(local["nep_gather"]) == 0
    assert int(local["nep_sites"]) <= 16
