"""A trace of one probe, small enough to be known by heart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.writer import TraceWriter

GROUPS = ("inlier", "Ausreißer")
GROUP = Dimension("group", GROUPS)
LOSS = (
    Channel("train", "training loss", symbol="L", standard_name="train_loss"),
    Channel("by_group", "mean loss of each group", (GROUP,), symbol="ℓ_k", units="loss²", source="a paper"),
    Channel("right", "classified rightly", (GROUP,), dtype="bool"),
)


def small_writer(path: Path) -> TraceWriter:
    """A new trace with an arm `baseline` and a probe `loss`, neither of them flushed."""
    writer = TraceWriter.create(path, title="A title", study="title: A title\n", git_commit="abc")
    writer.add_arm("baseline", {"parent": "", "fork_step": 0, "fork_time": 0.0, "state": "running"})
    writer.add_probe("baseline", "loss", LOSS, {"component": "loss"})
    return writer


def reading(step: int) -> dict[str, Any]:
    """What the probe reads at a step."""
    return {"train": 1.0 / (1 + step), "by_group": [step, -step], "right": [step % 2 == 0, True]}


def record(writer: TraceWriter, steps: Iterable[int]) -> None:
    """Append the readings of these steps; effective time is a tenth of the step."""
    for step in steps:
        writer.append("baseline", "loss", step, step / 10, reading(step))
