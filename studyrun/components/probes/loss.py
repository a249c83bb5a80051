"""The losses and accuracies that every study looks at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from studyrun.plugin import Carry, Channel, Context, Dimension, Probe, Reading, Snapshot


class Loss(Probe):
    """Mean loss and accuracy on the training and test sets, and mean training loss by group.

    L = (1/n) Σ_i ℓ_i, means in float64. Under full-batch optimizers the training part falls out of the step's own
    pass; the test part costs one forward pass over the test set, a third of a gradient evaluation on as many examples.
    """

    figures: ClassVar[tuple[str, ...]] = ("loss", "group_loss", "delta_loss")

    test: bool = True
    """Also evaluate the test set, where the data set has one."""

    def channels(self, context: Context) -> Sequence[Channel]:
        classes = context.classifies
        found = [Channel("train", "training loss", symbol="L", units=context.loss.units, standard_name="training_loss")]
        if classes:
            found.append(Channel("train_accuracy", "training accuracy"))
        if self._tests(context):
            found.append(Channel("test", "test loss", symbol="L_test", units=context.loss.units))
            if classes:
                found.append(Channel("test_accuracy", "test accuracy"))
        if context.grouping is not None:
            dims = (Dimension("group", context.groups),)
            found.append(Channel("by_group", "mean training loss of the group", dims, "ℓ_k", context.loss.units))
        return found

    def _tests(self, context: Context) -> bool:
        return self.test and context.data.test is not None

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        context = snapshot.context
        reading: dict[str, object] = {"train": snapshot.train_loss}
        if context.classifies and (correct := snapshot.correct("train")) is not None:
            reading["train_accuracy"] = correct.double().mean()
        if self._tests(context):
            reading["test"] = snapshot.losses("test").double().mean()
            if context.classifies and (correct := snapshot.correct("test")) is not None:
                reading["test_accuracy"] = correct.double().mean()
        if context.grouping is not None:
            losses = snapshot.losses("train").double()
            reading["by_group"] = torch.stack([losses[indices].mean() for indices in context.grouping.members.values()])
        return reading, carry
