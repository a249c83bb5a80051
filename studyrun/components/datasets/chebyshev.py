"""A Chebyshev polynomial to fit, for `dataset: {use: chebyshev}`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from studyrun.plugin import Data, Dataset, Field, Split


class Chebyshev(Dataset):
    """Evenly spaced points of a Chebyshev polynomial: x on [−1, 1], y = T_d(x).

    T_d(cos t) = cos(d·t). Inputs (n, 1) and targets (n, 1), in float64, by rising x.

    Source: Cohen et al. 2021, arXiv 2103.00065; Rosenfeld and Risteski 2023, arXiv 2311.04163, Fig 3.
    """

    degree: Annotated[int, Field(ge=0)] = 4
    """The degree d of the polynomial; the papers use 3 to 5."""
    points: Annotated[int, Field(ge=2)] = 20
    """Training points n, both ends of [−1, 1] among them."""
    test_points: Annotated[int, Field(ge=0)] = 0
    """Test points, spaced evenly over [−1, 1] too; 0 for no test set, 1 for the middle."""

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the points; nothing is read or drawn."""
        test = self._grid(self.test_points) if self.test_points else None
        return Data(self._grid(self.points), test, classes=(), outputs=1)

    def _grid(self, points: int) -> Split:
        x = np.linspace(-1, 1, points) if points > 1 else np.zeros(1)
        y = np.polynomial.Chebyshev.basis(self.degree)(x)
        return Split(torch.from_numpy(x)[:, None], torch.from_numpy(y)[:, None])
