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
    """Writes one arm's readings; without a writer it only holds them against what was declared.

    Values that are not finite are recorded as they are, and said once for each channel; so are numbers beyond the range
    of a channel's type, and solves that did not converge.
    """

    def __init__(
        self, writer: TraceWriter | None, arm: str, channels: Mapping[str, tuple[Channel, ...]], warn: Warn
    ) -> None:
        self.writer, self.arm, self.channels, self.warn = writer, arm, channels, warn
        self._warned: set[tuple[str, str, str]] = set()

    def record(self, entry: ProbeEntry, step: int, time: float, reading: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Check a reading, append it to the trace, and return it as arrays. Raises `ProbeError`."""
        label, channels = entry.label, self.channels[entry.label]
        given = as_arrays(label, channels, reading)
        arrays = {channel.name: _cast(label, channel, given[channel.name]) for channel in channels}
        where = f"at step {step} of arm {self.arm!r}"
        for channel in channels:
            self._check_range(label, channel, given[channel.name], arrays[channel.name], where)
            self._check_finite(label, channel, given[channel.name], where)
        self._check_solves(label, arrays, where)
        if self.writer is not None:
            self.writer.append(self.arm, label, step, time, arrays)
        shown = {name: array.view() for name, array in arrays.items()}
        for array in shown.values():
            array.flags.writeable = False  # several triggers are shown one reading
        return shown

    def _say_once(self, label: str, channel: str, kind: str, text: str) -> None:
        if (label, channel, kind) not in self._warned:
            self._warned.add((label, channel, kind))
            self.warn(text)

    def _check_finite(self, label: str, channel: Channel, array: np.ndarray, where: str) -> None:
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return
        nan = bool(np.isnan(array).any())
        if nan and channel.nan and not np.isinf(array).any():
            return
        what = "NaN" if nan else "an infinite value"
        self._say_once(label, channel.name, "finite", f"probe {label!r} recorded {what} in {channel.name!r} {where}")

    def _check_range(self, label: str, channel: Channel, given: np.ndarray, cast: np.ndarray, where: str) -> None:
        """Say what the channel's type turned into infinity or 0. No number goes that way unheard."""
        if cast.dtype.kind != "f" or cast.dtype == given.dtype:
            return
        for kind, lost in (("infinite", np.isfinite(given) & np.isinf(cast)), ("0", (given != 0) & (cast == 0))):
            if lost.any():
                limits = np.finfo(cast.dtype)
                holds = f"{limits.smallest_subnormal:.3g} to {limits.max:.3g}"
                text = (
                    f"probe {label!r} gave {given[lost].flat[0]:.6g} for {channel.name!r} {where}, beyond the range of "
                )
                text += f"{channel.dtype} ({holds}): such values are recorded as {kind}"
                self._say_once(label, channel.name, kind, text)

    def _check_solves(self, label: str, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Say where a residual shows a solve that did not converge; one that was not asked for has none."""
        for name, converged in arrays.items():
            residual = arrays.get(f"{name.removesuffix('converged')}residual") if name.endswith("converged") else None
            if residual is None or residual.shape != converged.shape:
                continue
            missed = np.isfinite(residual) & ~converged.astype(bool)
            if missed.any():
                text = f"probe {label!r}: a solve did not converge {where}, its residual being "
                text += f"{residual[missed].flat[0]:.3g}; what it should give is recorded as NaN, there and wherever "
                text += f"{name!r} says so"
                self._say_once(label, name, "converged", text)


def as_arrays(label: str, channels: tuple[Channel, ...], reading: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the reading as numpy arrays of the declared shapes. Raises `ProbeError` for anything undeclared."""
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
    try:
        array = _numpy(value) if isinstance(value, torch.Tensor) else np.asarray(value)
    except (TypeError, ValueError, NotImplementedError) as error:
        what = f"a tensor of type {value.dtype}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        text = f"probe {label!r} returned {channel.name!r} as {what}, which is no array of {channel.dtype}: {error}"
        raise ProbeError(text) from error
    if array.shape != channel.shape:
        raise ProbeError(
            f"probe {label!r} returned {channel.name!r} of shape {array.shape}; it declared {channel.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise ProbeError(f"probe {label!r} returned {channel.name!r} of type {array.dtype}; numbers are expected")
    return array


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array. Floats that numpy does not have, such as bfloat16, become float32, which holds them all."""
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy(force=True)


def _cast(label: str, channel: Channel, array: np.ndarray) -> np.ndarray:
    """Convert to the declared type. A float too large for it becomes infinite, an integer that does not fit is refused.

    A number that overflows is what a diverging arm records last, and the recorder says so; a whole number that would
    wrap round is a fault of the probe.
    """
    if array.dtype == channel.dtype:
        return array
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cast = array.astype(channel.dtype)
    overflown = cast != array
    if cast.dtype.kind != "f" and overflown.any():
        raise ProbeError(
            f"probe {label!r}: {channel.name!r} holds {array[overflown].flat[0]!r}, which {channel.dtype} cannot"
        )
    return cast
