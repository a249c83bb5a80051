"""What the check before a run finds: faults, which are told all at once, and warnings, which the run puts on record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from studyrun.errors import ComponentError, ProbeError, StudyrunError, UnfitStudyError


@dataclass
class Findings:
    """Faults stand in the way of the run; warnings do not, and go to the screen, the events and the report."""

    faults: list[StudyrunError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Take an error that says which component does not fit for a fault, and go on after the block."""
        try:
            yield
        except (ComponentError, ProbeError) as error:
            self.faults.append(error)

    def add(self, who: str, faults: Iterable[str]) -> bool:
        """Note faults of a component; returns whether there were none."""
        found = [ComponentError(f"{who}: {fault}") for fault in faults]
        self.faults += found
        return not found

    def warn(self, text: str) -> None:
        """Note a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def settle(self) -> None:
        """Raise what was found, if anything was: a single fault as it is, several as one `UnfitStudyError`."""
        different = list({str(fault): fault for fault in self.faults}.values())
        if len(different) == 1:
            raise different[0]
        if different:
            lines = "".join(f"\n  {fault}" for fault in different)
            raise UnfitStudyError(f"{len(different)} faults; nothing was run{lines}") from ExceptionGroup(
                "the faults", different
            )
