"""What the model makes of examples that lie ever further out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Dimension,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    Split,
    field_validator,
)


class DisplacedLoss(Probe):
    """Loss and accuracy on input-outliers made at test time, over a grid of displacements a.

    Examples of class 0 are moved to x − a·v and those of class 1 to x + a·v, with v = μ_1 − μ_0 the difference of the
    two centroids that the study's groups were made from: away from the other class, just as `prototypes` makes its
    input-outliers. Their mean loss and the share of them classified rightly, with the model in evaluation mode, at each
    a; a = 0 leaves them as they are. Cost: a forward pass on the examples for each displacement, no gradient.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 10; the grid is ours, the paper does not state one.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("displaced_loss",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 50}

    displacements: Annotated[tuple[float, ...], Field(min_length=1)] = tuple(map(float, range(13)))
    """The grid: values of a, in units of ‖v‖; negative ones move towards the other class."""
    split: Literal["test", "train"] = "test"
    """Which examples are moved: the test examples, or the training examples that belong to no group."""
    per_class: Annotated[int, Field(ge=1)] | None = None
    """So many of each class, the nearest to their own centroid, as the sources of prototypes are; null takes all."""

    @field_validator("displacements")
    @classmethod
    def _each_once(cls, displacements: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(displacements)) < len(displacements):
            raise ValueError("name each displacement once")
        return displacements

    def channels(self, context: Context) -> Sequence[Channel]:
        _check_classes(context)
        self._chosen(context)
        dims = (Dimension("displacement", self._labels()),)
        where = f"{self.split} examples displaced by a·v"
        return [
            Channel("loss", f"mean loss of {where}", dims, "ℓ(x ± a·v)", context.loss.units),
            Channel("accuracy", f"accuracy on {where}", dims),
        ]

    def _labels(self) -> tuple[int, ...] | tuple[str, ...]:
        """The grid as a coordinate: whole numbers, or texts where any of them is not whole."""
        if all(a.is_integer() for a in self.displacements):
            return tuple(int(a) for a in self.displacements)
        return tuple(str(a) for a in self.displacements)

    def _chosen(self, context: Context) -> Split:
        """The examples that are moved. Raises `ProbeError` where there are none, or too few of a class."""
        everyone = _undisturbed(context) if self.split == "train" else context.data.test
        counts = [0, 0] if everyone is None else everyone.targets.bincount(minlength=2).tolist()
        needed = self.per_class or 1
        for name, count in zip(context.data.classes, counts, strict=True):
            if count < needed:
                remedy = "lower per_class, " if self.per_class else ""
                raise ProbeError(
                    f"displaced_loss: class {name} has {count} {self.split} examples to move, and {needed} are asked "
                    f"for; {remedy}take a larger data set or the other split"
                )
        assert everyone is not None
        return everyone if self.per_class is None else everyone.take(_nearest(context, everyone, self.per_class))

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        chosen = self._chosen(snapshot.context)
        rows = [_judged(snapshot, chosen, a) for a in self.displacements]
        loss, accuracy = zip(*rows, strict=True)
        return {"loss": np.array(loss), "accuracy": np.array(accuracy)}, carry


def _check_classes(context: Context) -> None:
    grouping, classes = context.grouping, context.data.classes
    if len(classes) != 2 or context.data.train.targets.is_floating_point():
        raise ProbeError(
            f"displaced_loss needs exactly two classes, and this data set has {len(classes)}; choose two with the data "
            "set's option `classes`"
        )
    if not context.classifies:
        raise ProbeError("displaced_loss needs a loss that says which class a single output stands for (`correct`)")
    if grouping is None or grouping.centroids is None or len(grouping.centroids) != 2:
        raise ProbeError(
            "displaced_loss moves examples along the difference of the centroids that groups were made from, and this "
            "study's groups have none; write `groups: {use: prototypes}`"
        )


def _undisturbed(context: Context) -> Split:
    """The training examples outside all groups: prototypes have been displaced or relabelled already."""
    train, grouping = context.data.train, context.grouping
    assert grouping is not None
    outside = torch.ones(len(train), dtype=torch.bool, device=train.targets.device)
    for members in grouping.members.values():
        outside[members] = False
    return Split(train.inputs[outside], train.targets[outside])


def _nearest(context: Context, examples: Split, per_class: int) -> Tensor:
    """The places of the examples nearest to their own centroid, class 0 first; of equals, the first ones."""
    assert context.grouping is not None
    assert context.grouping.centroids is not None
    apart = (examples.inputs - context.grouping.centroids[examples.targets]).double().flatten(1)
    ranked = torch.linalg.vector_norm(apart, dim=1).argsort(stable=True)
    return torch.cat([ranked[examples.targets[ranked] == label][:per_class] for label in (0, 1)])


def _displaced(examples: Split, centroids: Tensor, a: float) -> Split:
    """Each example moved by a·v away from the other class."""
    v = centroids[1] - centroids[0]
    steps = (2 * examples.targets - 1)[:, None] * v.flatten()
    return Split(examples.inputs + a * steps.view_as(examples.inputs), examples.targets)


def _judged(snapshot: Snapshot, examples: Split, a: float) -> tuple[float, float]:
    """Mean loss and accuracy at one displacement, in chunks, summed in float64."""
    context, loss, right = snapshot.context, 0.0, 0
    assert context.grouping is not None
    assert context.grouping.centroids is not None
    for start in range(0, len(examples), snapshot.chunk_size):
        piece = examples.take(slice(start, start + snapshot.chunk_size))
        moved = _displaced(piece, context.grouping.centroids, a)
        outputs = snapshot.outputs(moved.inputs)
        loss += float(context.loss.per_example(outputs, moved.targets).double().sum())
        correct = context.loss.correct(outputs, moved.targets)
        assert correct is not None, "there are classes"
        right += int(correct.sum())
    return loss / len(examples), right / len(examples)
