"""Taking the measurements that are due at one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from studyrun.component import Carry, Context, EigenpairRequest
from studyrun.curvature.memory import ran_out_of_memory
from studyrun.engine.explain import told
from studyrun.engine.guard import MarkGuard
from studyrun.engine.ledger import Ledger
from studyrun.engine.plain import NotPlainError, copied
from studyrun.engine.recorder import Recorder
from studyrun.engine.shortage import Shortage
from studyrun.engine.snapshot import LiveSnapshot
from studyrun.errors import ProbeError, StudyrunError
from studyrun.stopping import heed
from studyrun.study.schema import ProbeEntry

Readings = dict[str, dict[str, np.ndarray]]


def in_order(probes: Sequence[ProbeEntry]) -> list[ProbeEntry]:
    """The probes as they are to measure: those that hold a trigger last, since it looks at the others."""
    return sorted(probes, key=lambda entry: bool(entry.probe.triggers()))


def due_at(probes: Sequence[ProbeEntry], step: int) -> list[ProbeEntry]:
    """The probes whose schedule names this step."""
    return [entry for entry in probes if entry.schedule.due(step)]


def joint_requests(entries: Sequence[ProbeEntry], context: Context) -> dict[str, EigenpairRequest]:
    """The eigenpair solves that serve all of these probes, by the statistics they are taken under."""
    joint: dict[str, EigenpairRequest] = {}
    for entry in entries:
        if request := entry.probe.eigenpair_request(context):
            known = joint.get(request.statistics)
            joint[request.statistics] = known.joint(request) if known else request
    return joint


def measure(
    entries: Sequence[ProbeEntry],
    snapshot: LiveSnapshot,
    carries: Mapping[str, Carry],
    recorder: Recorder,
    guard: MarkGuard,
    ledger: Ledger,
    readings: Readings,
) -> dict[str, Carry]:
    """Let each entry measure, record it, add it to `readings`, and return the carries.

    One that runs out of memory measures again from the same carry and generators, in smaller chunks (`Shortage`).
    Raises `ProbeError` that names the probe, whatever went wrong in it.
    """
    after = dict(carries)
    for entry in entries:
        own = snapshot.chunks.measuring(f"probe {entry.label!r}")
        with guard.around(f"probe {entry.label!r}", snapshot.step) as rewind, ledger.bill(f"probe {entry.label}"), own:
            shortage = Shortage(snapshot, recorder.warn)
            while (result := _one(entry, snapshot, carries.get(entry.label), shortage)) is None:
                rewind()
            reading, after[entry.label] = result
        readings[entry.label] = recorder.record(entry, snapshot.step, snapshot.time, reading)
        if "matvecs" in readings[entry.label]:
            ledger.products[f"probe {entry.label}"] += int(readings[entry.label]["matvecs"].sum())
    return after


def _one(
    entry: ProbeEntry, snapshot: LiveSnapshot, carry: Carry, shortage: Shortage
) -> tuple[Mapping[str, Any], Carry] | None:
    """Reading and carry; None where memory ran out and room was made since."""
    try:
        result = entry.probe.measure(snapshot, copied(carry))
    except StudyrunError as error:
        raise ProbeError(f"probe {entry.label!r} at step {snapshot.step}: {error}") from error
    except Exception as error:
        heed()
        kind = type(error).__name__
        if not ran_out_of_memory(error):
            raise ProbeError(
                f"probe {entry.label!r} ({entry.use}) failed at step {snapshot.step}: {told(error, snapshot.problem)}"
            ) from error
        lacked = f"{kind}: {error}"
    else:
        return _checked(entry, result)
    shortage.relieve(lacked)  # not while the error is being handled: it keeps alive what the probe had made
    return None


def _checked(entry: ProbeEntry, result: Any) -> tuple[Mapping[str, Any], Carry]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ProbeError(f"probe {entry.label!r} must return (reading, carry), not {type(result).__name__}")
    reading, carry = result
    return reading, own_carry(f"probe {entry.label!r}", carry)


def own_carry(who: str, carry: Carry) -> Carry:
    """What was handed over, in memory of its own: it may be a view of what training moves on.

    Raises `ProbeError` for what a checkpoint cannot hold.
    """
    try:
        return copied(carry)
    except NotPlainError as error:
        raise ProbeError(f"{who} hands over a carry that a checkpoint cannot hold: {error}") from error
