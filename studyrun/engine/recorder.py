"""From readings to the trace: what a probe returns is held against what it declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from studyrun.errors import ProbeError
from studyrun.study.schema import ProbeEntry
from studyrun.trace.channel import Channel
from studyrun.trace.writer import TraceWriter

Warn = Callable[[str], None]


class Recorder:
    """Writes one arm's readings. Non-finite values are recorded as they are, and said once for each channel."""

    def __init__(self, writer: TraceWriter, arm: str, channels: Mapping[str, tuple[Channel, ...]], warn: Warn) -> None:
        self.writer, self.arm, self.channels, self.warn = writer, arm, channels, warn
        self._warned: set[tuple[str, str]] = set()

    def record(self, entry: ProbeEntry, step: int, time: float, reading: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Check a reading, append it to the trace, and return it as arrays. Raises `ProbeError`."""
        arrays = as_arrays(entry.label, self.channels[entry.label], reading)
        for channel in self.channels[entry.label]:
            self._check_finite(entry.label, channel, arrays[channel.name], step)
        self.writer.append(self.arm, entry.label, step, time, arrays)
        return arrays

    def _check_finite(self, label: str, channel: Channel, array: np.ndarray, step: int) -> None:
        if (label, channel.name) in self._warned or array.dtype.kind != "f" or np.isfinite(array).all():
            return
        nan = bool(np.isnan(array).any())
        if nan and channel.nan and not np.isinf(array).any():
            return
        self._warned.add((label, channel.name))
        what = "NaN" if nan else "an infinite value"
        self.warn(f"probe {label!r} recorded {what} in {channel.name!r} at step {step} of arm {self.arm!r}")


def as_arrays(label: str, channels: tuple[Channel, ...], reading: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the reading as numpy arrays of the declared types. Raises `ProbeError` for anything undeclared."""
    declared = {channel.name: channel for channel in channels}
    if not isinstance(reading, Mapping):
        raise ProbeError(f"probe {label!r} must return (reading, carry) with a mapping of channels as its reading")
    if extra := sorted(set(reading) - set(declared)):
        raise ProbeError(
            f"probe {label!r} returned {extra[0]!r}, which it did not declare; it declared {', '.join(declared)}"
        )
    if missing := sorted(set(declared) - set(reading)):
        raise ProbeError(f"probe {label!r} declared {missing[0]!r} and did not return it")
    return {name: _as_array(label, declared[name], value) for name, value in reading.items()}


def _as_array(label: str, channel: Channel, value: Any) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.shape != channel.shape:
        raise ProbeError(
            f"probe {label!r} returned {channel.name!r} of shape {array.shape}; it declared {channel.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise ProbeError(f"probe {label!r} returned {channel.name!r} of type {array.dtype}; numbers are expected")
    return _cast(label, channel, array)


def _cast(label: str, channel: Channel, array: np.ndarray) -> np.ndarray:
    """Convert to the declared type. A float too large for it becomes infinite, an integer that does not fit is refused.

    A number that overflows is what a diverging arm records last, and the recorder warns of it as of any infinite value;
    a whole number that would wrap round is a fault of the probe.
    """
    if array.dtype == channel.dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(channel.dtype)
    overflown = cast != array
    if cast.dtype.kind != "f" and overflown.any():
        raise ProbeError(
            f"probe {label!r}: {channel.name!r} holds {array[overflown].flat[0]!r}, which {channel.dtype} cannot"
        )
    return cast
