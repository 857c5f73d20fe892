"""Form of the model of a train job, and the numbers that training begins from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.log import get_logger
from hpcthermo.potentials.zbl import UNIVERSAL_PHI, universal_screening
from hpcthermo.training.parameters import NepForm, form_of
from hpcthermo.training.snes import SnesState, read_restart

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob
    from hpcthermo.config.training import NepSection
    from hpcthermo.potentials.nep_file import NepModel


@dataclass(frozen=True)
class Beginning:
    """What training begins from.

    Attributes
    ----------
    theta : (n,) float64 or None
        None: random numbers.
    scaler : (D,) float64 or None
        None: found from the training set.
    state : SnesState or None
        Means and deviations of an earlier SNES.
    """

    theta: np.ndarray | None = None
    scaler: np.ndarray | None = None
    state: SnesState | None = None


def form_of_section(section: NepSection) -> NepForm:
    """Form that a [model] table states.

    Raises
    ------
    InputError
        For what NEP models do not have.
    """
    from hpcthermo.potentials.nep_file import EXTRA_INVARIANTS

    screening = None
    if section.repulsion_cutoff_A is not None:
        outer = section.repulsion_cutoff_A
        screening = universal_screening(section.elements, 0.5 * outer, outer, section.repulsion_radius_factor,
                                        UNIVERSAL_PHI)
    radial, angular = section.cutoffs
    extra = tuple(name for name in EXTRA_INVARIANTS if name in section.extra_invariants)
    return NepForm(section.elements, radial, angular, section.n_max, section.basis_size, section.l_max, extra,
                   section.neurons, screening)


def beginning_of(job: TrainJob) -> tuple[NepForm, Beginning]:
    """Form and first numbers of a job.

    Raises
    ------
    InputError
        If the model to begin from cannot be read, or is not of the form that [model] states.
    """
    if job.fine_tune is None:
        assert job.model is not None
        return form_of_section(job.model), Beginning()
    model = _model(job.fine_tune)
    elements = model.elements if job.model is None else job.model.elements
    part = model_of_elements(model, elements)
    if job.dataset.element_energies != "common":  # which are found anew, also those of a nep5
        part = replace(part, output_biases=np.zeros(len(elements)))
    form = form_of(part)
    if job.model is not None:
        # the repulsion may be another one, for it is not trained; all else has to fit
        wanted = form_of_section(job.model)
        different = [name for name in ("radial_cutoffs", "angular_cutoffs", "n_max", "basis_size", "l_max",
                                       "extra_invariants", "neurons") if getattr(wanted, name) != getattr(form, name)]
        if different:
            name = different[0]
            raise InputError(f"{job.fine_tune}: expected {name} {getattr(wanted, name)} as the job says, got "
                             f"{getattr(form, name)}; make them the same, or leave out [model]")
        if form.screening is not None and wanted.screening is None:
            get_logger().warning("%s: its short-range repulsion is left out, for [model] has none; give "
                                 "repulsion_cutoff_A to keep one", job.fine_tune)
        form = wanted
    restart, state = getattr(job.optimiser, "restart_file", None), None
    if restart is not None:
        whole = read_restart(Path(restart), form_of(model).n_parameters)
        state = state_of_elements(whole, model, elements)
    return form, Beginning(form.parameters(part), np.array(part.scaler), state)


def _model(spec: str) -> NepModel:
    from hpcthermo.potentials.load import load_potential
    from hpcthermo.potentials.nep import NepPotential

    potential = load_potential(spec)
    if not isinstance(potential, NepPotential):
        raise InputError(f"{spec}: expected a NEP model to fine-tune, got another potential; give a nep.txt")
    return potential.model


def model_of_elements(model: NepModel, elements: Sequence[str]) -> NepModel:
    """The same potential for fewer elements.

    Parameters
    ----------
    model : NepModel
        NEP3 models are given a network for each element.
    elements : sequence of str
        In the order of the result.

    Raises
    ------
    InputError
        If the model does not have one of them.
    """
    t = _types(model, elements)
    rows, columns = np.ix_(t, t)
    return replace(
        model, version=4, elements=tuple(elements), radial_cutoffs=model.radial_cutoffs[t],
        angular_cutoffs=model.angular_cutoffs[t], input_weights=model.input_weights[t],
        neuron_biases=model.neuron_biases[t], output_weights=model.output_weights[t],
        output_biases=model.output_biases[t], radial_coefficients=model.radial_coefficients[:, :, rows, columns],
        angular_coefficients=model.angular_coefficients[:, :, rows, columns],
        screening=None if model.screening is None else model.screening[rows, columns])


def state_of_elements(state: SnesState, model: NepModel, elements: Sequence[str]) -> SnesState:
    """Means and deviations of the numbers that belong to some elements of a model.

    Parameters
    ----------
    state : SnesState
        Of all numbers of `model`.
    """
    form = form_of(model)

    def chosen(values: np.ndarray) -> np.ndarray:
        part = model_of_elements(form.model(values, model.scaler, model.path), elements)
        return form_of(part).parameters(part)

    return SnesState(chosen(state.mean), chosen(state.deviation), state.generation)


def _types(model: NepModel, elements: Sequence[str]) -> list[int]:
    unknown = [element for element in elements if element not in model.elements]
    if unknown:
        raise InputError(f"{model.path}: expected elements of the model that is fine-tuned "
                         f"({' '.join(model.elements)}), got {' '.join(unknown)}; train them from the beginning")
    return [model.elements.index(element) for element in elements]
