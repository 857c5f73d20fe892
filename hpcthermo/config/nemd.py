"""[nemd]: a heat source, a heat sink, and what is measured between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcthermo.config.base import (
    MAXIMUM_STEPS,
    Angstrom,
    Boolean,
    Element,
    Femtoseconds,
    Kelvin,
    LayerIndex,
    Picoseconds,
    Section,
    Timestep,
    count_steps,
)

Layers = Annotated[tuple[LayerIndex, ...], Field(max_length=10_000)]
Groups = Annotated[tuple[Annotated[int, Field(ge=0, le=10**7, strict=True)], ...], Field(max_length=10_000)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, strict=True)]
Region = tuple[Coordinate, Coordinate]
Points = Annotated[tuple[tuple[LayerIndex, Kelvin], ...], Field(min_length=1, max_length=10_000)]
#: stored rows that the analysis needs after the warm-up
MINIMUM_AVERAGES = 8
#: rows that the analysis may lose: the first (it takes differences of energies at row ends), and one that holds the end
#: of the warm-up, because samples stand at multiples of the interval over the whole run, not since the experiment began
LOST_AVERAGES = 2
Elements = Annotated[tuple[Element, ...], Field(min_length=1, max_length=120)]


class NemdSection(Section):
    """Langevin source and sink at T + dT/2 and T - dT/2, fixed atoms at the ends."""

    axis: Literal["x", "y", "z"] = "z"
    """Direction of the heat flux."""
    fixed_layers: Layers = ()
    """Layers that do not move; negative numbers count from the top."""
    source_layers: Layers = ()
    """Layers of the heat source."""
    sink_layers: Layers = ()
    """Layers of the heat sink."""
    fixed_region_A: Region | tuple[Region, ...] | None = None
    """Instead of layers: [low, high] along the axis, or several."""
    source_region_A: Region | None = None
    """Instead of layers: [low, high] along the axis."""
    sink_region_A: Region | None = None
    """Instead of layers: [low, high] along the axis."""
    fixed_groups: Groups = ()
    """Instead of layers: groups of the structure."""
    source_groups: Groups = ()
    """Instead of layers: groups of the structure."""
    sink_groups: Groups = ()
    """Instead of layers: groups of the structure."""
    source_elements: Elements | None = None
    """Restrict the source to these elements."""
    sink_elements: Elements | None = None
    """Restrict the sink to these elements."""
    temperature_K: Kelvin
    """Mean of source and sink."""
    temperature_difference_K: Annotated[float, Field(gt=0.0, le=1e5, strict=True)]
    """Source minus sink."""
    coupling_fs: Femtoseconds = 100.0
    """Relaxation time of the Langevin baths."""
    timestep_fs: Timestep = 0.5
    """Time step."""
    initial_profile_K: Points | None = None
    """A guess of the steady state, [[layer, temperature], ...], linear between: it shortens the warm-up."""
    initial_profile_ps: Picoseconds = 5.0
    """Time for which a bath in each layer holds that guess, before source and sink act."""
    warmup_ps: Annotated[float, Field(ge=0.0, le=1e9, strict=True)] = 0.0
    """Time for the profile to become steady, not analysed."""
    duration_ps: Picoseconds
    """Analysed time."""
    sample_interval_fs: Femtoseconds = 10.0
    """Time between samples of the temperatures."""
    samples_per_average: Annotated[int, Field(ge=1, le=10**9, strict=True)] = 100
    """Samples averaged into one stored row."""
    bin_width_A: Angstrom | None = None
    """Width of profile bins; layers are used where the structure has them."""
    heat_current: Boolean = False
    """Also measure the flux from the atomic heat current (needs per-atom virials)."""
    interface_layers: tuple[LayerIndex, LayerIndex] | None = None
    """The two layers at the interface; found from the composition if absent."""

    @model_validator(mode="after")
    def _consistent(self) -> Any:
        for bath in ("source", "sink"):
            region = getattr(self, f"{bath}_region_A")
            ways = (getattr(self, f"{bath}_layers"), region, getattr(self, f"{bath}_groups"))
            if sum(bool(way) for way in ways) != 1:
                raise ValueError(f"expected one of {bath}_layers, {bath}_region_A and {bath}_groups; "
                                 "give exactly one of them")
            if region is not None and not region[0] < region[1]:
                raise ValueError(f"{bath}_region_A: expected [low, high] with low < high, got {list(region)}")
        if self.temperature_difference_K >= 2.0 * self.temperature_K:
            raise ValueError(
                "temperature_difference_K: expected less than twice temperature_K, so that the sink is above 0 K, "
                f"got {self.temperature_difference_K:g}"
            )
        if self.warmup_steps + self.n_steps > MAXIMUM_STEPS:
            raise ValueError(f"expected at most {MAXIMUM_STEPS:.0e} steps; shorten duration_ps or warmup_ps")
        averages = self.n_steps // (self.sample_interval_steps * self.samples_per_average)
        if averages < MINIMUM_AVERAGES + LOST_AVERAGES:
            raise ValueError(
                f"duration_ps: expected time for at least {MINIMUM_AVERAGES + LOST_AVERAGES} averages of "
                "samples_per_average samples, "
                f"got {averages}; run longer, or lower sample_interval_fs or samples_per_average"
            )
        return self

    @property
    def source_temperature(self) -> float:
        """Temperature of the source, K."""
        return self.temperature_K + 0.5 * self.temperature_difference_K

    @property
    def sink_temperature(self) -> float:
        """Temperature of the sink, K."""
        return self.temperature_K - 0.5 * self.temperature_difference_K

    @property
    def profile_steps(self) -> int:
        """Time steps with a bath in each layer before the experiment."""
        return 0 if self.initial_profile_K is None else count_steps(self.initial_profile_ps, self.timestep_fs)

    @property
    def warmup_steps(self) -> int:
        """Time steps before the analysed part."""
        return round(1000.0 * self.warmup_ps / self.timestep_fs)

    @property
    def n_steps(self) -> int:
        """Analysed time steps."""
        return count_steps(self.duration_ps, self.timestep_fs)

    @property
    def total_steps(self) -> int:
        """All time steps of the experiment."""
        return self.profile_steps + self.warmup_steps + self.n_steps

    @property
    def sample_interval_steps(self) -> int:
        """Time steps between samples."""
        return max(1, round(self.sample_interval_fs / self.timestep_fs))


