"""Errors a user can act on: one line that says what, expected, got and the fix."""

from __future__ import annotations

EXIT_BAD_INPUT = 2
EXIT_PHYSICS = 3
EXIT_RESOURCES = 4
EXIT_REQUEUE = 75


class HpcthermoError(Exception):
    """Base of all errors reported as one line without a traceback.

    Attributes
    ----------
    exit_code : int
        Exit status of the command-line tool.
    """

    exit_code = 1


class InputError(HpcthermoError):
    """Bad input: a job file, structure, potential or option is not usable."""

    exit_code = EXIT_BAD_INPUT


class PhysicsError(HpcthermoError):
    """The simulation left the physical range (NaN, lost atoms, drift)."""

    exit_code = EXIT_PHYSICS


class ResourceError(HpcthermoError):
    """Memory, disk or device is not sufficient, or the installation lacks a part."""

    exit_code = EXIT_RESOURCES
