"""Run folders with any readings that a test plants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studyrun.trace.channel import Channel
from studyrun.trace.ensemble import Ensemble
from studyrun.trace.reader import Run, open_run
from studyrun.trace.writer import TraceWriter

LR = 0.1  # of the trunk; effective time is a tenth of the step


class Planted(NamedTuple):
    """One arm: by probe the readings at each step, and whence it forked."""

    readings: Mapping[str, Mapping[int, Mapping[str, Any]]]
    parent: str = ""
    fork_step: int = 0
    lr: float = LR
    state: str = "complete"


def plant(folder: Path, probes: Mapping[str, Sequence[Channel]], arms: Mapping[str, Planted]) -> Run:
    """Write a run with these arms and open it. Every arm has every probe, and of each the rows planted."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("title: A title\n")
    with TraceWriter.create(folder / "trace.h5", title="A title", study="title: A title\n", git_commit="") as writer:
        for name, arm in arms.items():
            facts = {"parent": arm.parent, "fork_step": arm.fork_step, "fork_time": arm.fork_step * LR}
            writer.add_arm(name, {**facts, "state": arm.state, "learning_rate": arm.lr})
            if arm.state == "not started":
                continue
            for label, channels in probes.items():
                writer.add_probe(name, label, list(channels), {"component": label})
                for step, reading in arm.readings.get(label, {}).items():
                    time = arm.fork_step * LR + (step - arm.fork_step) * arm.lr
                    writer.append(name, label, step, time, reading)
    run = open_run(folder)
    assert isinstance(run, Run)
    return run


def together(*runs: Run) -> Ensemble:
    """Runs that differ by their seeds."""
    return Ensemble(runs)
