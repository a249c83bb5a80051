from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studyrun.plugin import Carry, Firing, Moment, Trigger


class Above(Trigger):
    """Fires when a probe is above a value."""

    probe: str = "level"
    value: float = 1.0

    def watches(self) -> Sequence[str]:
        return (self.probe,)

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Any]:
        raise NotImplementedError
