"""A training loss that has been reached."""

from __future__ import annotations

from typing import Annotated

from studyrun.plugin import Carry, Field, Firing, Moment, Trigger


class LossBelow(Trigger):
    """Fires at the first step whose mean training loss is below a value.

    Free under full-batch optimizers; under mini-batches each check costs a forward pass over the training set.
    """

    value: Annotated[float, Field(gt=0)]
    """The loss to go below."""
    every: Annotated[int, Field(ge=1)] = 1
    """Check every n steps."""

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        if moment.step % self.every or not moment.train_loss < self.value:  # a NaN is not below
            return None, carry
        return Firing(moment.train_loss, self.value, f"training loss {moment.train_loss:.6g} < {self.value:.6g}"), carry
