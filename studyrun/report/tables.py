"""The rows of the page's tables, from runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.arms import ArmFacts, arm_facts
from studyrun.report.page import DASHES, ArmRow, ArmTable, MemberRow
from studyrun.report.record import state_of

if TYPE_CHECKING:
    from studyrun.report.style import Palette
    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.reader import Arm, Run, Sweep


def arm_table(ensemble: Ensemble, palette: Palette) -> ArmTable:
    """The arms of one condition, those that never started last."""
    facts = arm_facts(ensemble)
    about = dict.fromkeys(fact.any.threshold_quantity for fact in facts if fact.any.threshold is not None)
    onsets = {fact.name: "t**" if fact.parent else "t*" for fact in facts}
    rows = [_row(fact, onsets, palette) for fact in facts]
    return ArmTable(ensemble.name, len(ensemble.runs), " and ".join(about), rows)


def _row(fact: ArmFacts, onsets: Mapping[str, str], palette: Palette) -> ArmRow:
    arm = fact.any
    return ArmRow(
        name=fact.name,
        parent=fact.parent,
        trigger=str(arm.attributes.get("trigger") or "") if len(fact.started) == 1 else "",
        learning_rate=arm.learning_rate,
        threshold=arm.threshold,
        fork=fact.fork,
        fork_symbol=onsets[fact.parent] if fact.parent and fact.fork and fact.edge else "",
        crossing=fact.crossing,
        crossing_symbol=onsets[fact.name] if fact.crossing else "",
        steps=_median([int(one.attributes["steps"]) for one in fact.started if "steps" in one.attributes]),
        until=_median([last for one in fact.started for last in _last_time(one)]),
        state=fact.state,
        end_reason=fact.endings,
        color=palette.color(fact.name),
        dashes=DASHES[palette.line_style(fact.name)],
    )


def _median(values: Sequence[Any]) -> Any:
    return median(values) if values else None


def _last_time(arm: Arm) -> Iterator[float]:
    """The latest effective time of any row of the arm."""
    times = [probe.time for probe in arm.probes.values() if len(probe.time)]
    if times:
        yield max(float(np.max(time)) for time in times)


def member_rows(sweep: Sweep) -> Sequence[MemberRow]:
    """Every member of a sweep, those without a trace last."""
    rows = [
        MemberRow(run.name, run.overrides, state_of(run), _furthest(run), run.status.get("seconds"))
        for run in sweep.members
    ]
    return [*rows, *(MemberRow(name, {}, "no trace", None, None) for name in sweep.missing)]


def _furthest(run: Run) -> int | None:
    """The step that the run's furthest arm has come to, as the trace has it."""
    steps = [int(arm.attributes["steps"]) for arm in run.arms.values() if arm.started and "steps" in arm.attributes]
    return max(steps, default=None)


def swept_keys(sweep: Sweep) -> Sequence[str]:
    """What the sweep varies, by dotted path."""
    return list(dict.fromkeys(key for run in sweep.members for key in run.overrides))
