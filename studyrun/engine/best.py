"""The best step that an arm comes by, by one recorded channel, with the weights it had there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from studyrun.engine.measuring import Readings
from studyrun.engine.weights import Weights
from studyrun.errors import ComponentError
from studyrun.study.schema import Checkpoints
from studyrun.trace.channel import Channel

BETTER = {"accuracy": "highest", "loss": "lowest", "error": "lowest"}
"""What a quantity's last word says of which of its values is the best."""


@dataclass(frozen=True, slots=True)
class Followed:
    """The channel that decides which step is the best, and whether its highest or its lowest value is."""

    label: str
    channel: str
    which: str

    @property
    def words(self) -> str:
        """As in `highest loss.test_accuracy`."""
        return f"{self.which} {self.label}.{self.channel}"


def followed(plan: Checkpoints, channels: Mapping[str, tuple[Channel, ...]]) -> Followed | None:
    """What `checkpoints.best` follows, None without it.

    Raises `ComponentError` where there is no such scalar channel, or nothing says which of its values is the best.
    """
    if plan.best is None:
        return None
    label, name, which = plan.best_channel
    where = f"checkpoints.best: {label}.{name}"
    known = {channel.name: channel for channel in channels.get(label, ())}
    if name not in known:
        scalars = ", ".join(f"{one}.{c.name}" for one, held in channels.items() for c in held if not c.dims)
        raise ComponentError(f"{where}: there is no such channel; scalar ones are {scalars or 'none'}")
    channel = known[name]
    if channel.dims:
        dims = ", ".join(dim.name for dim in channel.dims)
        raise ComponentError(f"{where} has the dimension {dims}; a channel with one number a step would be right")
    which = which or BETTER.get((channel.standard_name or channel.long_name).replace("_", " ").split()[-1].lower(), "")
    if not which:
        choice = f"{{highest: {label}.{name}}} or {{lowest: {label}.{name}}}"
        raise ComponentError(f"{where} ({channel.long_name}): nothing says which value is the best; write {choice}")
    return Followed(label, name, which)


@dataclass
class Best:
    """The best value of an arm so far. Of several that are equal the first counts; a NaN is never the best."""

    followed: Followed
    value: float = float("nan")
    step: int = 0
    time: float = 0.0
    weights: Weights = field(default_factory=dict)

    def look(self, readings: Readings, taken: Callable[[], tuple[int, float, Weights]]) -> None:
        """Hold a step's readings against the best before, and take the step, its time and its weights if better."""
        reading = readings.get(self.followed.label)
        if reading is None:
            return
        value = float(reading[self.followed.channel])
        ahead = value > self.value if self.followed.which == "highest" else value < self.value
        if ahead or (isnan(self.value) and not isnan(value)):
            self.value, (self.step, self.time, self.weights) = value, taken()

    @property
    def known(self) -> bool:
        """Whether there has been any value that is one."""
        return not isnan(self.value)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint holds. The weights are never written to, so that references suffice."""
        return {"value": self.value, "step": self.step, "time": self.time, "weights": self.weights}
