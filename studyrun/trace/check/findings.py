"""What a check finds wrong, and what it found besides."""

from __future__ import annotations

from collections.abc import Iterable
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
    """The faults of one folder so far, notes on what is odd but harmless, and how far was looked."""

    folder: Path
    faults: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    not_looked_at: dict[str, str] = field(default_factory=dict)

    def fault(self, where: str, what: str, remedy: str = "") -> None:
        """Add a fault. Without a remedy of its own: another copy, or the study again."""
        self.faults.append(Finding(where, what, remedy or self.restore))

    def note(self, text: str) -> None:
        """Add what is to be said and makes nothing less trustworthy."""
        self.notes.append(text)

    def looked(self, at: str) -> None:
        """Say that this part was looked at, whatever was found."""
        self.looked_at.append(at)

    def passed_over(self, what: str, why: str) -> None:
        """Say that nothing is known of this part, and why."""
        self.not_looked_at[what] = why

    @property
    def restore(self) -> str:
        """What is left where a file is not what it was."""
        return f"take it from another copy, or run the study again: studyrun run {self.folder / 'study.yaml'}"


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int, thing: str) -> str:
    """`1 arm`, `2 arms`, `1,204 rows`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
