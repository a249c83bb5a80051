"""A branch begins where its parent was: its row at the fork is the parent's row of that step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np

from studyrun.errors import TraceError
from studyrun.trace.arm import NOT_STARTED
from studyrun.trace.channel import EVIDENCE
from studyrun.trace.check.arms import ArmRows
from studyrun.trace.check.findings import Findings
from studyrun.trace.check.rows import ProbeRows
from studyrun.trace.folder import TRACE

_ALIKE = 1e-2  # of the row's largest value: what a solver's tolerance and a GPU's rounding leave open


def check_forks(arms: Mapping[str, ArmRows], exact: bool, findings: Findings) -> None:
    """Compare every branch with its parent where both measured; `exact` asks for the same bits where nothing was set.

    A branch that sets another loss or optimizer may have its probes measure something else: it is compared in time
    alone.
    """
    if any(arm.parent and arm.state != NOT_STARTED for arm in arms.values()):
        findings.looked("forks")
    for arm in arms.values():
        parent = arms.get(arm.parent)
        if parent is None:
            continue
        changed = {path for path in _set_by(arm) if path.split(".")[0] != "stop"}
        for label, probe in arm.probes.items():
            other = parent.probes.get(label)
            if other is not None and probe.readable and other.readable:
                for what in _differences(arm, probe, other, exact and not changed, changed <= {"optimizer.lr"}):
                    findings.fault(f"{TRACE}: {probe.where}", what)


def _set_by(arm: ArmRows) -> Mapping[str, object]:
    try:
        found = json.loads(str(arm.attributes.get("set", "{}")))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _differences(arm: ArmRows, probe: ProbeRows, other: ProbeRows, exact: bool, values: bool) -> Iterator[str]:
    own, theirs = (np.flatnonzero(one.step == arm.fork_step) for one in (probe, other))
    if not len(own) or not len(theirs):
        return
    if probe.time[own[0]] != other.time[theirs[0]]:
        yield f"its time at the fork, step {arm.fork_step}, is not what {arm.parent!r} recorded there"
    for name in probe.declared if values else ():
        if name in ("step", "time", *EVIDENCE) or probe.declared[name] != other.declared.get(name):
            continue
        try:
            first, second = probe.row(name, own[0]), other.row(name, theirs[0])
        except TraceError:
            continue  # said where the array was read
        if not _agree(first, second, exact):
            yield f"{name} at the fork, step {arm.fork_step}, is not what {arm.parent!r} recorded there"


def _agree(first: np.ndarray, second: np.ndarray, exact: bool) -> bool:
    """Whether two rows are the same; unless `exact`, places that either left open (NaN) are passed over."""
    if exact or first.dtype.kind != "f":
        return first.tobytes() == second.tobytes()
    both = np.isfinite(first) & np.isfinite(second)
    scale = float(np.abs(first[both]).max(initial=0.0))
    return bool((np.abs(first[both] - second[both]) <= _ALIKE * scale).all())
