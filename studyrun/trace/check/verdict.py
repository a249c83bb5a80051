"""What a check comes to: one line that says whether a run can be trusted, and the faults, if there are any."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studyrun.trace.check.findings import Finding, count

DONE = ("complete", "diverged")
NOT_BEGUN = "not started"


@dataclass(frozen=True)
class RunCheck:
    """One run, checked. `state` is status.json's, or `killed`; `step` and `arm` say how far one that goes on has come.

    `checksums` is `all`, `some` or `none`: how much of what was recorded lies under checksums.
    """

    folder: Path
    state: str
    checksums: str = "none"
    arms: int = 0
    probes: int = 0
    rows: int = 0
    arm: str = ""
    step: int = 0
    faults: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def trusted(self) -> bool:
        """Whether nothing is wrong and nothing is left to do."""
        return self.sound and self.state in DONE

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        if self.faults:
            return f"{self.folder} cannot be trusted: {count(len(self.faults), 'fault')}"
        sizes = f"{count(self.arms, 'arm')}, {count(self.probes, 'probe')}, {count(self.rows, 'row')}, {self._sums}"
        if self.state in DONE:
            far = " as far as can be told" if self.checksums == "none" else ""
            return f"{self.folder} can be trusted{far}: {self.state}, {sizes}"
        return f"{self.folder} is sound so far: {self._whereabouts}, {sizes}{self._advice}"

    def as_data(self) -> dict[str, Any]:
        """Everything, for a program."""
        content = asdict(self) | {"folder": str(self.folder), "sentence": self.sentence}
        return {"sound": self.sound, "trusted": self.trusted, **content}

    @property
    def _sums(self) -> str:
        words = {"all": "all checksums hold", "some": "what checksums it has hold"}
        return words.get(self.checksums, "it was made before checksums were kept")

    @property
    def _whereabouts(self) -> str:
        return f"{self.state} at step {self.step:,} of {self.arm}" if self.arm else self.state

    @property
    def _advice(self) -> str:
        return "" if self.state == "running" else f"; resume with: studyrun resume {self.folder}"


@dataclass(frozen=True)
class SweepCheck:
    """A sweep, checked: its members, and what is wrong with the folder that holds them."""

    folder: Path
    members: tuple[RunCheck, ...] = ()
    faults: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with the sweep or any of its members."""
        return not self.faults and all(member.sound for member in self.members)

    @property
    def trusted(self) -> bool:
        """Whether nothing is wrong, and every member has ended."""
        return self.sound and not self.missing and all(member.trusted for member in self.members)

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        everyone = count(len(self.members) + len(self.missing), "member")
        if not self.sound:
            broken = sum(not member.sound for member in self.members)
            number = len(self.faults) + sum(len(member.faults) for member in self.members)
            return f"{self.folder} cannot be trusted: {count(number, 'fault')}, {broken} of {everyone} damaged"
        states = Counter([*(member.state for member in self.members), *(NOT_BEGUN for _ in self.missing)])
        stand = ", ".join(f"{number:,} {state}" for state, number in states.items())
        rows = count(sum(member.rows for member in self.members), "row")
        if not self.trusted:
            advice = f"; resume with: studyrun resume {self.folder}" if "running" not in states else ""
            return f"{self.folder} is sound so far: {everyone} ({stand}), {rows}, {self._sums}{advice}"
        far = " as far as can be told" if self._checksums == {"none"} else ""
        return f"{self.folder} can be trusted{far}: {everyone} ({stand}), {rows}, {self._sums}"

    def as_data(self) -> dict[str, Any]:
        """Everything, for a program."""
        return {
            "sound": self.sound,
            "trusted": self.trusted,
            "folder": str(self.folder),
            "sentence": self.sentence,
            "faults": [asdict(fault) for fault in self.faults],
            "notes": self.notes,
            "not_started": self.missing,
            "members": [member.as_data() for member in self.members],
        }

    @property
    def _checksums(self) -> set[str]:
        return {member.checksums for member in self.members}

    @property
    def _sums(self) -> str:
        if self._checksums <= {"all"}:
            return "all checksums hold"
        return "no checksums" if self._checksums == {"none"} else "what checksums there are hold"
