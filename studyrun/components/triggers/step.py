"""A step that is named in advance."""

from __future__ import annotations

from typing import Annotated

from studyrun.plugin import Carry, Field, Firing, Moment, Trigger


class Step(Trigger):
    """Fires at a given step."""

    step: Annotated[int, Field(ge=0)]
    """The step."""

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        if moment.step < self.step:
            return None, carry
        return Firing(moment.step, self.step, f"step {moment.step} was reached"), carry
