"""Every error that a user may meet, each with the exit code that the command line gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class StudyrunError(Exception):
    """A fault that is explained in its message; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(StudyrunError):
    """The command was called with something that does not exist or does not fit."""

    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in a study file: where it stands and what would be right."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class InvalidStudyError(StudyrunError):
    """A study file with faults, all of them at once, in the order in which they stand in the file."""

    exit_code = 3

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class ComponentError(StudyrunError):
    """A component that cannot be used as it is: it does not import, breaks its contract, or its name is taken twice."""

    exit_code = 3


class DataUnavailableError(StudyrunError):
    """A data set that is neither in the data folder nor to be had from its source."""


class ProbeError(StudyrunError):
    """A probe broke its contract: a wrong shape, an undeclared channel, or a mark left on the training state."""


class UnfitStudyError(ComponentError, ProbeError):
    """A study that cannot be run as it is: all that the check before a run has found, one fault a line."""


class RunFolderError(StudyrunError):
    """A run folder that cannot be made, written, read or resumed."""


class RunFailedError(StudyrunError):
    """A run that ended before its study did; the message names its folder, where what was recorded lies."""


class TraceError(StudyrunError):
    """A trace file that cannot be read, or does not hold what was asked of it."""


class NothingToDrawError(StudyrunError):
    """A figure whose channels this run did not record; the message says which."""


class InterruptedRunError(StudyrunError):
    """The run was asked to stop; everything up to its last step is on disk."""

    exit_code = 130
