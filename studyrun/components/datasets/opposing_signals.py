"""Linear regression with opposing signals, for `dataset: {use: opposing_signals}`."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from studyrun.plugin import Data, Dataset, Field, Split, model_validator

if TYPE_CHECKING:
    from torch import Tensor


class OpposingSignals(Dataset):
    """Misspecified linear regression with outliers ±x_o that share one target: the paper's model, exact at finite size.

    y = βᵀx + s on the outliers, where x_o ≠ 0, and βᵀx elsewhere. The examples are drawn, then arranged so that their
    moments are the population's to rounding: E[xxᵀ] = I, E[x_o x_oᵀ] = αI, E[s²] = α, and no cross moment is left. With
    `two_layer_linear` and `squared_error` at scale ½ the loss is therefore Eq 4 of the paper with its ½ put back,

        L = ½‖cb − β‖² + ½α(c²‖b_o‖² + 1),

    for any draw: at N examples with m outliers, p = m/N, s = √(α/p) and x_o = ±√(α·d2/p)·e_j, each j equally often.
    The paper's own x_o = ±√(α/(p·d2))·1 (`all_ones`) has E[x_o x_oᵀ] = (α/d2)·11ᵀ instead, so that (1ᵀb_o)²/d2 stands
    for ‖b_o‖² in L: the two agree where b_o is a multiple of 1, as it is at the `expected` initialisation.
    β = `beta_norm`·e_1; since x is isotropic no direction is special. Inputs (N, d1 + d2), targets (N, 1), in float64.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, §3.3 and App. G.
    """

    signal: Annotated[int, Field(ge=1)] = 10
    """Entries of x, d1."""
    opposing: Annotated[int, Field(ge=1)] = 20
    """Entries of x_o, d2."""
    alpha: Annotated[float, Field(gt=0)] = 100.0
    """How strong the opposing signal is, α."""
    beta_norm: Annotated[float, Field(gt=0)] = 5.0
    """‖β‖."""
    size: Annotated[int, Field(ge=4)] = 800
    """Examples in all, N; even."""
    outliers: Annotated[int, Field(ge=4)] = 80
    """Examples with an opposing signal; a multiple of 4 (`all_ones`) or of 4·opposing (`isotropic`)."""
    design: Literal["isotropic", "all_ones"] = "isotropic"
    """How x_o lies: along every axis equally often, or along the all-ones vector as the paper writes it."""

    @model_validator(mode="after")
    def _counts_fit(self) -> OpposingSignals:
        block = 4 * self.opposing if self.design == "isotropic" else 4
        if self.outliers % block:
            raise ValueError(f"outliers must be a multiple of {block} for the moments to come out, not {self.outliers}")
        if self.size % 2 or self.size < self.outliers:
            raise ValueError(f"size must be even and at least outliers ({self.outliers}), not {self.size}")
        if self._distinct < self.signal:
            raise ValueError(f"{self.size} examples are too few for E[xxᵀ] = I with signal {self.signal}; raise size")
        return self

    @property
    def _distinct(self) -> int:
        """How many x are drawn: an outlier's stands for four examples, any other for two."""
        return self.outliers // 4 + (self.size - self.outliers) // 2

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the examples, outliers with +x_o first, then those with −x_o, then the rest; there is no test set."""
        drawn = torch.randn(self._distinct, self.signal, generator=subset, dtype=torch.float64)
        with_signal, without = drawn[: self.outliers // 4], drawn[self.outliers // 4 :]
        # Each outlier's x comes as ±x under both signs of x_o: then x shares nothing with x_o, nor with s.
        paired = torch.cat([with_signal, -with_signal])
        x = _whitened(torch.cat([paired, paired, without, -without]))
        x_o, s = torch.zeros(self.size, self.opposing, dtype=x.dtype), torch.zeros(self.size, dtype=x.dtype)
        positive = self._positive().to(x.dtype).repeat(2, 1)
        x_o[: self.outliers] = torch.cat([positive, -positive])
        s[: self.outliers] = sqrt(self.alpha * self.size / self.outliers)
        y = self.beta_norm * x[:, 0] + s
        return Data(Split(torch.cat([x, x_o], dim=1), y[:, None]), None, classes=(), outputs=1)

    def _positive(self) -> Tensor:
        """x_o of the first quarter of the outliers, (outliers / 4, d2)."""
        quarter = self.outliers // 4
        scaled = self.alpha * self.size / self.outliers
        if self.design == "all_ones":
            return torch.full((quarter, self.opposing), sqrt(scaled / self.opposing), dtype=torch.float64)
        axes = torch.eye(self.opposing, dtype=torch.float64) * sqrt(scaled * self.opposing)
        return axes.repeat(quarter // self.opposing, 1)


def _whitened(x: Tensor) -> Tensor:
    """x times the inverse root of its second moment: then xᵀx / n = I, and pairs ±x stay pairs."""
    variance, axes = torch.linalg.eigh(x.T @ x / len(x))
    root: Tensor = (axes / variance.sqrt()) @ axes.T
    return x @ root
