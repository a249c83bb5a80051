"""The sum of all eigenvalues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Field,
    OperatorKind,
    Probe,
    Reading,
    Snapshot,
    Statistics,
    curvature,
)

MATRICES = {
    "hessian": ("the Hessian", "tr ∇²L"),
    "gauss_newton": ("the Gauss–Newton matrix", "tr G"),
    "fisher": ("the empirical Fisher matrix", "tr F"),
}


class HessianTrace(Probe):
    """Trace of the Hessian of the training loss, or of its Gauss–Newton or Fisher matrix.

    By Hutch++: with Q an orthonormal basis of the image of a third of the products' worth of random vectors, tr QᵀHQ is
    known exactly, and the trace beside Q is the mean over random vectors of the complement. The estimate is unbiased;
    its standard error is that of this mean, with about products/3 − 1 degrees of freedom. With no more parameters than
    products the trace is exact, and the standard error 0.

    Cost: `products` products of about one gradient each, and in memory 4/3 of as many vectors of parameters.

    Source: Meyer et al. 2021, arXiv 2010.09649, Algorithm 1.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2010.09649",)
    figures: ClassVar[tuple[str, ...]] = ("hessian_trace",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 100}

    of: OperatorKind = "hessian"
    """The matrix: that of the second derivatives, its Gauss–Newton part, or the empirical Fisher."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""
    products: Annotated[int, Field(ge=4, le=100_000)] = 60
    """Matrix-vector products to spend: a third on the sketch, a third on its image, the rest beside it."""

    def channels(self, context: Context) -> Sequence[Channel]:
        matrix, symbol = MATRICES[self.of]
        loss = context.loss.units if context.loss.units != "1" else "loss"
        units = f"({loss} / parameter)²" if self.of == "fisher" else f"{loss} / parameter²"
        return [
            Channel("trace", f"trace of {matrix}", (), symbol, units, standard_name=f"{self.of}_trace"),
            Channel("standard_error", "standard error of the trace", (), "s", units),
            Channel("low_rank", "part of the trace known exactly, in the sketch", (), "tr QᵀHQ", units),
            Channel("matvecs", "matrix-vector products spent", (), "products", dtype="int64"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        operator = snapshot.operator(self.of, statistics=self.statistics)
        found = curvature.operator_trace(
            operator, products=self.products, generator=snapshot.generator("hessian trace")
        )
        reading = {
            "trace": found.value,
            "standard_error": found.standard_error,
            "low_rank": found.low_rank,
            "matvecs": found.products,
        }
        return reading, carry
