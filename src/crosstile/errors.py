"""Errors that a person can act on: where, what was found, what is allowed, how to mend it.

Everything that a user can get wrong raises a subclass of :class:`CrosstileError`; the command line
prints its message without a traceback and leaves with exit code 2.
"""

from __future__ import annotations


class CrosstileError(Exception):
    """Base of every error that is the input's fault and not the program's."""


class SpecError(CrosstileError):
    """A chip, cell or component description is not valid."""


class ModelError(CrosstileError):
    """A network cannot be built, loaded or mapped."""


class DataError(CrosstileError):
    """A data set is missing, corrupt or does not fit the network."""


class OutputError(CrosstileError):
    """A result cannot be written where it was asked for."""


class UsageError(CrosstileError):
    """An option has a value that is not allowed, or two options contradict each other."""
