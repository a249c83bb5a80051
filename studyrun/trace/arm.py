"""One training trajectory as the trace holds it: its facts, and the probes that watched it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import h5py
import numpy as np

from studyrun.errors import TraceError
from studyrun.trace import file, layout
from studyrun.trace.channel import EVIDENCE
from studyrun.trace.channel_trace import ChannelTrace, OnRows, Rows, read_channels

NOT_STARTED = "not started"
Held = TypeVar("Held")


class Crossing(NamedTuple):
    """A row at which a quantity had met its threshold: training step, effective time, and the value recorded there."""

    step: int
    time: float
    value: float


@dataclass(frozen=True, eq=False)
class ProbeTrace(OnRows):
    """What one probe recorded in one arm: channels by name, in the order in which the probe declared them."""

    label: str
    rows: Rows
    channels: Mapping[str, ChannelTrace]
    attributes: Mapping[str, Any]

    @property
    def component(self) -> str:
        """The probe's name in YAML, which its label may differ from."""
        return str(self.attributes.get("component", self.label))

    @property
    def description(self) -> str:
        """What the probe measures, in a line."""
        return str(self.attributes.get("description", ""))

    @property
    def cites(self) -> tuple[str, ...]:
        """The publications behind the probe."""
        return tuple(str(self.attributes.get("cites", "")).splitlines())

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that show this probe."""
        return tuple(str(self.attributes.get("figures", "")).splitlines())

    def __getitem__(self, channel: str) -> ChannelTrace:
        return held(self.channels, channel, f"the probe {self.label!r}", "channel")

    def __contains__(self, channel: object) -> bool:
        return channel in self.channels

    def __iter__(self) -> Iterator[str]:
        return iter(self.channels)


class TrainedArm(Protocol):
    """The weights of an arm, where they were kept. What reads them needs torch, and so lies outside."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of which there are weights, in order."""

    def model(self, step: int | None = None) -> Any:
        """The torch module at a step, by default the last."""

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """Its parameters and buffers by name, as torch tensors."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One training trajectory. A branch's own rows begin at its fork; `parent` is None for the trunk."""

    name: str
    probes: Mapping[str, ProbeTrace]
    attributes: Mapping[str, Any]
    trained: Callable[[], TrainedArm] | None = None

    @property
    def parent(self) -> str | None:
        """The arm that this one forked from."""
        return str(self.attributes.get("parent", "")) or None

    @property
    def fork_step(self) -> int:
        """The training step of the fork, 0 for the trunk."""
        return int(self.attributes.get("fork_step", 0))

    @property
    def fork_time(self) -> float:
        """The effective time of the fork (t* of an arm that leaves the edge), 0 for the trunk."""
        return float(self.attributes.get("fork_time", 0.0))

    @property
    def state(self) -> str:
        """running, complete, diverged, interrupted, ..., or `not started`."""
        return str(self.attributes.get("state", ""))

    @property
    def started(self) -> bool:
        """Whether the arm ever ran."""
        return self.state != NOT_STARTED

    @property
    def end_reason(self) -> str:
        """Why the arm ended, or never started, in words."""
        return str(self.attributes.get("end_reason", ""))

    @property
    def learning_rate(self) -> float | None:
        """η, where it is known."""
        return _number(self.attributes.get("learning_rate"))

    @property
    def threshold(self) -> float | None:
        """The edge of stability of this arm's optimizer, or None where none is known."""
        return _number(self.attributes.get("threshold"))

    @property
    def threshold_quantity(self) -> str:
        """The `standard_name` of what the threshold is held against."""
        return str(self.attributes.get("threshold_quantity", "")) or "sharpness"

    def __getitem__(self, probe: str) -> ProbeTrace:
        return held(self.probes, probe, f"the arm {self.name!r}", "probe")

    def __contains__(self, probe: object) -> bool:
        return probe in self.probes

    def __iter__(self) -> Iterator[str]:
        return iter(self.probes)

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """The steps of which there are weights: the last, the best, and those that `checkpoints` keeps."""
        return self._trained().steps

    def model(self, step: int | None = None) -> Any:
        """The trained model, a plain `torch.nn.Module` on the CPU in evaluation mode, at a step, by default the last.

        It is made by the study's own component, which has to be within reach. Raises `RunFolderError`, which lists
        `kept_steps`, where there are no weights of that step.
        """
        return self._trained().model(step)

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """The model's `state_dict` at a step, by default the last: parameters and buffers by name, as torch tensors.

        Raises `RunFolderError`, which lists `kept_steps`, where there are no weights of that step.
        """
        return self._trained().state_dict(step)

    def _trained(self) -> TrainedArm:
        if self.trained is None:
            raise TraceError("this trace was opened by itself: studyrun.open_run gives runs whose models can be had")
        return self.trained()

    def find(self, standard_name: str) -> ChannelTrace | None:
        """The first channel of this standard name, whichever probe records it."""
        channels = (channel for probe in self.probes.values() for channel in probe.channels.values())
        return next((channel for channel in channels if channel.standard_name == standard_name), None)

    def crossing(self, probe: str | None = None, *, rising: bool = False) -> Crossing | None:
        """The first row at which the arm had met its own threshold, t** for an arm that left the edge; None if never.

        Read from the channel whose standard name is `threshold_quantity` (of `probe`, or of the first that has one),
        at the first place along its other dimensions. Of a branch only rows after the fork count; `rising` counts only
        rows after one below the threshold.
        """
        channel = self._watched(probe)
        if channel is None or self.threshold is None:
            return None
        leading = self.leading(channel)
        after = channel.step > self.fork_step if self.parent else np.ones(len(leading), dtype=bool)
        if rising:
            after &= np.logical_or.accumulate(leading < self.threshold)
        met = np.flatnonzero(after & (leading >= self.threshold))
        if not len(met):
            return None
        return Crossing(int(channel.step[met[0]]), float(channel.time[met[0]]), float(leading[met[0]]))

    def leading(self, channel: ChannelTrace, **labels: object) -> np.ndarray:
        """A channel's values at these labels, and at the first along its other dimensions, (steps,).

        NaN where the solve did not converge; runs of before hold an estimate there.
        """
        place = {name: known[0] for name, known in channel.labels.items()} | labels
        values = np.asarray(channel.select(**place), dtype=float)
        return np.where(self._converged(channel, place), values, np.nan)

    def _converged(self, channel: ChannelTrace, place: Mapping[str, Any]) -> np.ndarray:
        """In which rows a value is one."""
        beside = self.probes[channel.rows.group.rsplit("/", 1)[-1]].channels.get("converged")
        if beside is None or beside.dims != channel.dims or channel.name in EVIDENCE:
            return np.ones(len(channel.step), dtype=bool)
        return beside.select(**place).astype(bool)

    def _watched(self, probe: str | None) -> ChannelTrace | None:
        if probe is None:
            return self.find(self.threshold_quantity)
        channels = self[probe].channels.values()
        return next((one for one in channels if one.standard_name == self.threshold_quantity), None)


def read_arm(path: Path, name: str, group: h5py.Group) -> Arm:
    """One arm with its probes and channels, without their values."""
    return Arm(name, {label: _read_probe(path, probe) for label, probe in group.items()}, file.read_attributes(group))


def held(things: Mapping[str, Held], name: str, owner: str, kind: str) -> Held:
    """`things[name]`, or a `TraceError` that lists what there is."""
    if name not in things:
        raise TraceError(f"{owner} has no {kind} {name!r} ({kind}s: {', '.join(things) or 'none'})")
    return things[name]


def _read_probe(path: Path, group: h5py.Group) -> ProbeTrace:
    rows = Rows(path, group.name, layout.whole_rows(group))
    label = group.name.rsplit("/", 1)[-1]
    return ProbeTrace(label, rows, read_channels(rows, group), file.read_attributes(group))


def _number(value: Any) -> float | None:
    return None if value is None or isnan(value) else float(value)
