"""A trigger of your own, for `at: {use: my_trigger}` of a branch or `stop: {when: my_trigger}`."""

from __future__ import annotations

from typing import Annotated

from studyrun.plugin import Carry, Field, Firing, Moment, Trigger


class MyTrigger(Trigger):
    """Fires at the first step whose training loss has fallen below a share of the loss it saw first.

    L(θ_s) < share · L(θ_0). Free under full-batch optimizers, one pass over the training set otherwise.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of the first loss to fall below."""

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        """Return why the trigger fires at this step, or None, and the next carry: here the first loss."""
        loss = moment.train_loss
        first = loss if carry is None else carry
        if loss >= self.share * first:
            return None, first
        reason = f"training loss {loss:.6g} < {self.share:g} · {first:.6g}"
        return Firing(loss, self.share * first, reason), first

    def unfired(self, carry: Carry) -> str:
        """Say what was seen instead, for the report on a branch that never started."""
        return f"the training loss stayed at or above {self.share:g} of its first value, {carry:.6g}"
