"""The kinds of jobs: what runs each, what analyses its results, and which result heads its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of job; functions are named ``module:function`` and imported when they are called.

    Attributes
    ----------
    runner : str
        (job, communicator, folder, resume, stop) -> None, collective.
    analysis : str
        Results -> the tables ``results`` and ``checks`` of summary.json.
    headlines : tuple of str
        Results that head the report; the first that is there does. A name that ends in * stands for all that begin so.
    main : str
        Results -> the lines (name, text) of them that a terminal shows; without it all.
    """

    runner: str
    analysis: str
    headlines: tuple[str, ...]
    main: str = ""

    def headline(self, results: Iterable[str]) -> str | None:
        """Name of the result that heads the report, among those that are there."""
        names = list(results)
        return next((name for wanted in self.headlines for name in names if fnmatchcase(name, wanted)), None)

    def main_results(self, results: Any) -> list[tuple[str, str]] | None:
        """The lines that a terminal shows of ``results`` of summary.json, or None for all."""
        return _function(self.main)(results) if self.main else None

    def run(self, *arguments: Any) -> None:
        """Call the runner."""
        _function(self.runner)(*arguments)

    def analyze(self, results: Any) -> Any:
        """Call the analysis."""
        return _function(self.analysis)(results)


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"hpcthermo.{module}"), function)
    return found


#: kind in the job file -> what belongs to it; the model of its job is in `hpcthermo.config.job.JOB_KINDS`
KINDS: dict[str, Kind] = {
    "nemd": Kind("transport.nemd:run_nemd", "transport.replicas:analyze_nemd",
                 ("interfacial_thermal_conductance", "thermal_conductivity_bulk", "heat_flux")),
    "md": Kind("run:run_md", "equilibrium:analyze_md", ("temperature",)),
    "minimize": Kind("run:run_minimize", "statics.relaxation:relaxation_tables", ("potential_energy_per_atom",)),
    "lattice": Kind("statics.lattice:run_lattice", "statics.lattice:analyze_lattice", ("lattice_constant_a",)),
    "elastic": Kind("statics.elastic:run_elastic", "statics.elastic:analyze_elastic",
                    ("bulk_modulus_hill", "C_2d_xx_xx")),
    "binding_curve": Kind("statics.binding_curve:run_binding_curve", "statics.binding_curve:analyze_binding_curve",
                          ("binding_energy",)),
    "sliding_surface": Kind("statics.sliding_surface:run_sliding_surface",
                            "statics.sliding_surface:analyze_sliding_surface", ("sliding_barrier",)),
    "moire_map": Kind("statics.moire_map:run_moire_map", "statics.moire_map:analyze_moire_map",
                      ("moire_period_upper",)),
    "fc": Kind("lattice_jobs.phonon:run_force_constants", "lattice_jobs.phonon:analyze_force_constants",
               ("lowest_frequency",)),
    "phonon": Kind("lattice_jobs.phonon:run_phonon", "lattice_jobs.phonon:analyze_phonon", ("highest_frequency",)),
    "bte": Kind("lattice_jobs.bte:run_bte", "lattice_jobs.bte:analyze_bte", ("kappa_lbte_xx_*", "kappa_rta_xx_*"),
                "lattice_jobs.bte:main_results"),
    "label": Kind("labelling.run:run_label", "labelling.run:analyze_labels", ("labelled_frames",)),
    "train": Kind("training.run:run_train", "training.run:analyze_training",
                  ("force_rmse_test", "force_rmse_validation", "force_rmse_training")),
    "model_checks": Kind("model_checks.run:run_model_checks", "model_checks.run:analyze_checks",
                         ("lattice_constant_a*", "lowest_frequency*", "rms_difference*")),
    "active_learning": Kind("active_learning.run:run_active_learning", "active_learning.run:analyze_active_learning",
                            ("force_rmse_held_out_last",)),
    "bte_convergence": Kind("lattice_jobs.convergence:run_convergence", "lattice_jobs.convergence:analyze_convergence",
                            ("kappa_*_extrapolated", "kappa_*")),
}
