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
    training set where the groups name none. Where they name two, `along` is (x_i − m)·v/‖v‖ with v = μ_1 − μ_0 and m
    their midpoint, so that the centroids stand at ∓‖v‖/2, and `across` the distance to that axis,
    ‖x_i − m − along · v/‖v‖‖. Groups of unequal size are padded with NaN. No cost worth naming.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 1, 15, 18 and 19.
    """

    figures: ClassVar[tuple[str, ...]] = ("group_images", "group_distances", "group_geometry")
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
        if _axis(context) is not None:
            member = Dimension.of_size("member", max(map(len, _members(context).values())))
            words, centroid = "coordinate along the line through the two centroids", Dimension.of_size("centroid", 2)
            found += [
                Channel("along", f"{words}, from their midpoint", (group, member), "(x − m)·v/‖v‖", nan=PADDING),
                Channel("across", "distance to the line through the two centroids", (group, member), nan=PADDING),
                Channel("centroid_along", f"{words}, of the centroids", (centroid,), "∓‖v‖/2"),
                Channel("member_class", "labelled class of the member; −1: none", (group, member), dtype="int64"),
            ]
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
            assert context.grouping is not None
            centroids, members = context.grouping.centroids, _members(context).values()
            reading["distance"] = _padded([context.data.centroid_distances(each, centroids) for each in members])
        if (axis := _axis(context)) is not None:
            reading |= _geometry(context, axis)
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


def _axis(context: Context) -> tuple[Tensor, Tensor] | None:
    """The midpoint of the two centroids and the vector between them, flat in float64; None without two of them."""
    centroids = context.grouping.centroids if context.grouping is not None else None
    if centroids is None or len(centroids) != 2 or context.data.train.targets.is_floating_point():
        return None
    first, second = centroids.double().flatten(1)
    return (first + second) / 2, second - first


def _geometry(context: Context, axis: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Where the members lie: along the line through the centroids, and across it."""
    (midpoint, v), train, members = axis, context.data.train, _members(context).values()
    half, unit = v.norm() / 2, v / v.norm()
    apart = [train.inputs[indices].double().flatten(1) - midpoint for indices in members]
    along = [rows @ unit for rows in apart]
    across = [
        torch.linalg.vector_norm(rows - far[:, None] * unit, dim=1) for rows, far in zip(apart, along, strict=True)
    ]
    labels = _padded([train.targets[indices].double() for indices in members]).nan_to_num(nan=-1).long()
    ends = torch.stack([-half, half])
    return {"along": _padded(along), "across": _padded(across), "centroid_along": ends, "member_class": labels}


def _padded(rows: list[Tensor]) -> Tensor:
    longest = max(map(len, rows))
    return torch.stack([torch.nn.functional.pad(row, (0, longest - len(row)), value=torch.nan) for row in rows])
