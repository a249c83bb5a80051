"""The curvature that stochastic gradient descent sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Field, Probe, Reading, Snapshot, Split, curvature


class BatchSharpness(Probe):
    """Batch sharpness: the expected curvature of a mini-batch's loss along its own gradient.

    E_B[g_Bᵀ H_B g_B / ‖g_B‖²], with g_B and H_B the gradient and Hessian of the mean loss over a batch B drawn without
    replacement; under SGD this is what settles at 2/η, the sharpness staying below. `batches` of them are drawn afresh
    at every measurement; `standard_error` is the deviation over them divided by √batches. Where a batch is the whole
    training set there is one, without error. With `estimator: ratio_of_means` it is E_B[gᵀHg] / E_B[‖g‖²], which
    weighs batches by their gradients, with the error of the delta method. (The paper's first version meant another
    quantity, E_B[λ_1(H_B)].) Unit: loss per squared parameter. Cost: about three gradients on `batches` · batch_size
    examples.

    Source: Andreyev and Beneventano 2024, arXiv 2412.20553, Definition 1, and its public code for the other estimator.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2412.20553",)
    figures: ClassVar[tuple[str, ...]] = ("sharpness",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    batches: Annotated[int, Field(ge=2)] = 32
    """How many mini-batches are drawn."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Examples in each; null for as many as the optimizer takes in a step."""
    estimator: Literal["mean_of_ratios", "ratio_of_means"] = "mean_of_ratios"
    """The mean of the quotients, or the quotient of the means."""

    def channels(self, context: Context) -> Sequence[Channel]:
        units, symbol = "loss / parameter²", "⟨gᵀHg / gᵀg⟩"
        if self.estimator == "ratio_of_means":
            symbol = "⟨gᵀHg⟩ / ⟨gᵀg⟩"
        nan = "the gradient of a batch is zero"
        return [
            Channel("value", "batch sharpness", (), symbol, units, standard_name="batch_sharpness", nan=nan),
            Channel("standard_error", "standard error of the batch sharpness", (), "s / √batches", units, nan=nan),
            Channel("drawn", "mini-batches drawn", (), "batches", dtype="int64"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        train = snapshot.context.data.train
        size = self.batch_size or snapshot.context.optimizer.examples_per_step or len(train)
        whole, generator = size >= len(train), snapshot.generator("batch sharpness")
        along = []
        for _ in range(1 if whole else self.batches):
            drawn = torch.randperm(len(train), generator=generator)[:size].to(train.inputs.device)
            along.append(_curvature_along_gradient(snapshot, train if whole else train.take(drawn)))
        value, spread = self._estimate(torch.tensor(along, dtype=torch.float64))
        error = 0.0 if whole else spread.std() / sqrt(len(spread))
        return {"value": value, "standard_error": error, "drawn": len(along)}, carry

    def _estimate(self, along: Tensor) -> tuple[Tensor, Tensor]:
        """The estimate from rows (gᵀHg / gᵀg, ‖g‖), and for each batch a number whose mean has the estimate's error."""
        ratios, lengths = along.T
        if self.estimator == "mean_of_ratios":
            return ratios.mean(), ratios
        below = (lengths / lengths.max()).square()
        above = below * ratios.where(lengths > 0, 0)
        value = above.mean() / below.mean()
        return value, (above - value * below) / below.mean()


def _curvature_along_gradient(snapshot: Snapshot, batch: Split) -> tuple[float, float]:
    """Return gᵀHg / gᵀg and ‖g‖ of one batch, summed in float64; NaN and 0 where the gradient is zero."""
    question = (snapshot.per_example, list(snapshot.parameters.values()), batch.inputs, batch.targets)
    gradient, _ = curvature.gradient(*question, snapshot.chunk_size)
    length = curvature.norms(gradient[None])
    direction = (gradient.double() / length).to(gradient)
    image = curvature.HessianOperator(*question, snapshot.chunk_size, graph_bytes=0).matvec(direction)
    return float(direction.double() @ image.double() / direction.double().square().sum()), float(length)
