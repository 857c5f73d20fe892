"""What settings of the Boltzmann equation obey together, in tables of jobs and in programs without a job."""

from __future__ import annotations

from typing import Any


def broken_rule(settings: Any) -> str | None:
    """What is wrong with settings, or with the table of a job that says the same; None if nothing is.

    Parameters
    ----------
    settings
        With the attributes of `BteSettings` or of `FourPhononSettings` (hpcthermo/transport/bte/settings.py).
    """
    if (settings.delta == "gaussian") != (settings.sigma_THz is not None):
        return 'expected sigma_THz with delta = "gaussian", and only with it; add or remove it'
    if not hasattr(settings, "mesh"):
        return None
    if (settings.mesh is None) == (settings.mesh_length_A is None):
        return "expected either mesh (divisions) or mesh_length_A; give exactly one of them"
    if settings.mass_variances and not settings.isotopes:
        return "expected mass_variances with isotopes = true only; remove one of them"
    return None
