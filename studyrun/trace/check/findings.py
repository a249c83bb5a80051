"""What a check finds wrong, and what it found besides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: the file, and the place in it; what is wrong there; what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass
class Findings:
    """The faults of one folder so far, and notes on what is odd but harmless."""

    folder: Path
    faults: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, where: str, what: str, remedy: str = "") -> None:
        """Add a fault. Without a remedy of its own: another copy, or the study again."""
        self.faults.append(Finding(where, what, remedy or self.restore))

    def note(self, text: str) -> None:
        """Add what is to be said and makes nothing less trustworthy."""
        self.notes.append(text)

    @property
    def restore(self) -> str:
        """What is left where a file is not what it was."""
        return f"take it from another copy, or run the study again: studyrun run {self.folder / 'study.yaml'}"


def count(number: int, thing: str) -> str:
    """`1 arm`, `2 arms`, `1,204 rows`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
