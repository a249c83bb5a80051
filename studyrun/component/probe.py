"""Measurements."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from studyrun.component.options import Carry, Component, Reading
from studyrun.component.snapshot import Context, EigenpairRequest, Snapshot
from studyrun.component.trigger import Trigger

if TYPE_CHECKING:
    from studyrun.trace.channel import Channel


class Probe(Component):
    """A measurement. It must leave no mark on training: same parameters, buffers and random state, bit for bit."""

    cites: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    """Figure components that show this probe in a report; empty: each channel is drawn by its dimensions."""
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 1}
    second_order: ClassVar[bool] = False
    """Whether it takes second derivatives of the loss other than by an `eigenpair_request`: before a run, the model is
    then looked at for whether it has them."""

    @abstractmethod
    def channels(self, context: Context) -> Sequence[Channel]:
        """Return what a reading holds. Raises `ProbeError` where the study lacks what this probe needs."""

    def eigenpair_request(self, context: Context) -> EigenpairRequest | None:
        """Return what this probe will ask of `snapshot.eigenpairs`, so that one solve serves all."""
        return None

    def triggers(self) -> Mapping[str, Trigger]:
        """Return the triggers among the options, by option: they are checked before the run, as a branch's are."""
        options = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: option for name, option in options if isinstance(option, Trigger)}

    def start(self, context: Context) -> Carry:
        """Return the carry for the first measurement."""
        return None

    @abstractmethod
    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        """Return the reading, one entry for each channel, and the next carry. `carry` is this probe's own copy."""
