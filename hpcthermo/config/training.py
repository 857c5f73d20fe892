"""Tables of a train job: the data set and its parts, the model, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpcthermo.config.base import Boolean, Element, Section
from hpcthermo.config.labelling import GroupName
from hpcthermo.config.lattice_dynamics import SingleProcessExecution
from hpcthermo.config.structure import FileName
from hpcthermo.potentials.nep_file import (
    GPUMD_ANGULAR_DESCRIPTORS,
    GPUMD_ANGULAR_N_MAX,
    LARGEST_BASIS,
    LARGEST_CUTOFF,
    LARGEST_DEGREE,
    LARGEST_N_MAX,
    LARGEST_NEURONS,
)

#: of NEP models: what nep.txt may state
_Cutoff = Annotated[float, Field(ge=1.0, le=LARGEST_CUTOFF, strict=True)]
_NMax = Annotated[int, Field(ge=0, le=LARGEST_N_MAX, strict=True)]
_Basis = Annotated[int, Field(ge=0, le=LARGEST_BASIS, strict=True)]
_Weight = Annotated[float, Field(ge=0.0, le=1e9, strict=True)]
_Block = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]


class DatasetSection(Section):
    """Labelled frames, and which of them are not trained on."""

    train_files: Annotated[tuple[FileName, ...], Field(min_length=1, max_length=10_000)]
    """Data sets (docs/datasets.md): extended XYZ, folders of DeePMD-kit, outputs of VASP and Quantum ESPRESSO."""
    validation_files: Annotated[tuple[FileName, ...], Field(max_length=10_000)] = ()
    """Frames that say when to stop, instead of a share of the others."""
    test_files: Annotated[tuple[FileName, ...], Field(max_length=10_000)] = ()
    """Frames whose errors are reported and that nothing depends on."""
    validation_share: Annotated[float, Field(ge=0.0, le=0.9, strict=True)] = 0.1
    """Of train_files without validation_files: drawn at random from each group; 0 for none, and then training ends on
    the last model."""
    test_share: Annotated[float, Field(ge=0.0, le=0.9, strict=True)] = 0.0
    """Of train_files, drawn at random from each group: frames whose errors are reported and that nothing depends on."""
    block_frames: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    """Frames of train_files of a block, for trajectories, whose neighbouring frames are alike."""
    validation_blocks: tuple[_Block, ...] = ()
    """Blocks, from 0, for validation; without them and validation_files a share of those that are not for testing."""
    test_blocks: tuple[_Block, ...] = ()
    """Blocks, from 0, for testing."""
    group_weights: dict[GroupName, _Weight] = Field(default={})
    """Factor of the weight of all frames of a group, which counts by its square: of frames whose small forces matter
    (layers at rest)."""
    group_energy_weights: dict[GroupName, _Weight] = Field(default={})
    """Factor of the squared errors of the energies of all frames of a group, beside that of the file: where differences
    of energies matter that are smaller than errors elsewhere (binding curves)."""
    element_energies: Literal["common", "own", "removed"] = "common"
    """Energies of atoms alone differ by many eV between elements in most DFT codes. "common": the network has to learn
    them, with one bias; "own": they are fitted to the training set and written as biases of the elements (nep5);
    "removed": fitted, and left out of the model, whose energies are then relative to them."""
    check: Boolean = True
    """Refuse frames whose labels do not fit together (docs/datasets.md); false takes all that can be read."""

    @model_validator(mode="after")
    def _one_way(self) -> DatasetSection:
        blocks = bool(self.validation_blocks or self.test_blocks)
        if blocks != (self.block_frames is not None):
            raise ValueError("expected block_frames with validation_blocks or test_blocks; add or remove it")
        if self.validation_blocks and self.validation_files:
            raise ValueError("expected either validation_blocks or validation_files; remove one")
        if self.test_share and self.block_frames is not None:
            raise ValueError("expected either test_share or test_blocks; remove one")
        if self.test_share + (0.0 if self.validation_files else self.validation_share) >= 1.0:
            raise ValueError("expected validation_share and test_share with a sum below 1; lower one")
        return self


class NepSection(Section):
    """The form of a NEP4 model."""

    elements: Annotated[tuple[Element, ...], Field(min_length=1, max_length=94)]
    """Elements, in the order of nep.txt."""
    radial_cutoff_A: _Cutoff | tuple[_Cutoff, ...] = 8.0
    """Of the radial descriptors, or one for each element; a pair uses the mean of its two."""
    angular_cutoff_A: _Cutoff | tuple[_Cutoff, ...] = 4.0
    """Of the angular descriptors."""
    n_max: tuple[_NMax, _NMax] = (6, 6)
    """Radial and angular functions, less one."""
    basis_size: tuple[_Basis, _Basis] = (6, 6)
    """Basis functions of each, less one."""
    l_max: Annotated[int, Field(ge=0, le=LARGEST_DEGREE, strict=True)] = 4
    """Largest degree of the three-body invariants."""
    extra_invariants: tuple[Literal["222", "1111", "112", "123", "233", "134"], ...] = ("222",)
    """Four- and five-body invariants by their degrees."""
    neurons: Annotated[int, Field(ge=1, le=LARGEST_NEURONS, strict=True)] = 30
    """Of the hidden layer."""
    repulsion_cutoff_A: Annotated[float, Field(ge=0.1, le=5.0, strict=True)] | None = None
    """Short-range repulsion (ZBL), switched off between half of this and this; at most angular_cutoff_A."""
    repulsion_radius_factor: Annotated[float, Field(ge=0.1, le=5.0, strict=True)] | None = None
    """It ends for each pair at this times the sum of the covalent radii, at most at repulsion_cutoff_A."""

    @model_validator(mode="after")
    def _lists_fit(self) -> NepSection:
        for name in ("elements", "extra_invariants"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: expected each once; remove what is repeated")
        from ase.data import atomic_numbers

        unknown = [element for element in self.elements if element not in atomic_numbers]
        if unknown:
            raise ValueError(f"elements: expected chemical symbols, got {unknown[0]}; correct it")
        radial, angular = self.cutoffs
        if len(radial) != len(self.elements) or len(angular) != len(self.elements):
            raise ValueError(f"cutoffs: expected one number or {len(self.elements)} of them, one for each element; "
                             "correct them")
        if any(r < a for r, a in zip(radial, angular, strict=True)):
            raise ValueError("angular_cutoff_A: expected at most radial_cutoff_A; lower it")
        angular_descriptors = (self.n_max[1] + 1) * (self.l_max + len(self.extra_invariants))
        if self.n_max[1] > GPUMD_ANGULAR_N_MAX or angular_descriptors > GPUMD_ANGULAR_DESCRIPTORS:
            raise ValueError(f"n_max: expected at most {GPUMD_ANGULAR_N_MAX} for the angular functions and "
                             f"{GPUMD_ANGULAR_DESCRIPTORS} angular descriptors, as GPUMD reads, got {self.n_max[1]} "
                             f"and {angular_descriptors}; lower n_max, l_max or the number of extra_invariants")
        if self.repulsion_radius_factor is not None and self.repulsion_cutoff_A is None:
            raise ValueError("repulsion_radius_factor: expected with repulsion_cutoff_A; add it")
        if self.repulsion_cutoff_A is not None and self.repulsion_cutoff_A > min(angular):
            raise ValueError("repulsion_cutoff_A: expected at most angular_cutoff_A, for GPUMD adds it up over the "
                             "angular neighbours; lower it")
        return self

    @property
    def cutoffs(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Radial and angular cutoffs by element, A."""
        radial, angular = self.radial_cutoff_A, self.angular_cutoff_A
        return (radial if isinstance(radial, tuple) else (radial,) * len(self.elements),
                angular if isinstance(angular, tuple) else (angular,) * len(self.elements))


class _Optimiser(Section):
    """What all optimisers have."""

    element_weights: dict[Element, _Weight] = Field(default={})
    """Factor of the force errors by element, 1 if not given."""


class GradientOptimiser(_Optimiser):
    """Exact gradients, L-BFGS with a Gauss-Newton matrix, and early stopping."""

    name: Literal["gradient"]
    """Name of the optimiser."""
    energy_weight: _Weight = 1000.0
    """Of the mean square error of energies per atom (eV)."""
    force_weight: _Weight = 1.0
    """Of that of force components (eV/A)."""
    virial_weight: _Weight = 5.0
    """Of that of virial components per atom (eV)."""
    epochs: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 10_000
    """Gradients of the whole training set at most; the validation set ends training earlier."""
    finish_with_all_frames: Boolean = True
    """Once the validation set has chosen model and regularisation, go on with its frames, too: for 300 epochs at most,
    and to a loss that the chosen model's fit of its training set allows."""
    patience: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None
    """Looks at the validation set without a better one, after which regularisation falls or training ends; 8 unless
    given."""
    l2: Annotated[float, Field(ge=0.0, le=1e6, strict=True)] = 1e-6
    """Weight of the sum of squares of the numbers, where no validation set finds it."""


class SnesOptimiser(_Optimiser):
    """Separable natural evolution strategy, as GPUMD's nep trains."""

    name: Literal["snes"]
    """Name of the optimiser."""
    generations: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 100_000
    """To do."""
    population: Annotated[int, Field(ge=10, le=1000, strict=True)] = 50
    """Individuals of a generation."""
    energy_weight: _Weight = 1.0
    """Of the root mean square error of energies per atom (eV)."""
    force_weight: _Weight = 1.0
    """Of that of force components (eV/A)."""
    virial_weight: _Weight = 0.1
    """Of that of virial components per atom (eV)."""
    shear_weight: _Weight = 1.0
    """Factor of the errors of xy, yz and zx."""
    l1: _Weight | None = None
    """Of the mean magnitude of the numbers; by default sqrt(1e-6 N/T), N numbers and T elements."""
    l2: _Weight | None = None
    """Of their root mean square; by default the same."""
    force_delta_eV_per_A: _Weight = 0.0
    """Small forces count more: squares of errors times delta / (delta + |F|); 0: all the same."""
    batch: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 1000
    """Structures of a generation; batches follow each other."""
    restart_file: FileName | None = None
    """nep.restart of an earlier training: means and deviations to go on from, with q_scaler of fine_tune."""


Optimiser = Annotated[GradientOptimiser | SnesOptimiser, Field(discriminator="name")]


def require_elements(optimiser: GradientOptimiser | SnesOptimiser, model: NepSection) -> None:
    """Refuse weights of elements that the model does not have."""
    unknown = sorted(set(optimiser.element_weights) - set(model.elements))
    if unknown:
        raise ValueError(f"optimiser.element_weights: expected elements of the model ({' '.join(model.elements)}), got "
                         f"{unknown[0]}; remove it")


class TrainingExecution(SingleProcessExecution):
    """Device, threads, memory, precision and time of a training; structures are shared out over MPI ranks."""

    precision: Literal["mixed", "double"] = "mixed"
    """Pair arithmetic: float32 with float64 sums, or float64."""
    max_minutes: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] | None = None
    """Training ends after this time with the best model so far; reading before and checks after it are not counted."""
    memory_GiB: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] | None = None
    """Of each rank, for neighbours and functions of distance; by default 60 % of what is free. Parts of the data set
    that do not fit are computed anew for every gradient, with the same bits."""
    look_interval: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    """Epochs (20 unless given) or generations (100) between rows of loss.out, with a look at the validation set;
    patience counts these."""
