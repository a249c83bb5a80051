"""What the groups are made of: their images, and how far they lie from their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Dimension, Field, Probe, Reading, Snapshot

PADDING = "the group has no further example"


class GroupData(Probe):
    """Example images of each group and every member's distance to the centroid of its labelled class.

    ‖x_i − μ_{y_i}‖₂ in normalised input space, with the centroids the groups were made from, or the class means of the
    training set where the groups name none. Groups of unequal size are padded with NaN. No cost worth naming.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 1, 15 and 19.
    """

    figures: ClassVar[tuple[str, ...]] = ("group_images", "group_distances")
    default_schedule: ClassVar[Mapping[str, Any]] = {"at": [0]}

    images: Annotated[int, Field(ge=0)] = 6
    """How many images of each group to record, as the model sees them with the normalisation undone."""

    def channels(self, context: Context) -> Sequence[Channel]:
        assert context.grouping is not None or context.groups
        group = Dimension("group", context.groups)
        found = []
        if context.data.classes:
            member = Dimension.of_size("member", max(map(len, _members(context).values())))
            found.append(
                Channel("distance", "distance to the centroid of its class", (group, member), "‖x − μ_y‖", nan=PADDING)
            )
        if self._images(context):
            shape = context.data.example_shape
            axes = [
                Dimension.of_size(name, size) for name, size in zip(("channel", "row", "column"), shape, strict=True)
            ]
            dims = (group, Dimension.of_size("image_number", self.images), *axes)
            found.append(Channel("image", "example image", dims, dtype="float32", nan=PADDING))
            found.append(Channel("label", "class of the example image", dims[:2], dtype="int64"))
        return found

    def _images(self, context: Context) -> bool:
        shape = context.data.example_shape
        return self.images > 0 and len(shape) == 3 and shape[0] in (1, 3)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        context = snapshot.context
        reading: dict[str, Tensor] = {}
        if context.data.classes:
            reading["distance"] = _padded([_distances(context, indices) for indices in _members(context).values()])
        if self._images(context):
            reading["image"], reading["label"] = self._pictures(context)
        return reading, carry

    def _pictures(self, context: Context) -> tuple[Tensor, Tensor]:
        """Images (group, number, channel, row, column) as they were before normalisation; NaN and −1 as padding."""
        train = context.data.train
        images = torch.full((len(context.groups), self.images, *context.data.example_shape), torch.nan)
        labels = torch.full((len(context.groups), self.images), -1)
        for row, indices in enumerate(_members(context).values()):
            chosen = _spread(indices, self.images)
            images[row, : len(chosen)] = _denormalised(train.inputs[chosen], context).float().cpu()
            if not train.targets.is_floating_point():
                labels[row, : len(chosen)] = train.targets[chosen].cpu()
        return images, labels


def _members(context: Context) -> Mapping[str, Tensor]:
    assert context.grouping is not None, "channels() has refused a study without groups"
    return context.grouping.members


def _spread(indices: Tensor, count: int) -> Tensor:
    """At most `count` of the indices, evenly spread, so that every class among them is shown."""
    if len(indices) <= count:
        return indices
    return indices[torch.linspace(0, len(indices) - 1, count, device=indices.device).round().long()]


def _denormalised(images: Tensor, context: Context) -> Tensor:
    if not context.data.mean:
        return images
    mean, deviation = images.new_tensor(context.data.mean), images.new_tensor(context.data.deviation)
    return images * deviation[:, None, None] + mean[:, None, None]


def _distances(context: Context, indices: Tensor) -> Tensor:
    train = context.data.train
    assert context.grouping is not None
    centroids = context.grouping.centroids
    if centroids is None:
        classes = range(len(context.data.classes))
        centroids = torch.stack([train.inputs[train.targets == label].mean(0) for label in classes])
    apart = train.inputs[indices] - centroids[train.targets[indices]]
    distances: Tensor = torch.linalg.vector_norm(apart.double().flatten(1), dim=1)
    return distances


def _padded(rows: list[Tensor]) -> Tensor:
    longest = max(map(len, rows))
    return torch.stack([torch.nn.functional.pad(row, (0, longest - len(row)), value=torch.nan) for row in rows])
