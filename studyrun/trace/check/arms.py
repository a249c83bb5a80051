"""The arms of a run held against its study: who forked from whom, when, and what each probe had to record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from studyrun.errors import TraceError
from studyrun.trace import file
from studyrun.trace.arm import NOT_STARTED
from studyrun.trace.check.findings import Findings
from studyrun.trace.check.rows import ProbeRows, read_probe
from studyrun.trace.folder import TRACE

Due = Callable[[int], bool]
TRUNK = "baseline"
ENDED = ("complete", "diverged")
STATES = (*ENDED, "running", "interrupted", "failed", NOT_STARTED)
_ROUNDING = 1e-6  # Σ η is a sum of floats


@dataclass(frozen=True)
class Rules:
    """What a run's study asks of its arms.

    `dues` are the schedules by probe label; `ended` says that no arm can be missing any more, `exact` that arms which
    did the same agree to the bit, `constant_rate` that no optimizer can change its learning rate as it goes.
    """

    document: Mapping[str, Any]
    dues: Mapping[str, Due]
    ended: bool = False
    exact: bool = False
    constant_rate: bool = True

    @property
    def branches(self) -> Mapping[str, Any]:
        """The study's branches by name."""
        found = self.document.get("branches")
        return found if isinstance(found, Mapping) else {}

    def parent_of(self, arm: str) -> str:
        """The arm that one forks from, nothing for the trunk."""
        branch = self.branches.get(arm)
        return str(branch.get("from", TRUNK)) if isinstance(branch, Mapping) else ""


@dataclass
class ArmRows:
    """One arm: its attributes, and its probes as far as they could be read."""

    name: str
    attributes: Mapping[str, Any]
    probes: dict[str, ProbeRows] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        """The arm that this one forked from, nothing for the trunk."""
        return str(self.attributes.get("parent", ""))

    @property
    def state(self) -> str:
        """As the trace has it."""
        return str(self.attributes.get("state", ""))

    def number(self, name: str) -> float:
        """A numeric attribute, NaN where it is missing or no number."""
        value = self.attributes.get(name)
        return float(value) if isinstance(value, int | float) else float("nan")

    @property
    def fork_step(self) -> int:
        """The step of the fork, 0 for the trunk."""
        return _whole(self.number("fork_step"))

    @property
    def steps(self) -> int:
        """How far the arm had come when that was last written."""
        return _whole(self.number("steps"))

    @property
    def reached(self) -> int:
        """How far the arm has come, as its rows tell too."""
        return max([self.steps, *(int(probe.step[-1]) for probe in self.probes.values() if len(probe.step))])


def read_arms(path: Path, findings: Findings) -> dict[str, ArmRows]:
    """Read the whole trace, noting what cannot be read. An arm whose facts are lost is left out."""
    arms = {}
    for name in file.read(path, lambda trace: tuple(trace)):
        try:
            attributes = file.read(path, lambda trace, arm=name: file.read_attributes(trace[arm]), name)  # type: ignore[misc]
            labels = file.read(path, lambda trace, arm=name: tuple(trace[arm]), name)  # type: ignore[misc]
        except TraceError as error:
            findings.fault(f"{path.name}: {name}", str(error).split("; `studyrun check", 1)[0])
            continue
        arms[name] = ArmRows(name, attributes, {one: read_probe(path, f"{name}/{one}", findings) for one in labels})
    return arms


def check_arms(arms: Mapping[str, ArmRows], rules: Rules, findings: Findings) -> None:
    """Hold every arm against the study, noting what is wrong."""
    wanted = (TRUNK, *rules.branches)
    for name in wanted:
        if name not in arms and rules.ended:
            findings.fault(TRACE, f"the study's arm {name!r} is missing, and not recorded as {NOT_STARTED}")
    for arm in arms.values():
        if arm.name not in wanted:
            findings.fault(f"{TRACE}: {arm.name}", "the study has no such arm")
            continue
        _check_state(arm, rules, findings)
        _check_parent(arm, arms, rules, findings)
        if arm.state != NOT_STARTED:
            _check_probes(arm, arms, rules, findings)
            _check_clock(arm, rules, findings)


def _check_state(arm: ArmRows, rules: Rules, findings: Findings) -> None:
    if arm.state not in STATES:
        findings.fault(f"{TRACE}: {arm.name}", f"has the state {arm.state!r}; there are {', '.join(STATES)}")
    elif rules.ended and arm.state not in (*ENDED, NOT_STARTED):
        findings.fault(f"{TRACE}: {arm.name}", f"is {arm.state}, and the run has ended")


def _check_parent(arm: ArmRows, arms: Mapping[str, ArmRows], rules: Rules, findings: Findings) -> None:
    where, wanted = f"{TRACE}: {arm.name}", rules.parent_of(arm.name)
    if arm.parent != wanted:
        own, right = (repr(one) if one else "nothing" for one in (arm.parent, wanted))
        findings.fault(where, f"forks from {own}; the study has it fork from {right}")
        return
    parent = arms.get(arm.parent)
    if arm.parent and parent is None:
        findings.fault(where, f"forks from {arm.parent!r}, which is not there")
    if parent is None or arm.state == NOT_STARTED:
        return
    if not parent.fork_step <= arm.fork_step <= parent.reached:
        reach = f"that arm went from step {parent.fork_step} to {parent.reached}"
        findings.fault(where, f"forks from {arm.parent!r} at step {arm.fork_step}; {reach}")


def _check_probes(arm: ArmRows, arms: Mapping[str, ArmRows], rules: Rules, findings: Findings) -> None:
    for label in rules.dues.keys() - arm.probes.keys():
        findings.fault(f"{TRACE}: {arm.name}", f"the study's probe {label!r} is missing")
    first = next(other for other in arms.values() if other.probes or other is arm)
    for label, probe in arm.probes.items():
        if label not in rules.dues:
            findings.fault(f"{TRACE}: {probe.where}", "the study has no such probe")
        elif probe.readable:
            if what := _off_schedule(arm, probe.step, rules.dues[label]):
                findings.fault(f"{TRACE}: {probe.where}", what)
            if names := probe.differing(first.probes.get(label, probe)):
                what = f"type, dimensions or shape of {', '.join(names)} differ from those in {first.name!r}"
                findings.fault(f"{TRACE}: {probe.where}", what)


def _off_schedule(arm: ArmRows, steps: np.ndarray, due: Due) -> str:
    """How the recorded steps differ from those that were due, nothing where they do not.

    An arm that is complete has measured at its last step, one that diverged or was interrupted has not; one that was
    interrupted at once may have come further than was noted.
    """
    last = int(steps[-1]) if len(steps) else arm.fork_step - 1
    end = last if arm.state not in (*ENDED, "interrupted") else arm.steps - (arm.state != "complete")
    end = max(end, last) if arm.state == "interrupted" else end
    got, expected = set(steps.tolist()), {step for step in range(arm.fork_step, max(end, last) + 1) if due(step)}
    if missing := expected - got:
        return f"step {min(missing)} was due and is missing ({len(missing):,} in all)"
    if extra := got - expected:
        return f"step {min(extra)} was not due and is there ({len(extra):,} in all)"
    return f"step {last} comes after the arm's last, {end}" if last > end else ""


def _check_clock(arm: ArmRows, rules: Rules, findings: Findings) -> None:
    """Effective time is one function of the step, and where the learning rate is constant, this one."""
    seen = dict[int, float]()
    for probe in arm.probes.values():
        for step, time in zip(probe.step.tolist(), probe.time.tolist(), strict=False):
            if seen.setdefault(step, time) != time:
                findings.fault(f"{TRACE}: {probe.where}/time", f"two probes give step {step} different times")
                return
    rate, start = arm.number("learning_rate"), arm.number("fork_time")
    for step, time in sorted(seen.items()) if rules.constant_rate else ():
        expected = start + rate * (step - arm.fork_step)
        if abs(time - expected) > _ROUNDING * max(1.0, abs(expected)):  # never where a rate is not known, and NaN
            what = f"step {step} has effective time {time:.9g}; from {start:.9g} on at {rate:g} a step it would be"
            findings.fault(f"{TRACE}: {arm.name}", f"{what} {expected:.9g}")
            return


def _whole(value: float) -> int:
    return int(value) if isfinite(value) else 0
