"""MACE models (I. Batatia et al., NeurIPS 35, 11423 (2022)) for the bridge, differentiated by site.

Each of the L layers of messages reaches one cutoff r_c further, so the receptive field is R = L r_c. Automatic
differentiation gives what a halo of R needs: the partial forces of the owned energies, and with three more backward
passes the per-atom virials,

    F_j = -dE/dr_j,  E = sum_{i owned} U_i        W_j^ab = r_j^a F_j^b + d/dr_j^b (sum_{i owned} r_i^a U_i)

where r_i in the last sum is held constant (M. F. Langer et al., Phys. Rev. B 108, L100302 (2023), for the same step
with heat fluxes). The sum over pairs of edge forces would give the same total, but not the same heat current: an edge
between two neighbours carries energy of sites further away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Limits
from hpcthermo.potentials.site_model import SiteResult, calculator_failures


class MaceModel:
    """A MACE model as a `hpcthermo.potentials.site_model.SiteModel`.

    Parameters
    ----------
    path : Path
        File of a whole model (a pickle; see `hpcthermo.potentials.calculators.require_trust`).
    device : str
        Of torch: "cpu", "cuda:0".
    dtype : {"float64", "float32"}

    Raises
    ------
    InputError
        If the file holds no MACE model.
    """

    partial_forces = True
    smallest_height = 0.0
    limits = Limits()

    def __init__(self, path: Path, device: str = "cpu", dtype: str = "float64") -> None:
        import mace  # noqa: F401 (first: it lets torch load the files of its own libraries)
        import torch

        self.source = str(path)
        try:
            model = torch.load(path, map_location=device, weights_only=False)
            numbers, reach = model.atomic_numbers.tolist(), float(model.r_max) * int(model.num_interactions)
        except Exception as error:  # whatever unpickling raises
            raise InputError(f"{path}: expected the .model file of a MACE training ({type(error).__name__}: "
                             f"{' '.join(str(error).split())[:120]})") from error
        self._dtype = getattr(torch, dtype)
        self._model, self._device = model.to(device=device, dtype=self._dtype).eval(), device
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        self._numbers, self._cutoff = numbers, float(model.r_max)
        self.elements = tuple(chemical_symbols[number] for number in numbers)
        self.halo: float | None = reach

    def evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        """As in `SiteModel`."""
        with calculator_failures(self.source, len(atoms)):
            return self._evaluate(atoms, n_owned, virials)

    def _evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        import torch

        graph = self._graph(atoms)
        if atoms.pbc.any():
            found = {name: value.detach().cpu().numpy().astype(np.float64) for name, value in self._model(
                graph, compute_virials=True).items() if name in ("node_energy", "forces", "virials")}
            return SiteResult(found["node_energy"], found["forces"], None, found["virials"].reshape(3, 3))
        positions = graph["positions"]
        energies = self._model(graph, compute_force=False)["node_energy"][:n_owned]

        def gradient(total: Any, again: bool) -> np.ndarray:
            (derivative,) = torch.autograd.grad(total, positions, retain_graph=again)
            return derivative.cpu().numpy().astype(np.float64)

        forces = -gradient(energies.sum(), virials)
        site_virials = None
        if virials:
            places = positions.detach()[:n_owned]
            moments = [gradient((places[:, a] * energies).sum(), a < 2) for a in range(3)]
            site_virials = atoms.positions[:, :, None] * forces[:, None, :] + np.stack(moments, axis=1)
        return SiteResult(energies.detach().cpu().numpy().astype(np.float64), forces, site_virials)

    def _graph(self, atoms: Atoms) -> dict[str, Any]:
        from mace import data
        from mace.tools import AtomicNumberTable, torch_geometric, torch_tools

        heads = list(getattr(self._model, "heads", None) or ["Default"])
        with torch_tools.default_dtype(self._dtype):
            configuration = data.config_from_atoms(atoms, head_name=heads[-1])
            graph = data.AtomicData.from_config(configuration, z_table=AtomicNumberTable(self._numbers),
                                                cutoff=self._cutoff, heads=heads)
        return torch_geometric.Batch.from_data_list([graph]).to(self._device).to_dict()
