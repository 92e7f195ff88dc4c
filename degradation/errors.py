"""Errors that a user can cause and mend.

Every message says what was expected, what was found and what to do next. The command line prints
the message without a traceback and exits with the class's `exit_code`; anything that is not an
`SdiagError` is a defect of ours and keeps its traceback.
"""

__all__ = [
    "CacheError",
    "ConfigError",
    "DataError",
    "InterruptedRun",
    "PairingError",
    "SdiagError",
    "WeightsError",
]


class SdiagError(Exception):
    """Base of all errors that a user can mend."""

    exit_code = 1


class ConfigError(SdiagError):
    """An option, a name or a configuration value that cannot be used."""

    exit_code = 2


class DataError(SdiagError):
    """Pictures or annotation files that are missing, unreadable or not what they should be."""

    exit_code = 3


class CacheError(SdiagError):
    """A feature cache that is damaged, incomplete, of another schema or in use elsewhere."""

    exit_code = 4


class PairingError(SdiagError):
    """Two sides that must not be compared: other rows, other pixels, other blocks."""

    exit_code = 5


class WeightsError(SdiagError):
    """Weights that are missing, truncated or do not fit the architecture."""

    exit_code = 6


class InterruptedRun(SdiagError):
    """A run that was asked to stop, has saved where it was, and can be gone on with."""

    exit_code = 130
