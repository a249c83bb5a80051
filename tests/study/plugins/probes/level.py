from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from studyrun.plugin import Carry, Channel, Context, Probe, Reading, Snapshot


class Level(Probe):
    """How high the loss stands."""

    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 2}
    k: int = 1

    def channels(self, context: Context) -> Sequence[Channel]:
        return (Channel("height", "height"),)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        raise NotImplementedError
