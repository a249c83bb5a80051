"""Examples in memory, where they come from, and which of them are followed together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studyrun.component.options import Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Split:
    """Examples in memory: `inputs` (n, ...) and `targets`, int64 (n,) for classes or floating (n, o) for regression."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Tensor | slice) -> Split:
        """The examples at `indices`, in that order."""
        return Split(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its splits, the names of its classes (empty for regression) and how many outputs a model needs.

    `mean` and `deviation` (per channel) undo the normalisation, so that images can be drawn; empty where there is none.
    """

    train: Split
    test: Split | None
    classes: tuple[str, ...]
    outputs: int
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.train.inputs.shape[1:])

    def centroid_distances(self, indices: Tensor, centroids: Tensor | None = None) -> Tensor:
        """How far the training examples at `indices` lie from the centroid of their labelled class, float64.

        ‖x_i − μ_{y_i}‖₂ with μ (classes, ...) as given, or else the class means of the training set.
        """
        import torch

        inputs, labels = self.train.inputs, self.train.targets
        if centroids is None:
            centroids = torch.stack([inputs[labels == label].mean(0) for label in range(len(self.classes))])
        apart = ((inputs[some] - centroids[labels[some]]).double().flatten(1) for some in torch.split(indices, 1024))
        return torch.cat([torch.linalg.vector_norm(rows, dim=1) for rows in apart])


@dataclass(frozen=True, slots=True)
class Grouping:
    """Named groups of training examples, with the data they belong to (a grouping may replace examples).

    `members` maps a group's name to the int64 indices of its examples in `data.train`. `centroids` (classes, ...) are
    the class means that the groups were made from, where there are such. `facts` are numbers worth recording.
    """

    data: Data
    members: Mapping[str, Tensor]
    centroids: Tensor | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


Generators = Callable[[str], "torch.Generator"]
"""Give a purpose (any text) and get a fresh generator on the CPU, seeded by that purpose and the study's seed alone."""


class Dataset(Component):
    """Where the examples come from."""

    @abstractmethod
    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the data, normalised, on the CPU in float32 or float64.

        `folder` is the user's data folder; `subset` draws whatever this data set samples. Raises
        `DataUnavailableError` naming the file that was expected and where.
        """

    def fetch(self, folder: Path) -> str:
        """Download into `folder` whatever `load` needs, and say what was done."""
        return "nothing to download: this data set is generated"


class Groups(Component):
    """Which training examples are followed together."""

    @abstractmethod
    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the groups, and the data with any example that the groups replace. Must not change `data` in place."""
