"""How steep and how curved the loss of each example is along the sharpest direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from studyrun.plugin import (
    NO_VECTOR,
    UNCONVERGED,
    Carry,
    Channel,
    Context,
    Dimension,
    EigenpairRequest,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    Statistics,
    curvature,
    eigenvector_evidence,
)

PATHS = ("forward", "reverse", "one by one")


class PerExampleCurvature(Probe):
    """Slope and curvature of every training example's loss along the top Hessian eigenvector.

    ∇ℓ_i · v_1 and v_1ᵀH_i v_1, with v_1 the unit top eigenvector of the Hessian of the whole training loss; the means
    over all examples are ∇L · v_1 and the sharpness. Also ‖∇ℓ_i‖, and for chosen examples the largest eigenvalue of H_i
    itself. Recorded in single precision: 12 n bytes a step. Cost: the eigenpair solve it shares with `sharpness`, 7 to
    12 forward passes by nested forward mode, about one gradient for the norms, and some twenty products of one
    example for each eigenvalue. `path` is 0 for forward mode; it is checked against reverse mode in every measurement,
    and where it cannot be trusted the slower ways are taken: 1 for three reverse passes, 2 for two of each example.

    Under batch norm in training mode the examples of a chunk see one another: ℓ_i is the loss in that company, and the
    norms, and eigenvalues, then need a pass through the whole chunk for each example; `statistics: eval` does not.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Figure 2.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2311.04163",)
    figures: ClassVar[tuple[str, ...]] = ("per_example_curvature",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of v_1, and of the eigenvectors of single examples."""
    gradient_norms: bool = True
    """Also record the norm of each gradient."""
    eigenvalues_of: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] = 0
    """Examples whose own largest eigenvalue is recorded: their indices, or how many, evenly spread over the data."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        dims, curved = (Dimension.of_size("example", len(context.data.train)),), "loss / parameter²"
        single: dict[str, Any] = {"dtype": "float32", "nan": NO_VECTOR}
        found = [
            Channel("slope", "slope along the top eigenvector", dims, "∇ℓ_i·v₁", "loss / parameter", **single),
            Channel("curvature", "curvature along the top eigenvector", dims, "v₁ᵀH_i v₁", curved, **single),
            *eigenvector_evidence(curved),
            Channel("path", "how it was differentiated: 0 forward, 1 reverse, 2 one by one", dtype="int64"),
        ]
        if self.gradient_norms:
            words = "norm of the example's gradient"
            found.append(Channel("gradient_norm", words, dims, "‖∇ℓ_i‖", "loss / parameter", dtype="float32"))
        chosen = self._chosen(len(context.data.train))
        return [*found, *_eigenvalue_channels(chosen)] if chosen else found

    def _chosen(self, examples: int) -> tuple[int, ...]:
        """The indices of the examples whose eigenvalues are asked for."""
        if isinstance(self.eigenvalues_of, int):
            count = min(self.eigenvalues_of, examples)
            return tuple(place * examples // count for place in range(count))
        if any(index >= examples for index in self.eigenvalues_of):
            last = max(self.eigenvalues_of)
            raise ProbeError(
                f"per_example_curvature: eigenvalues_of names example {last} of {examples}, counted from 0"
            )
        return self.eigenvalues_of

    def eigenpair_request(self, context: Context) -> EigenpairRequest:
        return EigenpairRequest(1, self.tolerance, statistics=self.statistics)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        train = snapshot.context.data.train
        pairs = snapshot.eigenpairs(1, self.tolerance, statistics=self.statistics)
        losses = partial(snapshot.per_example, statistics=self.statistics)
        question = (losses, list(snapshot.parameters.values()), train.inputs, train.targets)
        found = curvature.directional_derivatives(*question, pairs.known_vectors[:, 0], snapshot.chunk_size)
        reading: dict[str, Any] = {
            "slope": found.slopes,
            "curvature": found.curvatures,
            **pairs.vector_evidence(),
            "path": PATHS.index(found.path),
        }
        if self.gradient_norms:
            reading["gradient_norm"] = curvature.gradient_norms(*question, snapshot.chunk_size)
        return reading | self._eigenvalues(snapshot, question), carry

    def _eigenvalues(self, snapshot: Snapshot, question: tuple[Any, list[Tensor], Tensor, Tensor]) -> dict[str, Tensor]:
        """The largest eigenvalues of the chosen examples' Hessians, with their evidence."""
        chosen = self._chosen(len(question[2]))
        if not chosen:
            return {}
        found = curvature.example_eigenvalues(
            *question,
            torch.tensor(chosen),
            tolerance=self.tolerance,
            generator=snapshot.generator("example eigenvalues"),
            chunk_size=snapshot.chunk_size,
        )
        return {
            "eigenvalue": found.values.where(found.converged, torch.nan),
            "eigenvalue_residual": found.residuals,
            "eigenvalue_converged": found.converged,
            "matvecs": found.products.sum(),
        }


def _eigenvalue_channels(chosen: tuple[int, ...]) -> list[Channel]:
    dims, curved = (Dimension("chosen_example", chosen),), "loss / parameter²"
    return [
        Channel("eigenvalue", "largest eigenvalue of the example's Hessian", dims, "λ₁(H_i)", curved, nan=UNCONVERGED),
        Channel("eigenvalue_residual", "norm of its residual", dims, "‖H_i u − λu‖", curved),
        Channel("eigenvalue_converged", "its residual is within the tolerance asked for", dims, dtype="bool"),
        Channel("matvecs", "products with single examples' Hessians", (), symbol="products", dtype="int64"),
    ]
