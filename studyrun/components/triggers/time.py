"""An effective time that is named in advance."""

from __future__ import annotations

from typing import Annotated

from studyrun.plugin import Carry, Field, Firing, Moment, Trigger

ROUNDING = 1e-9  # Σ η is a sum of floats: ten steps of 0.01 must reach 0.1, however the sum rounds


class Time(Trigger):
    """Fires at the first step at or after an effective time Σ η."""

    time: Annotated[float, Field(ge=0)]
    """The effective time."""

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        if moment.time < self.time * (1 - ROUNDING):
            return None, carry
        return Firing(moment.time, self.time, f"effective time {moment.time:.6g} ≥ {self.time:.6g}"), carry
