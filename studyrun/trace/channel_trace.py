"""One recorded channel in numpy, read from the file when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from studyrun.errors import TraceError
from studyrun.trace import file, layout

Labels = tuple[int, ...] | tuple[str, ...]
_SHOWN = 20  # labels that an error message lists


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one probe's group. `count` is how many the file held when the run was opened."""

    path: Path
    group: str
    count: int

    @cached_property
    def step(self) -> np.ndarray:
        """The training step of each row, int64 (count,)."""
        return self.read("step")

    @cached_property
    def time(self) -> np.ndarray:
        """The effective time of each row, float64 (count,)."""
        return self.read("time")

    def read(self, name: str) -> np.ndarray:
        """One array from the file, in the type in which it was recorded. The file is closed again at once."""
        where = f"{self.group}/{name}"
        values = file.read(self.path, lambda trace: _load(trace[where], self.count), where)
        if len(values) < self.count:
            raise TraceError(f"{self.path} was cut back after it was opened; open the run again")
        return values


class OnRows:
    """What stands on a probe's rows: it has their steps and times."""

    rows: Rows

    @property
    def step(self) -> np.ndarray:
        """The training step of each row, int64 (steps,)."""
        return self.rows.step

    @property
    def time(self) -> np.ndarray:
        """The effective time of each row, float64 (steps,)."""
        return self.rows.time


@dataclass(frozen=True, eq=False)
class ChannelTrace(OnRows):
    """One channel of one probe in one arm: what was recorded, with its labels, words, symbol and unit.

    `dims` starts with `step`; `labels` are those of the other dimensions.
    """

    name: str
    rows: Rows
    dims: tuple[str, ...]
    labels: Mapping[str, Labels]
    attributes: Mapping[str, Any]

    @cached_property
    def values(self) -> np.ndarray:
        """The array (steps, ...), in the type in which it was recorded."""
        return self.rows.read(self.name)

    @property
    def coords(self) -> Mapping[str, np.ndarray | list[str]]:
        """The labels along each dimension, and `time` beside `step`."""
        return {"step": self.step, "time": self.time, **{name: _coordinate(one) for name, one in self.labels.items()}}

    @property
    def long_name(self) -> str:
        """The quantity in words."""
        return str(self.attributes.get("long_name", self.name))

    @property
    def symbol(self) -> str:
        """The quantity's letter, or nothing."""
        return str(self.attributes.get("symbol", ""))

    @property
    def units(self) -> str:
        """The unit; `1` for pure numbers."""
        return str(self.attributes.get("units", "1"))

    @property
    def source(self) -> str:
        """The publication that defines the quantity, or nothing."""
        return str(self.attributes.get("source", ""))

    @property
    def standard_name(self) -> str:
        """Which quantity of the field this is, or nothing."""
        return str(self.attributes.get("standard_name", ""))

    @property
    def label(self) -> str:
        """The text of an axis: words, symbol and unit."""
        return axis_label(self.long_name, self.symbol, self.units)

    def select(self, **labels: object) -> np.ndarray:
        """The values at one label along each dimension named, as `select(group="inlier")` or `select(k=1)`.

        The dimensions that are not named stay. Raises `TraceError` for a dimension or label that is not there.
        """
        places: list[slice | int] = [slice(None)] * len(self.dims)
        for name, label in labels.items():
            if name not in self.dims:
                raise TraceError(f"{self._where} has no dimension {name!r} (dimensions: {', '.join(self.dims)})")
            places[self.dims.index(name)] = self._place(name, label)
        return np.asarray(self.values[tuple(places)])

    def _place(self, name: str, label: object) -> int:
        known: list[Any] = self.step.tolist() if name == "step" else list(self.labels[name])
        if label not in known:
            shown = ", ".join(str(one) for one in known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            raise TraceError(f"{self._where} has no {name} {label!r} (there are: {shown})")
        return known.index(label)

    @property
    def _where(self) -> str:
        return f"the channel {self.rows.group.strip('/')}/{self.name}"


def axis_label(long_name: str, symbol: str, units: str) -> str:
    """Words, symbol and unit as an axis shows them; pure numbers show no unit."""
    return " ".join(part for part in (long_name, symbol, f"[{units}]" if units not in ("", "1") else "") if part)


def read_channels(rows: Rows, group: h5py.Group) -> dict[str, ChannelTrace]:
    """The channels of a probe's group, in the order in which they were declared, without their values."""
    scales: dict[str, Labels] = {}
    channels = {}
    for name in layout.channel_names(group):
        dataset = group[name]
        dims = layout.dimension_names(dataset)
        for dimension in dims[1:]:
            scales[dimension] = scales.get(dimension) or layout.labels(group[dimension])
        labels = {dimension: scales[dimension] for dimension in dims[1:]}
        channels[name] = ChannelTrace(name, rows, dims, labels, file.read_attributes(dataset))
    return channels


def _load(dataset: h5py.Dataset, rows: int) -> np.ndarray:
    return np.asarray(dataset[:rows]).astype(layout.recorded_dtype(dataset), copy=False)


def _coordinate(labels: Labels) -> np.ndarray | list[str]:
    if isinstance(labels[0], str):
        return [str(label) for label in labels]
    return np.array(labels, dtype="int64")
