"""The quantity that the edge of stability is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch.nn.functional import pad

from studyrun.plugin import (
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
    eigenpair_evidence,
)


class Sharpness(Probe):
    """Sharpness: the largest eigenvalues of the Hessian of the training loss.

    S(θ) = λ_1(∇²L(θ)), and with k > 1 the k algebraically largest, by block Rayleigh–Ritz from the last step's
    eigenvectors. A recorded value is within `residual` of an eigenvalue, and within `error` of the k-th largest where
    `separation` is known, unless one was missed, of which `doubt` is the chance. One that did not converge is NaN, with
    the estimate in `unconverged`. Unit: loss per squared parameter. Cost, in products of
    about one gradient each, measured in the default study: 21 cold and 5 warm ten steps later with k = 1, 40 and 8 with
    k = 2; one solve serves all probes that need eigenvectors at a step, and `matvecs` are its products.

    Source: Cohen et al. 2021, arXiv 2103.00065, Section 2.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2103.00065",)
    figures: ClassVar[tuple[str, ...]] = ("sharpness",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    k: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many eigenvalues, from the largest down."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ|."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Chance per training step that a solve also follows a random vector, lest an eigenvalue grew where none looks."""
    edge_margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Also follow every eigenvalue above (1 − edge_margin) of the optimizer's own threshold, and the next below."""
    most: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many eigenvalues at most, where `edge_margin` adds to the k."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        if self.k > context.parameters:
            raise ProbeError(f"sharpness cannot give k = {self.k} eigenvalues of {context.parameters} parameters")
        if self.edge_margin is not None and self._level(context) is None:
            raise ProbeError("edge_margin needs an optimizer whose threshold is one of the sharpness, such as gd")
        dims = (Dimension("k", tuple(range(1, self._followed(context) + 1))),)
        units = f"{context.loss.units} / parameter²" if context.loss.units != "1" else "loss / parameter²"
        absent = "farther below the threshold than edge_margin: not followed" if self.edge_margin is not None else ""
        missing = f"{UNCONVERGED}, or {absent}" if absent else UNCONVERGED
        words, name = ("sharpness", "sharpness") if self.statistics == "train" else ("sharpness in evaluation mode", "")
        value = Channel("eigenvalue", words, dims, "λ_k", units, standard_name=name, nan=missing)
        return [value, *eigenpair_evidence(*dims, units=units, nan=absent)]

    def _followed(self, context: Context) -> int:
        """How many eigenvalues a reading has room for."""
        return min(max(self.k, self.most if self.edge_margin is not None else 0), context.parameters)

    def _level(self, context: Context) -> float | None:
        """Down to where eigenvalues are followed. A branch may have an optimizer whose edge is another one's."""
        edge = context.optimizer.threshold()
        if self.edge_margin is None or edge is None or edge.quantity != "sharpness":
            return None
        return (1 - self.edge_margin) * edge.value

    def eigenpair_request(self, context: Context) -> EigenpairRequest:
        level = self._level(context)
        most = self.most if level is not None else None
        return EigenpairRequest(self.k, self.tolerance, self.exploration, self.statistics, level, most)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        request = self.eigenpair_request(snapshot.context)
        pairs = snapshot.eigenpairs(
            self.k, self.tolerance, statistics=self.statistics, above=request.above, most=request.most
        )
        missing = self._followed(snapshot.context) - len(pairs.values)
        reading = {"eigenvalue": pairs.known_values, **pairs.evidence()}
        for name in ("eigenvalue", "residual", "error", "separation", "unconverged"):
            reading[name] = pad(reading[name], (0, missing), value=torch.nan)
        return {**reading, "converged": pad(pairs.converged, (0, missing))}, carry
