"""DeePMD-kit models (H. Wang et al., Comput. Phys. Commun. 228, 178 (2018)) for the bridge.

DeepPot-SE is a sum of site energies over neighbours within its cutoff. The library differentiates the energy of all
atoms of a cluster and gives per-atom virials.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Limits
from hpcthermo.potentials.site_model import SiteResult, calculator_failures

#: descriptors in which an atom knows its neighbours and nothing of theirs
LOCAL_DESCRIPTORS = ("se_a", "se_e2_a", "se_r", "se_e2_r", "se_at", "se_e3", "se_a_3be", "se_t", "se_atten", "dpa1")


class DeepmdModel:
    """A DeePMD-kit model as a `hpcthermo.potentials.site_model.SiteModel`.

    Parameters
    ----------
    path : Path
        Frozen model of any backend that is installed.
    receptive_field : float, optional
        R, A, for models with message passing; the cutoff of others is their receptive field.

    Raises
    ------
    InputError
        If the file holds no such model, or one with message passing and no receptive field is stated.
    """

    partial_forces = False
    smallest_height = 0.0
    limits = Limits()

    def __init__(self, path: Path, receptive_field: float | None = None) -> None:
        from deepmd.infer import DeepPot

        self.source = str(path)
        try:
            self._model = DeepPot(str(path))
            names, reach = self._model.get_type_map(), float(self._model.get_rcut())
        except Exception as error:  # several libraries raise their own kinds
            raise InputError(f"{path}: expected a DeePMD-kit model ({type(error).__name__}: "
                             f"{' '.join(str(error).split())[:120]})") from error
        if receptive_field is None and (kind := _descriptor(self._model)) not in LOCAL_DESCRIPTORS:
            raise InputError(f"{path}: the descriptor {kind!r} may pass messages beyond its cutoff of {reach:g} A; "
                             "give receptive_field_A (layers of messages times cutoff)")
        self._types = {name: index for index, name in enumerate(names)}
        self.elements = tuple(name for name in names if name in chemical_symbols[1:])
        self.halo: float | None = 2.0 * (reach if receptive_field is None else receptive_field)

    def evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        """As in `SiteModel`."""
        types = [self._types[symbol] for symbol in atoms.symbols]
        cell = atoms.cell.array.reshape(1, 9) if atoms.pbc.any() else None
        with calculator_failures(self.source, len(atoms)):
            _, forces, _, energies, site_virials = self._model.eval(atoms.positions.reshape(1, -1), cell, types,
                                                                    atomic=True)
        # the library has the component of the force first, that of the position second
        site = np.asarray(site_virials, float).reshape(-1, 3, 3)[:n_owned].transpose(0, 2, 1)
        return SiteResult(np.asarray(energies, float).ravel()[:n_owned],
                          np.asarray(forces, float).reshape(-1, 3)[:n_owned], site, site.sum(axis=0))


def _descriptor(model: Any) -> str:
    """Type of the descriptor, "" if the model does not say."""
    script = model.get_model_def_script()
    script = json.loads(script) if isinstance(script, str) else script
    return str(script.get("model", script).get("descriptor", {}).get("type", ""))
