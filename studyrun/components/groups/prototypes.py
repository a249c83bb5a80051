"""Inliers, boundary points and two kinds of outliers, for `groups: {use: prototypes}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from studyrun.plugin import ComponentError, Data, Field, Grouping, Groups, Split

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("inlier", "boundary", "input_outlier", "output_outlier")


class Prototypes(Groups):
    """Four groups made from two classes: inliers, boundary points, and outliers in the input and in the label.

    With c_k the mean of class k and v = c_1 − c_0, and `per_class` examples of each class in each group:
    inlier: nearest to its own centroid. boundary: between the classes. output_outlier: inlier-like, its label flipped.
    input_outlier: x − a·v for class 0 and x + a·v for class 1, its label kept. The sources leave the training set and
    the prototypes join it at its end, so that N stays.

    Source: Kwag, Ganesh, Poggio and Beneventano 2026, arXiv 2606.04212.
    """

    per_class: Annotated[int, Field(ge=1)] = 25
    """Examples of each class in each group; a group has twice as many."""
    displacement: Annotated[float, Field(ge=0)] = 3.0
    """How far input-outliers are moved, a, in units of ‖v‖."""
    direction: Literal["coherent", "random"] = "coherent"
    """`coherent`: along v. `random`: each along its own random direction orthogonal to v, equally far."""
    boundary: Literal["opposite_centroid", "knn"] = "opposite_centroid"
    """`opposite_centroid`: nearest to the other class's centroid. `knn`: neighbours of both classes, most evenly."""
    neighbours: Annotated[int, Field(ge=1)] = 32
    """How many nearest neighbours the rule `knn` looks at."""

    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the four groups and the data in which they have taken their sources' place.

        Raises `ComponentError` unless there are two classes with more than 4 · per_class examples each.
        """
        self._check(data)
        inputs, labels = data.train.inputs, data.train.targets
        sources = self._sources(inputs, labels)
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[torch.cat(list(sources.values()))] = False
        # The displacement is that of the data which stay, so the sources' own extremes do not enter it.
        centroids = _centroids(inputs[kept], labels[kept])
        gap = centroids[1] - centroids[0]
        made = {name: data.train.take(sources[name]) for name in NAMES}
        made["output_outlier"] = Split(made["output_outlier"].inputs, 1 - made["output_outlier"].targets)
        made["input_outlier"] = self._displaced(made["input_outlier"], gap, subset)
        train = Split(
            torch.cat([inputs[kept], *(group.inputs for group in made.values())]),
            torch.cat([labels[kept], *(group.targets for group in made.values())]),
        )
        first, size = int(kept.sum()), 2 * self.per_class
        members = {
            name: torch.arange(first + place * size, first + (place + 1) * size) for place, name in enumerate(NAMES)
        }
        grown = Data(train, data.test, data.classes, data.outputs, data.mean, data.deviation)
        return Grouping(grown, members, centroids, _facts(made, sources, labels, centroids))

    def _check(self, data: Data) -> None:
        if len(data.classes) != 2:
            raise ComponentError(
                f"groups prototypes: needs exactly two classes, and this data set has {len(data.classes)}; "
                "choose two with the data set's option `classes`"
            )
        counts = torch.bincount(data.train.targets, minlength=2)
        for name, count in zip(data.classes, counts.tolist(), strict=True):
            if count <= 4 * self.per_class:
                raise ComponentError(
                    f"groups prototypes: class {name} has {count} training examples, and four groups of "
                    f"{self.per_class} need more than {4 * self.per_class}; lower per_class or take more data"
                )

    def _sources(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The indices of each group's sources, (2 · per_class,), class 0 first; no index twice."""
        centroids = _centroids(inputs, labels)
        flat = inputs.flatten(1)
        own, other = _distances(flat, centroids, labels), _distances(flat, centroids, 1 - labels)
        ambiguity = other if self.boundary == "opposite_centroid" else self._imbalance(flat, labels)
        picked: dict[str, list[Tensor]] = {name: [] for name in NAMES}
        for label in (0, 1):
            pool = torch.nonzero(labels == label).flatten()
            pool = pool[torch.argsort(other[pool], stable=True)]
            pool = pool[torch.argsort(ambiguity[pool], stable=True)]
            picked["boundary"].append(pool[: self.per_class])
            rest = torch.sort(pool[self.per_class :]).values
            rest = rest[torch.argsort(own[rest], stable=True)]
            for place, name in enumerate(("inlier", "output_outlier", "input_outlier")):
                picked[name].append(rest[place * self.per_class : (place + 1) * self.per_class])
        return {name: torch.cat(indices) for name, indices in picked.items()}

    def _imbalance(self, flat: Tensor, labels: Tensor) -> Tensor:
        """|same-class share of the k nearest neighbours − ½|, (n,)."""
        k = min(self.neighbours, len(flat) - 1)
        centred = flat - flat.mean(0)  # distances by matrix product lose fewer digits around the origin
        imbalance = torch.empty(len(flat), dtype=torch.float64)
        for start in range(0, len(flat), 1024):
            rows = torch.arange(start, min(start + 1024, len(flat)))
            distance = torch.cdist(centred[rows], centred)
            distance[torch.arange(len(rows)), rows] = torch.inf
            nearest = distance.topk(k, largest=False).indices
            same = (labels[nearest] == labels[rows, None]).double().mean(1)
            imbalance[rows] = (same - 0.5).abs()
        return imbalance

    def _displaced(self, sources: Split, gap: Tensor, subset: torch.Generator) -> Split:
        outward = 2 * sources.targets.to(gap.dtype) - 1
        if self.direction == "coherent":
            steps = outward[:, None] * gap.flatten()
        else:
            steps = torch.randn(len(sources), gap.numel(), generator=subset, dtype=gap.dtype)
            unit = gap.flatten() / gap.norm()
            steps = steps - (steps @ unit)[:, None] * unit
            steps = steps / steps.norm(dim=1, keepdim=True) * gap.norm()
        return Split(sources.inputs + self.displacement * steps.reshape(sources.inputs.shape), sources.targets)


def _centroids(inputs: Tensor, labels: Tensor) -> Tensor:
    """The mean of each class, (2, ...)."""
    return torch.stack([inputs[labels == label].mean(0, dtype=torch.float64) for label in (0, 1)]).to(inputs.dtype)


def _distances(flat: Tensor, centroids: Tensor, labels: Tensor) -> Tensor:
    """The distance of each example to the centroid of `labels`, (n,)."""
    return (flat - centroids.flatten(1)[labels]).norm(dim=1)


def _facts(
    made: Mapping[str, Split], sources: Mapping[str, Tensor], labels: Tensor, centroids: Tensor
) -> Mapping[str, float]:
    facts = {"v_diff_norm": float((centroids[1] - centroids[0]).norm())}
    for name, group in made.items():
        distances = _distances(group.inputs.flatten(1), centroids, labels[sources[name]])
        facts[f"{name}_centroid_distance"] = float(distances.median())
    return facts
