"""A whole job file; the kind decides which experiment table it has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcthermo.config.active_learning import ActiveLearningSection, Explorations
from hpcthermo.config.base import Section, Text
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.config.execution import Execution, Output
from hpcthermo.config.interlayer import BindingCurve, MoireMap, SlidingSurface
from hpcthermo.config.labelling import Engine, Recipes, SelectionSection
from hpcthermo.config.lattice_dynamics import (
    BteSection,
    ConvergenceSection,
    CrystalFiles,
    ForceConstantsSection,
    PhononSection,
    SingleProcessExecution,
    TightRelaxation,
)
from hpcthermo.config.model_checks import Checks
from hpcthermo.config.nemd import NemdSection
from hpcthermo.config.potential import Potential, specs_of
from hpcthermo.config.relaxation import ElasticSection, LatticeSection, Relaxation
from hpcthermo.config.stage import MinimizeStage, Stage
from hpcthermo.config.structure import FileName, Structure
from hpcthermo.config.training import (
    DatasetSection,
    GradientOptimiser,
    NepSection,
    Optimiser,
    TrainingExecution,
    require_elements,
)

Stages = Annotated[tuple[Stage, ...], Field(max_length=1000)]


class AnyJob(Section):
    """What every kind of job has."""

    title: Text = ""
    """Free text; heads the report."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 1
    """Seed of all random numbers."""


class CommonJob(AnyJob):
    """A job that moves atoms."""

    structure: Structure
    """Where the atoms come from."""
    potential: Potential
    """Interatomic potential (path, embedded name or table), or a list of several that are added."""
    execution: Execution = Execution()
    """Device, precision and decomposition."""
    output: Output = Output()
    """Checkpoints, series and trajectory."""

    @model_validator(mode="after")
    def _replicas_of_nemd_only(self) -> Any:
        if self.execution.replicas > 1 and getattr(self, "kind", "nemd") != "nemd":
            raise ValueError(f"execution.replicas: expected 1 except for kind nemd, got {self.execution.replicas}; "
                             "run the job with several seeds instead")
        return self

    @property
    def potential_spec(self) -> Any:
        """The potential as `potentials.load.load_potential` takes it: text, dict, or a list of these."""
        return specs_of(self.potential)


class NemdJob(CommonJob):
    """Non-equilibrium molecular dynamics between a heat source and a heat sink."""

    kind: Literal["nemd"]
    """Kind of job."""
    stage: Stages = ()
    """Equilibration before the experiment."""
    nemd: NemdSection
    """The experiment."""

    @property
    def total_steps(self) -> int:
        """Time steps of all stages and the experiment."""
        experiment = self.nemd.total_steps
        return sum(s.n_steps for s in self.stage) + experiment


class MdJob(CommonJob):
    """Equilibrium molecular dynamics: the stages are the job."""

    kind: Literal["md"]
    """Kind of job."""
    stage: Stages = Field(min_length=1)
    """Stages in order."""

    @property
    def total_steps(self) -> int:
        """Time steps of all stages."""
        return sum(s.n_steps for s in self.stage)


class RelaxationExecution(Execution):
    """Device, precision and decomposition of a relaxation."""

    precision: Literal["mixed", "double"] = "double"
    """Pair arithmetic: float32 with float64 sums, or float64."""


class StaticJob(CommonJob):
    """A job that begins with a relaxation."""

    execution: RelaxationExecution = RelaxationExecution()
    """Device, precision (double unless given) and decomposition."""
    output: Output = Output(series_interval_steps=1)
    """Checkpoints, series and trajectory."""

    @property
    def relaxation(self) -> Relaxation:
        """The table that says how to relax."""
        raise NotImplementedError

    @property
    def stage(self) -> tuple[MinimizeStage]:
        """The relaxation as a stage."""
        fields = {name: getattr(self.relaxation, name) for name in Relaxation.model_fields}
        return (MinimizeStage(ensemble="minimize", name="relaxation", **fields),)

    @property
    def total_steps(self) -> int:
        """Most steps the relaxation can take."""
        return self.relaxation.steps


class MinimizeJob(StaticJob):
    """Relaxation of the positions, and of the cell where components are free."""

    kind: Literal["minimize"]
    """Kind of job."""
    minimize: Relaxation = Relaxation()
    """Algorithm, free cell components and tolerances."""

    @property
    def relaxation(self) -> Relaxation:
        """The table that says how to relax."""
        return self.minimize


class LatticeJob(StaticJob):
    """Lattice constants, interlayer spacings, cohesive energy and density of the relaxed crystal."""

    kind: Literal["lattice"]
    """Kind of job."""
    lattice: LatticeSection = LatticeSection()
    """How to relax, and unit cells in the cell."""

    @property
    def relaxation(self) -> LatticeSection:
        """The table that says how to relax."""
        return self.lattice


class ElasticJob(StaticJob):
    """Elastic constants of the relaxed crystal from finite strains."""

    kind: Literal["elastic"]
    """Kind of job."""
    elastic: ElasticSection = ElasticSection()
    """How to relax, and strains."""

    @property
    def relaxation(self) -> ElasticSection:
        """The table that says how to relax."""
        return self.elastic


class SweepJob(CommonJob):
    """A structure at one place after the other."""

    execution: RelaxationExecution = RelaxationExecution()
    """Device, precision (double unless given) and decomposition."""
    output: Output = Output(checkpoint_interval_steps=100)
    """Checkpoints."""

    @property
    def stage(self) -> tuple[()]:
        """No stages: nothing moves before the sweep."""
        return ()


class BindingCurveJob(SweepJob):
    """Energy of rigid layers against their distance."""

    kind: Literal["binding_curve"]
    """Kind of job."""
    binding_curve: BindingCurve
    """Gap and distances."""

    @property
    def total_steps(self) -> int:
        """Distances."""
        return len(self.binding_curve.distances)


class SlidingSurfaceJob(SweepJob):
    """Energy of shifting layers over each other."""

    kind: Literal["sliding_surface"]
    """Kind of job."""
    sliding_surface: SlidingSurface = SlidingSurface()
    """Gap, grid and what relaxes."""

    @property
    def total_steps(self) -> int:
        """Grid points."""
        return len(self.sliding_surface.fractions)


class MoireMapJob(StaticJob):
    """Relaxation of two layers, and their local stacking, distance and interlayer energy."""

    kind: Literal["moire_map"]
    """Kind of job."""
    moire_map: MoireMap = MoireMap()
    """How to relax, and the two layers."""

    @property
    def relaxation(self) -> MoireMap:
        """The table that says how to relax."""
        return self.moire_map


class TaskJob(AnyJob):
    """A job whose work is a list of tasks: one process, and workers by [campaign]."""

    kind: str
    """Kind of job."""
    campaign: CampaignSection = CampaignSection()
    """Processes that compute tasks."""

    @property
    def device(self) -> str:
        """Where it computes; kinds without [execution] leave that to other programs."""
        return str(getattr(getattr(self, "execution", None), "device", "cpu"))

    @property
    def threads(self) -> int:
        """Threads of the process; 0 for all cores."""
        return int(getattr(getattr(self, "execution", None), "threads", 0))


class LatticeDynamicsJob(TaskJob):
    """A job about lattice vibrations: from force constants at hand, or from a structure and a potential."""

    crystal: CrystalFiles | None = None
    """Force constants at hand."""
    structure: Structure | None = None
    """Instead: where the atoms come from."""
    potential: Potential | None = None
    """Interatomic potential of [structure]."""
    relaxation: TightRelaxation = TightRelaxation()
    """Relaxation of [structure] before its force constants."""
    force_constants: ForceConstantsSection = ForceConstantsSection()
    """Force constants of [structure]."""
    phonon: PhononSection = PhononSection()
    """Path, mesh, non-analytic correction, and what counts as unstable."""
    execution: SingleProcessExecution = SingleProcessExecution()
    """Device and threads."""

    @model_validator(mode="after")
    def _one_source(self) -> Any:
        if self.crystal is not None and (self.structure is not None or self.potential is not None):
            raise ValueError("expected either [crystal] (force constants at hand) or [structure] with potential; "
                             "remove one of them")
        if self.crystal is None and (self.structure is None or self.potential is None):
            raise ValueError("expected [crystal] (force constants at hand), or [structure] with potential; add them")
        if self.crystal is not None and self.phonon.grueneisen_volume_change_percent is not None:
            raise ValueError("expected phonon.grueneisen_volume_change_percent with [structure] only: force constants "
                             "at hand are of one volume; remove it")
        return self

    @property
    def potential_spec(self) -> Any:
        """The potential as `potentials.load.load_potential` takes it: text, dict, or a list of these."""
        return specs_of(self.potential)


class ForceConstantsJob(LatticeDynamicsJob):
    """Force constants from a structure and a potential, or from forces at hand."""

    kind: Literal["fc"]
    """Kind of job."""


class PhononJob(LatticeDynamicsJob):
    """Dispersion, densities of states, thermal properties and Grueneisen parameters."""

    kind: Literal["phonon"]
    """Kind of job."""


class BoltzmannJob(LatticeDynamicsJob):
    """A job about the phonon Boltzmann equation."""

    bte: BteSection
    """Mesh, temperatures and scattering."""

    @property
    def order(self) -> int:
        """Highest order of force constants that are computed, or have to be at hand."""
        loop = self.bte.line_shapes is not None and self.crystal is None and self.force_constants.order == 4
        return 4 if self.bte.four_phonon is not None or loop else 3

    @model_validator(mode="after")
    def _orders_that_are_needed(self) -> Any:
        if self.bte.four_phonon is not None:
            if self.crystal is not None and self.crystal.fc4 is None:
                raise ValueError("expected force constants of the fourth order with [bte.four_phonon]; add crystal.fc4")
            if self.crystal is None and self.force_constants.order < 4:
                raise ValueError("expected force_constants.order = 4 with [bte.four_phonon], got "
                                 f"{self.force_constants.order}; change it, and add cutoff4_A")
        if self.crystal is None and self.force_constants.order < 3:
            raise ValueError("expected force_constants.order of at least 3, got 2; change it, or leave it out")
        return self


class BteJob(BoltzmannJob):
    """Thermal conductivity by the phonon Boltzmann equation."""

    kind: Literal["bte"]
    """Kind of job."""


class BteConvergenceJob(BoltzmannJob):
    """Thermal conductivity against mesh, cutoff, supercell and displacement."""

    kind: Literal["bte_convergence"]
    """Kind of job."""
    convergence: ConvergenceSection
    """What to vary."""

    @model_validator(mode="after")
    def _from_a_potential(self) -> Any:
        if self.bte.line_shapes is not None:
            raise ValueError('expected bte.line_shapes in a job of kind "bte" only; remove it')
        for name in ("supercells", "displacements_A", "cutoffs3_A"):
            if self.crystal is not None and getattr(self.convergence, name) is not None:
                raise ValueError(f"convergence.{name}: needs [structure] with potential, and this job has [crystal]; "
                                 "remove it, or give a structure")
        return self


class LabelJob(TaskJob):
    """Energies, forces and virials of structures by an electronic-structure code."""

    kind: Literal["label"]
    """Kind of job."""
    recipe: Recipes
    """Classes of structures."""
    selection: SelectionSection | None = None
    """Which of them are labelled; without it all."""
    engine: Engine
    """The code, and its settings."""


class TrainJob(TaskJob):
    """Training of a NEP model on labelled frames."""

    kind: Literal["train"]
    """Kind of job."""
    dataset: DatasetSection
    """Frames to train on, to stop by, and to test with."""
    model: NepSection | None = None
    """Form of the model; that of fine_tune without it."""
    fine_tune: FileName | None = None
    """nep.txt (or an embedded model) to begin from; the elements of [model] are taken from it, and its factors of the
    descriptors stay."""
    optimiser: Optimiser = GradientOptimiser(name="gradient")
    """How the loss is made small."""
    execution: TrainingExecution = TrainingExecution()
    """Device, threads, precision and time."""
    check: Checks = ()
    """What the model has to reproduce in the end."""

    @model_validator(mode="after")
    def _has_a_form(self) -> Any:
        if self.model is None and self.fine_tune is None:
            raise ValueError("expected [model] (elements, cutoffs, sizes), or fine_tune (a model to begin from); "
                             "add one")
        restart = getattr(self.optimiser, "restart_file", None)
        if restart is not None and self.fine_tune is None:
            raise ValueError("optimiser.restart_file: expected with fine_tune, the nep.txt beside it, whose q_scaler "
                             "belongs to the numbers; add it")
        if self.model is not None:
            require_elements(self.optimiser, self.model)
        return self


class ModelChecksJob(TaskJob):
    """Properties of crystals that a potential has to reproduce."""

    kind: Literal["model_checks"]
    """Kind of job."""
    potential: Potential
    """What is checked: path, embedded name, table, or a list of several that are added."""
    check: Annotated[Checks, Field(min_length=1)]
    """Checks, in order."""
    execution: SingleProcessExecution = SingleProcessExecution()
    """Device and threads."""

    @property
    def potential_spec(self) -> Any:
        """The potential as `potentials.load.load_potential` takes it: text, dict, or a list of these."""
        return specs_of(self.potential)


class ActiveLearningJob(TaskJob):
    """Training, molecular dynamics by the model, labels of what is new to it, and again."""

    kind: Literal["active_learning"]
    """Kind of job."""
    dataset: DatasetSection
    """Frames to begin with, as in a train job."""
    model: NepSection
    """Form of the model."""
    optimiser: Optimiser = GradientOptimiser(name="gradient")
    """How the loss is made small."""
    execution: TrainingExecution = TrainingExecution()
    """Device, threads, precision and time of each training."""
    exploration: Explorations
    """Runs of molecular dynamics."""
    engine: Engine
    """The code that labels, as in a label job."""
    active_learning: ActiveLearningSection = ActiveLearningSection()
    """Criterion, thresholds and number of iterations."""
    check: Checks = ()
    """What the last model has to reproduce."""

    @model_validator(mode="after")
    def _no_blocks(self) -> Any:
        if self.dataset.block_frames is not None:
            raise ValueError("expected [dataset] without blocks; give validation_files and test_files")
        if self.dataset.test_share:
            raise ValueError("expected [dataset] without test_share; [active_learning] has held_out_share")
        if getattr(self.optimiser, "restart_file", None) is not None:
            raise ValueError("optimiser.restart_file: belongs to one training; remove it")
        require_elements(self.optimiser, self.model)
        return self


#: jobs that move atoms
Job = (NemdJob | MdJob | MinimizeJob | LatticeJob | ElasticJob | BindingCurveJob | SlidingSurfaceJob
       | MoireMapJob)

#: kind in the job file -> its model
JOB_KINDS: dict[str, type[Job | TaskJob]] = {
    "nemd": NemdJob,
    "md": MdJob,
    "minimize": MinimizeJob,
    "lattice": LatticeJob,
    "elastic": ElasticJob,
    "binding_curve": BindingCurveJob,
    "sliding_surface": SlidingSurfaceJob,
    "moire_map": MoireMapJob,
    "fc": ForceConstantsJob,
    "phonon": PhononJob,
    "bte": BteJob,
    "bte_convergence": BteConvergenceJob,
    "label": LabelJob,
    "train": TrainJob,
    "model_checks": ModelChecksJob,
    "active_learning": ActiveLearningJob,
}
