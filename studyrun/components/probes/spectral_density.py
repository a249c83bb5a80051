"""How the eigenvalues are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Dimension,
    Field,
    OperatorKind,
    Probe,
    Reading,
    Snapshot,
    Statistics,
    curvature,
    model_validator,
)

MATRICES = {
    "hessian": "the Hessian",
    "gauss_newton": "the Gauss–Newton matrix",
    "fisher": "the empirical Fisher matrix",
}
MARGIN = 6.0  # kernel widths from the outermost nodes to the ends of a range that follows them: the bulk falls by 10⁸
FLAT = 1e-6  # a spectrum narrower than this share of its size is shown over that share


class SpectralDensity(Probe):
    """Density of the eigenvalues of the Hessian of the training loss, or of its Gauss–Newton or Fisher matrix.

    ρ(λ) = (1/p) Σ_i N(λ; λ_i, σ²) by stochastic Lanczos quadrature: the mean over random vectors v of
    Σ_k w_k N(λ; θ_k, σ²), where nodes θ_k and weights w_k come of `depth` Lanczos steps from v with full
    reorthogonalisation. The standard error is over the vectors drawn. It does not cover the end of the recursion at
    `depth`, which rounds off what is finer than about the spectrum's range over `depth`. Nodes and weights are recorded
    too (a vector whose Krylov space ended early repeats its last node with weight 0): for any other f they give the
    estimate p · mean Σ_k w_k f(θ_k) of tr f without a product more.

    Cost: random_vectors · depth products of about one gradient each, and in memory `depth` vectors of parameters.

    Source: Ghorbani et al. 2019, arXiv 1901.10159, Section 2; Ubaru et al. 2017, SIAM J. Matrix Anal. Appl. 38.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:1901.10159",)
    figures: ClassVar[tuple[str, ...]] = ("spectral_density",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": {"log": 3}}

    of: OperatorKind = "hessian"
    """The matrix: that of the second derivatives, its Gauss–Newton part, or the empirical Fisher."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""
    random_vectors: Annotated[int, Field(ge=1, le=1000)] = 6
    """How many random vectors to average over; one alone has no standard error."""
    depth: Annotated[int, Field(ge=1, le=2000)] = 60
    """Lanczos steps from each vector."""
    points: Annotated[int, Field(ge=2, le=100_000)] = 401
    """Points of the grid on which the density is recorded."""
    width: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Standard deviation σ of the kernel, as a share of the range."""
    range: tuple[float, float] | None = None
    """Eigenvalues from the first to the second; null follows the outermost nodes from step to step."""

    @model_validator(mode="after")
    def _resolved(self) -> SpectralDensity:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range must rise, not go from {self.range[0]} to {self.range[1]}")
        if self.width * (self.points - 1) < 1:
            raise ValueError(f"{self.points} points are too few to show a kernel of {self.width} of the range")
        return self

    def channels(self, context: Context) -> Sequence[Channel]:
        matrix = MATRICES[self.of]
        loss = context.loss.units if context.loss.units != "1" else "loss"
        units = f"({loss} / parameter)²" if self.of == "fisher" else f"{loss} / parameter²"
        inverse = f"(parameter / {loss})²" if self.of == "fisher" else f"parameter² / {loss}"
        point = Dimension.of_size("point", self.points)
        rule = (
            Dimension.of_size("vector", self.random_vectors),
            Dimension.of_size("node", min(self.depth, context.parameters)),
        )
        alone = "one random vector alone has no standard error" if self.random_vectors == 1 else ""
        return [
            Channel("density", f"spectral density of {matrix}", (point,), "ρ(λ)", inverse),
            Channel("standard_error", "standard error of the density", (point,), "s", inverse, nan=alone),
            Channel("grid", f"eigenvalue of {matrix}", (point,), "λ", units, standard_name=f"{self.of}_eigenvalue"),
            Channel("width", "standard deviation of the kernel", (), "σ", units),
            Channel("nodes", "nodes of each vector's quadrature rule", rule, "θ_k", units),
            Channel("weights", "weights of each vector's quadrature rule", rule, "w_k"),
            Channel("matvecs", "matrix-vector products spent", (), "products", dtype="int64"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        operator = snapshot.operator(self.of, statistics=self.statistics)
        found = curvature.spectral_density(
            operator,
            vectors=self.random_vectors,
            depth=self.depth,
            generator=snapshot.generator("spectral density"),
        )
        low, high = self.range or self._around(found.lowest, found.highest)
        width = self.width * (high - low)
        grid = torch.linspace(low, high, self.points, dtype=torch.float64)
        density = found.density(grid, width)
        reading = {
            "density": density.value,
            "standard_error": density.standard_error,
            "grid": grid,
            "width": width,
            "nodes": found.nodes,
            "weights": found.weights,
            "matvecs": found.products,
        }
        return reading, carry

    def _around(self, lowest: float, highest: float) -> tuple[float, float]:
        """The range from the lowest to the highest node, with room for the kernels around them."""
        span = max(highest - lowest, FLAT * max(abs(lowest), abs(highest))) or 1.0
        room = MARGIN * self.width * span / max(1 - 2 * MARGIN * self.width, 0.1)
        return lowest - room, lowest + span + room
