"""Conditions on what has been measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from studyrun.component.options import Carry, Component, Nested
from studyrun.component.snapshot import Context, Instant

if TYPE_CHECKING:
    import numpy as np

    from studyrun.trace.channel import Channel


class Moment(Instant, Protocol):
    """One step as triggers see it, after its probes."""

    @property
    def train_loss(self) -> float:
        """The mean training loss; free under full-batch optimizers, one pass over the data under others."""

    def reading(self, label: str) -> Mapping[str, np.ndarray] | None:
        """What the probe with this label recorded at this very step, or None where it was not due."""

    def channels(self, label: str) -> Mapping[str, Channel]:
        """The channels of the probe with this label."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the study's probes, in order."""


@dataclass(frozen=True, slots=True)
class Firing:
    """Why a trigger fired: the value that was seen, what it was held against, and both in words.

    `quantity` is the `standard_name` of the curvature that was seen to rise to `threshold`, nothing where none was. A
    fork is at the edge of stability only where that is the quantity, and the level, of the arm's own threshold.
    """

    value: float
    threshold: float
    reason: str
    quantity: str = ""


class Trigger(Component):
    """A condition on what has been measured. It starts a branch, or ends an arm."""

    def watches(self) -> Sequence[str]:
        """Return the labels of the probes this trigger cannot do without; the study is checked for them."""
        return ()

    def check_context(self, context: Context, channels: Mapping[str, Mapping[str, Channel]]) -> None:
        """Raise `ComponentError` if this trigger can never work here; `channels` is by probe label and name."""

    def start(self) -> Carry:
        """Return the carry for the first check."""
        return None

    @abstractmethod
    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        """Return why the trigger fires at this step, or None, and the next carry."""

    def unfired(self, carry: Carry) -> str:
        """Say what was seen instead, for a branch that never started."""
        return "its condition was never met"


TriggerOption = Annotated[Trigger, Nested("triggers", Trigger)]
"""The type of an option of a probe that is a trigger: `freeze: {use: edge_of_stability}`."""
