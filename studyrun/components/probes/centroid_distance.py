"""How typical each training example is of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from studyrun.plugin import Carry, Channel, Context, Dimension, Probe, ProbeError, Reading, Snapshot


class CentroidDistance(Probe):
    """Distance of every training example to the centroid of its labelled class, in normalised input space.

    ‖x_i − μ_{y_i}‖₂, small for typical examples and large for atypical ones, with the centroids that the study's groups
    were made from, or else the class means of the training set. An example whose label was flipped is held against the
    class it is labelled as. It does not change while training, so that one row stands for all. Unit: that of the
    normalised inputs. Cost: one pass over the inputs, no gradient evaluation.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 8, 20 and 21.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("centroid_alignment", "centroid_correlation", "typicality")
    default_schedule: ClassVar[Mapping[str, Any]] = {"at": [0]}

    def channels(self, context: Context) -> Sequence[Channel]:
        if not context.data.classes or context.data.train.targets.is_floating_point():
            raise ProbeError(
                "centroid_distance measures the distance to the centroid of a class, and this data set has no classes; "
                "take a data set with classes or leave this probe out"
            )
        dims = (Dimension.of_size("example", len(context.data.train)),)
        return [Channel("distance", "distance to the centroid of its class", dims, "‖x − μ_y‖", dtype="float32")]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        data, grouping = snapshot.context.data, snapshot.context.grouping
        everyone = torch.arange(len(data.train), device=data.train.targets.device)
        centroids = grouping.centroids if grouping is not None else None
        return {"distance": data.centroid_distances(everyone, centroids)}, carry
