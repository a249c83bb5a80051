"""A data set of your own, for `dataset: my_dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch

from studyrun.plugin import Data, Dataset, Field, Split


class MyDataset(Dataset):
    """Two clouds of normally distributed points, one for each class.

    Class 0 lies around −m, class 1 around +m, with m = (separation/2, 0, ..., 0) and unit deviation. Generated, so
    that nothing is read from the data folder.
    """

    size: Annotated[int, Field(ge=2)] = 200
    """Training examples in all; class 0 comes first and has one more if the number is odd."""
    test_size: Annotated[int, Field(ge=0)] = 100
    """Test examples in all, 0 for no test set."""
    dimensions: Annotated[int, Field(ge=1)] = 2
    """How many numbers an example has."""
    separation: Annotated[float, Field(ge=0)] = 4.0
    """The distance between the classes' centres."""

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the clouds; every random number comes from `subset`, so that one seed names one data set."""
        train = self._split(self.size, subset)
        test = self._split(self.test_size, subset) if self.test_size else None
        return Data(train=train, test=test, classes=("left", "right"), outputs=2)

    def _split(self, size: int, generator: torch.Generator) -> Split:
        labels = (torch.arange(size) >= (size + 1) // 2).long()
        inputs = torch.randn(size, self.dimensions, generator=generator, dtype=torch.float64)
        inputs[:, 0] += self.separation * (labels - 0.5)
        return Split(inputs, labels)
