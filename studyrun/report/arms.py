"""What each arm did, over all runs of an ensemble: where it forked, when it met its own threshold, how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from studyrun.trace.edge import forked_at_edge

if TYPE_CHECKING:
    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.reader import Arm

MOST_ENDINGS = 3  # reasons that are spelt out for one arm of many runs


@dataclass(frozen=True, slots=True)
class Moments:
    """When something happened: step and effective time in each run in which it did."""

    steps: tuple[int, ...] = ()
    times: tuple[float, ...] = ()

    @classmethod
    def of(cls, moments: Iterable[tuple[int, float]]) -> Moments:
        """From pairs of step and time."""
        pairs = list(moments)
        return cls(tuple(step for step, _ in pairs), tuple(time for _, time in pairs))

    def __bool__(self) -> bool:
        return bool(self.steps)

    def along(self, axis: str) -> tuple[float, ...]:
        """The times, or the steps for `axis` = "step"."""
        return self.steps if axis == "step" else self.times

    def quartiles(self, axis: str) -> tuple[float, float] | None:
        """Where the middle half of the runs lies; None for one run."""
        values = self.along(axis)
        low, high = (float(q) for q in np.quantile(values, (0.25, 0.75))) if values else (0.0, 0.0)
        return (low, high) if len(values) > 1 else None

    def words(self) -> str:
        """The median in words."""
        text = f"effective time {median(self.times):.4g} (step {median(self.steps):.10g})"
        return f"{text}, the median of {len(self.steps)} runs" if len(self.steps) > 1 else text


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """One arm over all runs. `started` holds it in each run where it ran; `edge` says that it forked at the parent's
    onset in all of them."""

    name: str
    parent: str | None
    started: tuple[Arm, ...]
    idle: tuple[Arm, ...]
    fork: Moments
    crossing: Moments
    edge: bool

    @property
    def any(self) -> Arm:
        """The arm in the first run that has it."""
        return (*self.started, *self.idle)[0]

    @property
    def state(self) -> str:
        """The state in every run, with how many runs where they differ."""
        counts = Counter(arm.state for arm in (*self.started, *self.idle))
        return ", ".join(f"{n} × {state}" for state, n in counts.items()) if len(counts) > 1 else next(iter(counts))

    @property
    def endings(self) -> str:
        """Why it ended, or never began, each reason once."""
        reasons = list(dict.fromkeys(arm.end_reason for arm in (*self.started, *self.idle) if arm.end_reason))
        more = [f"and {len(reasons) - MOST_ENDINGS} more"] if len(reasons) > MOST_ENDINGS else []
        return "; ".join(reasons[:MOST_ENDINGS] + more)


def arm_facts(ensemble: Ensemble) -> tuple[ArmFacts, ...]:
    """The facts of every arm, those that never started last."""
    names = dict.fromkeys(name for run in ensemble.runs for name in run.arms)
    facts = {
        name: _facts(name, [run.arms[name] for run in ensemble.runs if name in run.arms], ensemble) for name in names
    }
    return tuple(sorted(facts.values(), key=lambda fact: not fact.started))


def _facts(name: str, arms: Sequence[Arm], ensemble: Ensemble) -> ArmFacts:
    started = tuple(arm for arm in arms if arm.started)
    forked = [(run, run[name]) for run in ensemble.runs if name in run and run[name].started and run[name].parent]
    return ArmFacts(
        name,
        next((arm.parent for arm in arms if arm.parent), None),
        started,
        tuple(arm for arm in arms if not arm.started),
        Moments.of((arm.fork_step, arm.fork_time) for _, arm in forked),
        Moments.of(ensemble.crossings(name)),
        bool(forked) and all(forked_at_edge(arm, run.arms.get(arm.parent or "")) for run, arm in forked),
    )


@dataclass(frozen=True, slots=True)
class ForkMark:
    """A moment worth a line in every figure along time."""

    symbol: str
    arm: str
    at: float
    spread: tuple[float, float] | None
    words: str


def fork_marks(ensemble: Ensemble, along: str) -> tuple[ForkMark, ...]:
    """t* (an arm meets its threshold, and branches fork there), other forks, and t** (a branch meets its own)."""
    arms = ensemble.arms
    facts = [fact for fact in arm_facts(ensemble) if fact.name in arms]
    branches = [fact for fact in facts if fact.parent]
    marks = []
    for fact in facts:
        if fact.crossing and not fact.parent:
            words = f"t*: {fact.name} reaches its own threshold, at {fact.crossing.words()}."
            marks.append(_mark("t*", fact.name, fact.crossing, words, along))
    for fact in branches:
        if not fact.edge:
            symbol = "fork" if len(branches) == 1 else f"fork {fact.name}"
            marks.append(_mark(symbol, fact.name, fact.fork, f"{fact.name} forks at {fact.fork.words()}.", along))
        if fact.crossing:
            symbol = "t**" if len(branches) == 1 else f"t** {fact.name}"
            words = f"{symbol}: {fact.name} reaches its own threshold, at {fact.crossing.words()}."
            marks.append(_mark(symbol, fact.name, fact.crossing, words, along))
    return tuple(marks)


def _mark(symbol: str, arm: str, moments: Moments, words: str, along: str) -> ForkMark:
    return ForkMark(symbol, arm, float(median(moments.along(along))), moments.quartiles(along), words)
