"""The calculators that job files can name: one row each, with the package that has it and how it is read."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from hpcthermo.errors import InputError, ResourceError
from hpcthermo.potentials.ase_bridge import BridgedPotential
from hpcthermo.potentials.site_model import AseModel, SiteModel

#: the checked keys of a potential table
Options = Mapping[str, Any]


@dataclass(frozen=True)
class KnownCalculator:
    """A row of the table.

    Attributes
    ----------
    package, module : str
        Distribution on PyPI and what is imported of it.
    install : str
        The line that brings it.
    licence : str
        Of the package; it is installed by users who want it and no part of this one.
    keys : tuple of str
        Of the potential table, besides style.
    required : tuple of str
        Those of them that cannot be left out.
    read : callable
        Options and folder of relative paths -> site model.
    """

    package: str
    module: str
    install: str
    licence: str
    keys: tuple[str, ...]
    required: tuple[str, ...]
    read: Callable[[Options, Path], SiteModel]


def load_calculator(style: str, options: Options, base_dir: Path) -> BridgedPotential:
    """The potential of a table whose style is in `CALCULATORS`.

    Raises
    ------
    InputError
        If keys are missing or do not fit, a model file is unusable or not trusted.
    ResourceError
        If the package is not installed.
    """
    known = CALCULATORS[style]
    for key in options:
        if key not in ("style", *known.keys):
            raise InputError(f"potential.{key}: not a key of style {style}; expected {', '.join(known.keys)}")
    for key in known.required:
        if key not in options:
            raise InputError(f"potential.{key}: style {style} needs it")
    try:
        importlib.import_module(known.module)
    except ImportError as error:
        raise ResourceError(f"potential.style: {style} needs {known.package}, which cannot be imported ({error}); "
                            f"{known.install}") from error
    return BridgedPotential(style, known.read(options, base_dir))


def usable(style: str) -> tuple[bool, str]:
    """Whether the package of a style can be imported, and its version or how to install it."""
    known = CALCULATORS[style]
    try:
        importlib.import_module(known.module)
    except Exception as error:  # a broken installation raises anything
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else f"{type(error).__name__}: {error}"
        return False, f"{' '.join(reason.split())[:120]}; {known.install}"
    try:
        version = importlib.metadata.version(known.package)
    except importlib.metadata.PackageNotFoundError:  # on the path, but not installed
        version = "of unknown version"
    return True, f"{known.package} {version} ({known.licence})"


def require_trust(path: Path, stated: str | None) -> None:
    """Refuse a model file that can run code when it is read, unless the user names its content.

    Raises
    ------
    InputError
        If the file is absent, or `stated` is not its SHA-256.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if stated is None:
        raise InputError(f"{path}: a model file of this kind can run any code when it is read; if you trust where it "
                         f'comes from, say trusted_sha256 = "{found}"')
    if stated.lower() != found:
        raise InputError(f"{path}: trusted_sha256 is {stated[:64]}, but the file has {found}; it is not the file that "
                         "you trusted")


def _device(options: Options) -> str:
    """Device name for torch; ranks share the GPUs of a node out in order."""
    if options.get("device", "cpu") == "cpu":
        return "cpu"
    import torch

    from hpcthermo.domain.comm import launcher_rank

    if not torch.cuda.is_available():
        raise ResourceError('potential.device: torch sees no GPU; use device = "cpu"')
    return f"cuda:{launcher_rank() % torch.cuda.device_count()}"


def _read_mace(options: Options, base_dir: Path) -> SiteModel:
    path = base_dir / options["path"]
    require_trust(path, options.get("trusted_sha256"))
    return _mace(path, options["trusted_sha256"], _device(options), options.get("dtype", "float64"))


# a model is read more than once by a run: to check the job, and by the engine
@lru_cache(maxsize=4)
def _mace(path: Path, content: str, device: str, dtype: str) -> SiteModel:
    from hpcthermo.potentials.mace_model import MaceModel

    return MaceModel(path, device, dtype)


def _read_deepmd(options: Options, base_dir: Path) -> SiteModel:
    path = base_dir / options["path"]
    require_trust(path, options.get("trusted_sha256"))
    return _deepmd(path, options["trusted_sha256"], options.get("receptive_field_A"))


@lru_cache(maxsize=4)
def _deepmd(path: Path, content: str, receptive_field: float | None) -> SiteModel:
    from hpcthermo.potentials.deepmd_model import DeepmdModel

    return DeepmdModel(path, receptive_field)


def _read_gap(options: Options, base_dir: Path) -> SiteModel:
    from quippy.potential import Potential

    path = base_dir / options["path"]
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a GAP model ({error})") from error
    descriptors = re.findall(r"<descriptor>(.*?)</descriptor>", text, re.DOTALL)
    cutoffs = [float(number) for line in descriptors for number in re.findall(r"\bcutoff=([0-9.eE+-]+)", line)]
    numbers = {int(z) for line in descriptors for group in re.findall(r"\b(?:Z|Z[12]|species_Z)=\{?([\d ]+)", line)
               for z in group.split()}
    elements = tuple(chemical_symbols[z] for z in sorted(numbers) if 0 < z < len(chemical_symbols))
    if not cutoffs or not elements:
        raise InputError(f"{path}: expected the XML file that gap_fit wrote, with descriptors that name their cutoff "
                         "and elements (add_species=T)")
    reach = options.get("receptive_field_A", max(cutoffs))
    # the per-atom stresses of the code are neighbour-centred site virials (tests/bridge)
    return AseModel(Potential(param_filename=str(path)), str(path), elements, reach, stresses_are_site_virials=True)


def _read_tblite(options: Options, base_dir: Path) -> SiteModel:
    from tblite.ase import TBLite

    method = options.get("method", "GFN2-xTB")
    if method not in ("GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"):
        raise InputError(f"potential.method: expected GFN1-xTB, GFN2-xTB or IPEA1-xTB, got {method!r}")
    return AseModel(TBLite(method=method, verbosity=0), method, tuple(chemical_symbols[1:87]))


def _read_dispersion(options: Options, base_dir: Path) -> SiteModel:
    from hpcthermo.potentials.dispersion import DispersionModel

    return DispersionModel(options["method"], options.get("cutoff_A"), options.get("coordination_cutoff_A"))


def _read_ase(options: Options, base_dir: Path) -> SiteModel:
    name = options["calculator"]
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"potential.calculator: expected module:Class of an ASE calculator, got {name!r} "
                         f"({error})") from error
    if not isinstance(factory, type) or not hasattr(factory, "implemented_properties"):
        raise InputError(f"potential.calculator: {name} is no class of ASE calculators")
    try:
        calculator = factory(**options.get("arguments", {}))
    except Exception as error:  # a calculator raises what it likes about its arguments
        raise InputError(f"potential.arguments: {name} refuses them ({type(error).__name__}: "
                         f"{' '.join(str(error).split())[:160]})") from error
    return AseModel(calculator, attribute, tuple(options["elements"]), options.get("receptive_field_A"))


#: style -> calculator
CALCULATORS: dict[str, KnownCalculator] = {
    "mace": KnownCalculator("mace-torch", "mace", "pip install 'hpcthermo[mace]'", "MIT",
                            ("path", "trusted_sha256", "device", "dtype"), ("path",), _read_mace),
    "gap": KnownCalculator("quippy-ase", "quippy", "pip install 'hpcthermo[gap]'", "GPL-2, GAP: its own",
                           ("path", "receptive_field_A"), ("path",), _read_gap),
    "deepmd": KnownCalculator("deepmd-kit", "deepmd.infer", "pip install 'hpcthermo[deepmd]'", "LGPL-3",
                              ("path", "trusted_sha256", "receptive_field_A"), ("path",), _read_deepmd),
    "tblite": KnownCalculator("tblite", "tblite.ase", "pip install 'hpcthermo[tblite]'", "LGPL-3",
                              ("method",), (), _read_tblite),
    "dftd3": KnownCalculator("dftd3", "dftd3.interface", "pip install 'hpcthermo[dftd3]'", "LGPL-3",
                             ("method", "cutoff_A", "coordination_cutoff_A"), ("method",), _read_dispersion),
    "ase": KnownCalculator("ase", "ase", "pip install ase", "LGPL-2.1",
                           ("calculator", "arguments", "elements", "receptive_field_A"), ("calculator", "elements"),
                           _read_ase),
}
