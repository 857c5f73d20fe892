"""What the compiler makes of every GPU kernel: registers, local and shared memory, instructions, resident warps.

    python benchmarks/gpu_kernels.py > benchmarks/results/gpu_kernels.txt

No GPU is needed: NVRTC (wheel nvidia-cuda-nvrtc-cu12) compiles the text that runs. Instructions are counted by nvdisasm
(wheel nvidia-cuda-nvdisasm, or on the PATH); without it, as bytes of code over 16.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hpcthermo.gpu.compile import GPU_ARCHITECTURES, GPU_FLAGS, MODULES, PRECISIONS, module_source, specialised

#: models for which NEP is compiled: sizes as `potentials/nep_gpu.py` finds them
NEP_MODELS = {
    "Gr/h-BN": {"N_TYPES": 3, "N_RADIAL": 9, "K_RADIAL": 13, "N_ANGULAR": 9, "K_ANGULAR": 13, "DEGREE": 4,
                "N_DESCRIPTORS": 54, "N_NEURONS": 50, "N_PRODUCTS": 8, "LIST_SLOTS": 448},
    "Si 4-body": {"N_TYPES": 1, "N_RADIAL": 5, "K_RADIAL": 9, "N_ANGULAR": 5, "K_ANGULAR": 9, "DEGREE": 4,
                  "N_DESCRIPTORS": 30, "N_NEURONS": 50, "N_PRODUCTS": 8, "LIST_SLOTS": 64},
}
GROUPS_PER_BLOCK = 4


@dataclass(frozen=True)
class Multiprocessor:
    """What one multiprocessor offers (CUDA C++ Programming Guide, table of compute capabilities)."""

    registers: int
    warps: int
    shared_memory: int


MULTIPROCESSORS = {"sm_80": Multiprocessor(65_536, 64, 167_936), "sm_90": Multiprocessor(65_536, 64, 233_472)}


@dataclass(frozen=True)
class KernelReport:
    """One kernel of a cubin; memory in bytes per thread (local) and per block (shared)."""

    name: str
    registers: int
    local: int
    spill_stores: int
    shared: int
    instructions: list[str]
    counted: int

    def resident_warps(self, architecture: str, warps_per_block: int = GROUPS_PER_BLOCK) -> int:
        """Warps on a multiprocessor at once; registers are dealt out to a warp in units of 256."""
        limits = MULTIPROCESSORS[architecture]
        by_registers = limits.registers // (-(-self.registers * 32 // 256) * 256) // warps_per_block
        by_memory = limits.shared_memory // (self.shared + 1024)
        return min(by_registers, by_memory, limits.warps // warps_per_block, 32) * warps_per_block


def nep_module(model: str, gather: bool = True, fixed_point: bool = True) -> str:
    """Name of the NEP module of a model."""
    options = {"FIVE_BODY": -1, "REPULSION": 0, "ANGULAR_SLOTS": 64, "GATHER": int(gather),
               "FIXED_POINT": int(fixed_point), "SHARED_SCRATCH": 1, "STAGE_CLOCK": 0}
    return specialised("nep_gpu", **NEP_MODELS[model], **options)


def compile_module(module: str, precision: str, architecture: str) -> tuple[bytes, str]:
    """Cubin and the assembler's report."""
    import nvidia.cuda_nvrtc as wheel

    nvrtc = ctypes.CDLL(str(next((Path(next(iter(wheel.__path__))) / "lib").glob("libnvrtc.so*"))))
    texts = (*GPU_FLAGS, f"--gpu-architecture={architecture}", f"-DREAL={PRECISIONS[precision]}",
             f"-DGROUPS_PER_BLOCK={GROUPS_PER_BLOCK}", "--ptxas-options=-v")
    options = [text.encode() for text in texts]
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), module_source(module).encode(), b"kernel.cu", 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        raise SystemExit(log.value.decode())
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw, log.value.decode()


def disassembler() -> str | None:
    """Path of nvdisasm, or None."""
    try:
        import nvidia
    except ImportError:
        return shutil.which("nvdisasm")
    found = [p for folder in nvidia.__path__ for p in Path(folder).glob("*/bin/nvdisasm")]
    return str(found[0]) if found else shutil.which("nvdisasm")


def disassembled(cubin: bytes) -> dict[str, list[str]]:
    """Lines of each kernel, labels included; empty without nvdisasm."""
    program = disassembler()
    if program is None:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([program, "-c", file.name], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"\.section\s+\.text\.", text)[1:]
    return {part.split(",")[0]: part.splitlines() for part in parts}


def report(module: str, precision: str, architecture: str) -> list[KernelReport]:
    """Every kernel of a module."""
    cubin, log = compile_module(module, precision, architecture)
    code = disassembled(cubin)
    pattern = (r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?"
               r"Used (\d+) registers([^\n]*)")
    kernels = []
    for name, local, spill_stores, registers, rest in re.findall(pattern, log, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", rest)
        lines = code.get(name, [])
        counted = sum(bool(re.match(r"\s+/\*[0-9a-f]{4,}\*/", line)) for line in lines)
        counted = counted or _code_bytes(cubin, name) // 16
        kernels.append(KernelReport(name, int(registers), int(local), int(spill_stores),
                                    int(shared[1]) if shared else 0, lines, counted))
    return kernels


def _code_bytes(cubin: bytes, kernel: str) -> int:
    """Size of a kernel's code section, from the section table of the ELF file."""
    def number(at: int, n: int) -> int:
        return int.from_bytes(cubin[at:at + n], "little")

    table, entry, count, names = number(40, 8), number(58, 2), number(60, 2), number(62, 2)
    strings = number(table + names * entry + 24, 8)
    for k in range(count):
        header = table + k * entry
        start = strings + number(header, 4)
        if cubin[start:cubin.index(b"\0", start)].decode() == f".text.{kernel}":
            return number(header + 32, 8)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=list(GPU_ARCHITECTURES))
    options = parser.parse_args()
    modules = {f"nep, {model}": nep_module(model) for model in NEP_MODELS}
    modules |= {m: m for m in MODULES if m != "nep"}
    version = importlib.metadata.version("nvidia-cuda-nvrtc-cu12")
    print(f"Kernels as NVRTC {version} compiles them: registers and local bytes")
    print("per thread, bytes spilled, shared bytes per block, instructions in the code, and occupancy: warps resident")
    print(f"on a multiprocessor in blocks of {GROUPS_PER_BLOCK}, and their share of the most it can hold.")
    for architecture in options.architectures:
        for precision in PRECISIONS:
            print(f"\n{architecture}, {precision}")
            print(f"{'module':16} {'kernel':22} {'registers':>9} {'local':>6} {'spilled':>8} {'shared':>7} "
                  f"{'instructions':>13} {'warps':>6} {'occupancy':>10}")
            for title, module in modules.items():
                for k in report(module, precision, architecture):
                    warps = k.resident_warps(architecture)
                    share = warps / MULTIPROCESSORS[architecture].warps
                    print(f"{title:16} {k.name:22} {k.registers:9} {k.local:6} {k.spill_stores:8} {k.shared:7} "
                          f"{k.counted:13} {warps:6} {100 * share:9.0f}%", flush=True)


if __name__ == "__main__":
    main()
