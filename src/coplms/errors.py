"""Every error that a user can cause.

The command line prints one of these without a traceback and exits with 2; anything else is
our own bug and keeps its traceback. A message says what was found, where (file and key,
line, device, round), what would be right and what to do.
"""


class CoplmsError(Exception):
    """Something that the user can mend."""


class ConfigError(CoplmsError):
    """A setting is missing, unknown, or does not fit another one."""


class DataError(CoplmsError):
    """A data file is missing, broken, empty, or does not fit the models."""


class ModelError(CoplmsError):
    """A model or tokenizer cannot be loaded, or does not fit its role."""


class AlignmentError(CoplmsError):
    """Two tokenizers have no common ground to learn from each other on."""


class ConsortiumError(CoplmsError):
    """A message between server and device does not fit what was agreed."""


class DivergenceError(ConsortiumError):
    """Training gave values that are not finite."""


class UnknownRunError(ConsortiumError):
    """A message is of a run that the device was never told about."""


class QuorumError(ConsortiumError):
    """Too few devices answered."""


class RunError(CoplmsError):
    """A run's folder cannot be used as asked."""


class MissingExtraError(CoplmsError):
    """An optional part of coplms is not installed."""
