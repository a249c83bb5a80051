"""The readings of one probe that wait to be written: checked against its channels, copied, and kept in lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from studyrun.errors import ProbeError, TraceError
from studyrun.trace.channel import Channel, Dimension, check_name

_ROW_OVERHEAD = 128  # bytes that Python spends on one small array in a list


def check_channels(label: str, channels: Sequence[Channel]) -> None:
    """Raise `ProbeError` unless these channels can share one group: distinct names, and one meaning per dimension."""
    if not channels:
        raise ProbeError(f"probe {label!r} declares no channel")
    names = [channel.name for channel in channels]
    for name in names:
        if names.count(name) > 1:
            raise ProbeError(f"probe {label!r} declares the channel {name!r} twice")
    shared: dict[str, Dimension] = {}
    for channel in channels:
        for dimension in channel.dims:
            _check_dimension(label, channel, dimension)
            if dimension.name in names:
                raise ProbeError(f"probe {label!r} has a channel and a dimension of one name, {dimension.name!r}")
            if shared.setdefault(dimension.name, dimension) != dimension:
                raise ProbeError(f"probe {label!r} labels the dimension {dimension.name!r} in two different ways")


def _check_dimension(label: str, channel: Channel, dimension: Dimension) -> None:
    where = f"probe {label!r}, channel {channel.name!r}: dimension {dimension.name!r}"
    if not dimension.labels:
        raise ProbeError(f"{where} has no places; a channel needs at least one")
    if len(set(dimension.labels)) < dimension.size:
        raise ProbeError(f"{where} gives two places the same label")
    if any(isinstance(text, str) and "\0" in text for text in dimension.labels):
        raise ProbeError(f"{where} has a label with a NUL character")


class ProbeBuffer:
    """Rows of one probe in memory. Steps must increase from row to row, also past the rows that are in the file."""

    def __init__(self, label: str, channels: Sequence[Channel], last_step: int | None = None) -> None:
        check_name(label, "probe label")
        check_channels(label, channels)
        self.label = label
        self.channels = {channel.name: channel for channel in channels}
        self._expected = [(channel, channel.name, channel.shape, np.dtype(channel.dtype)) for channel in channels]
        self.last_step = last_step
        self.clear()

    def __len__(self) -> int:
        return len(self.steps)

    def clear(self) -> None:
        """Forget the rows, as after writing them."""
        self.steps: list[int] = []
        self.times: list[float] = []
        self.rows: dict[str, list[np.ndarray]] = {name: [] for name in self.channels}

    def append(self, step: int, time: float, reading: Mapping[str, Any]) -> int:
        """Take one reading, all of it or nothing, and return the bytes it occupies.

        Raises `ProbeError` for a channel that is missing, undeclared or of the wrong shape or type, and `TraceError`
        where `step` does not come after the row before.
        """
        if self.last_step is not None and step <= self.last_step:
            raise TraceError(f"probe {self.label!r}: step {step} is not after step {self.last_step}, its last row")
        if reading.keys() != self.channels.keys():
            raise ProbeError("\n".join(self._misnamed(reading)))
        row = [self._converted(*expected, reading) for expected in self._expected]
        for name, array in zip(self.channels, row, strict=True):
            self.rows[name].append(array)
        self.steps.append(int(step))
        self.times.append(float(time))
        self.last_step = step
        return sum(array.nbytes + _ROW_OVERHEAD for array in row)

    def slab(self, name: str) -> np.ndarray:
        """All waiting rows of one channel, of `step` or of `time`, shape (rows, ...)."""
        if name == "step":
            return np.array(self.steps, dtype="int64")
        if name == "time":
            return np.array(self.times, dtype="float64")
        channel = self.channels[name]
        slab = np.empty((len(self), *channel.shape), dtype=channel.dtype)
        for place, array in enumerate(self.rows[name]):
            slab[place] = array
        return slab

    def truncate(self, from_step: int) -> None:
        """Drop the rows with step ≥ `from_step`. The caller says by `last_step` what is left in the file."""
        keep = sum(step < from_step for step in self.steps)
        del self.steps[keep:], self.times[keep:]
        for rows in self.rows.values():
            del rows[keep:]

    def _misnamed(self, reading: Mapping[str, Any]) -> Iterator[str]:
        declared = ", ".join(self.channels)
        for name in reading.keys() - self.channels.keys():
            yield f"probe {self.label!r} recorded the channel {name!r}, which it did not declare (declared: {declared})"
        for name in self.channels.keys() - reading.keys():
            got = ", ".join(reading) or "nothing"
            yield f"probe {self.label!r} did not record the channel {name!r}, which it declared (got: {got})"

    def _converted(
        self, channel: Channel, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], reading: Mapping[str, Any]
    ) -> np.ndarray:
        """A copy of one value, since its probe may go on using the memory, in the channel's type."""
        try:
            array = np.array(reading[name])
        except (TypeError, ValueError, RuntimeError) as error:
            raise ProbeError(f"{self._where(name)}: expected an array of {dtype}, got {error}") from error
        if array.shape != shape:
            raise ProbeError(f"{self._where(name)}: expected shape {_words(channel)}, got {array.shape}")
        return array if array.dtype == dtype else self._cast(name, array, dtype)

    def _cast(self, name: str, array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        allowed = "biuf" if dtype.kind == "f" else "biu"
        if array.dtype.kind not in allowed:
            raise ProbeError(f"{self._where(name)}: expected values of type {dtype}, got {array.dtype}")
        with np.errstate(over="ignore"):  # too large for a narrower float is inf, which is stored as it is
            cast = array.astype(dtype)
        if dtype.kind != "f" and not np.array_equal(cast, array):
            raise ProbeError(f"{self._where(name)}: expected values that fit {dtype}, got {array.tolist()}")
        return cast

    def _where(self, name: str) -> str:
        return f"probe {self.label!r}, channel {name!r}"


def _words(channel: Channel) -> str:
    names = f" ({', '.join(dimension.name for dimension in channel.dims)})" if channel.dims else " (one number)"
    return f"{channel.shape}{names}"
