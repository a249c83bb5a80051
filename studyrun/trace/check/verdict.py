"""What a check comes to: one line that says what was found sound and what was not looked at, and the faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studyrun.trace.check.findings import Finding, count, listed

DONE = ("complete", "diverged")
NOT_BEGUN = "not started"


@dataclass(frozen=True)
class RunCheck:
    """One run, checked. `state` is status.json's, or `killed`; `step` and `arm` say how far one that goes on has come.

    `checksums` is `all`, `some` or `none`: how much of what was recorded lies under checksums. `warnings` are those of
    the run itself; `stuck` says why it cannot go on, where it ought to; `not_looked_at` why each part was left out.
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
    warnings: tuple[str, ...] = ()
    stuck: str = ""
    looked_at: tuple[str, ...] = ()
    not_looked_at: Mapping[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong in what was looked at."""
        return not self.faults

    @property
    def trusted(self) -> bool:
        """Whether nothing is wrong, nothing is left to do, and nothing was left unlooked at."""
        return self.sound and self.state in DONE and not self.not_looked_at and self.checksums == "all"

    @property
    def sentence(self) -> str:
        """The verdict in a line, which says how far it goes."""
        if self.faults:
            return f"{self.folder} cannot be trusted: {count(len(self.faults), 'fault')}"
        sizes = f"{count(self.arms, 'arm')}, {count(self.probes, 'probe')}, {count(self.rows, 'row')}, {self._sums}"
        return f"{_head(self, self.state in DONE)}; {self._whereabouts}, {sizes}{_rest(self)}{self._advice}"

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
        if self.stuck:
            return f"; cannot be resumed: {self.stuck}"
        return "" if self.state in (*DONE, "running") else f"; resume with: studyrun resume {self.folder}"


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
    def warnings(self) -> tuple[str, ...]:
        """What any member warned of."""
        return tuple(text for member in self.members for text in member.warnings)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """What was looked at in every member."""
        first, *others = self.members or (RunCheck(self.folder, ""),)
        return tuple(what for what in first.looked_at if all(what in other.looked_at for other in others))

    @property
    def not_looked_at(self) -> Mapping[str, str]:
        """What was not looked at in some member, and why not."""
        return {what: why for member in reversed(self.members) for what, why in member.not_looked_at.items()}

    @property
    def sentence(self) -> str:
        """The verdict in a line, which says how far it goes."""
        everyone = count(len(self.members) + len(self.missing), "member")
        if not self.sound:
            broken = sum(not member.sound for member in self.members)
            number = len(self.faults) + sum(len(member.faults) for member in self.members)
            return f"{self.folder} cannot be trusted: {count(number, 'fault')}, {broken} of {everyone} damaged"
        states = Counter([*(member.state for member in self.members), *(NOT_BEGUN for _ in self.missing)])
        stand = ", ".join(f"{number:,} {state}" for state, number in states.items())
        rows = count(sum(member.rows for member in self.members), "row")
        done = set(states) <= set(DONE)
        advice = "" if done or "running" in states else f"; resume with: studyrun resume {self.folder}"
        if stuck := [member.folder.name for member in self.members if member.stuck]:
            advice = f"; cannot be resumed: {listed(stuck)}"
        return f"{_head(self, done)}; {everyone} ({stand}), {rows}, {self._sums}{_rest(self)}{advice}"

    def as_data(self) -> dict[str, Any]:
        """Everything, for a program."""
        return {
            "sound": self.sound,
            "trusted": self.trusted,
            "folder": str(self.folder),
            "sentence": self.sentence,
            "faults": [asdict(fault) for fault in self.faults],
            "notes": self.notes,
            "warnings": self.warnings,
            "looked_at": self.looked_at,
            "not_looked_at": self.not_looked_at,
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


def _head(found: RunCheck | SweepCheck, done: bool) -> str:
    """What is sound. `can be trusted` is said only of a run of which nothing was left out."""
    lead = " can be trusted" if found.trusted else ""
    verb = "is" if len(found.looked_at) == 1 and not found.looked_at[0].endswith("s") else "are"
    return f"{found.folder}{lead}: {listed(found.looked_at or ('nothing',))} {verb} sound{'' if done else ' so far'}"


def _rest(found: RunCheck | SweepCheck) -> str:
    """The warnings of the run, and what was not looked at, with the reasons."""
    warned = f", {count(len(found.warnings), 'warning')} while it ran" if found.warnings else ""
    reasons: dict[str, list[str]] = {}
    for what, why in found.not_looked_at.items():
        reasons.setdefault(why, []).append(what)
    left = ", ".join(f"{listed(whats)} ({why})" for why, whats in reasons.items())
    return f"{warned}; not looked at: {left}" if left else warned
