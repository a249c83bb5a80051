"""What every operator that sums over examples shares: chunks, kept graphs, and the check that there is a derivative."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic

import torch
from torch import Tensor

from studyrun.curvature.flat import PerExampleLoss, check_losses, chunks, leaves, unflatten
from studyrun.curvature.graphs import GRAPH_BYTES, ChunkGraphs, Graph
from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.primitives import twice_differentiable

EXAMPLES_TO_COMPARE = 64


class OperatorOverExamples(SymmetricOperator, Generic[Graph]):
    """A symmetric operator that is a sum over chunks of examples, each by way of an autograd graph.

    A subclass says which graph a chunk has, and the chunk's share of a product. Where the examples make several chunks,
    their graphs are kept if all fit in `graph_bytes`, and otherwise built again for every product, so that
    memory stays bounded. The result does not depend on `chunk_size` beyond rounding, provided that an example's loss
    does not depend on its neighbours (batch norm in training mode: there a chunk is the batch).

    `parameters` are neither copied nor marked: they gain no `grad`, and must keep their values while this is in use.
    What PyTorch cannot differentiate twice, or not rightly, is replaced (`twice_differentiable`). `release` frees the
    graphs. Who has a graph over `parameters` themselves and all examples already, as from a training step, hands it in
    as `graph`.
    Raises ValueError where there are no examples, where the loss has the wrong shape, and, under
    `check_deterministic`, where it gives different values for the same input (dropout, say): it has no curvature then.
    """

    def __init__(
        self,
        per_example: PerExampleLoss,
        parameters: Sequence[Tensor],
        inputs: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        *,
        graph_bytes: int = GRAPH_BYTES,
        check_deterministic: bool = True,
        graph: Graph | None = None,
    ) -> None:
        if len(inputs) == 0:
            raise ValueError("the mean loss of no examples has no Hessian")
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs do not go with {len(targets)} targets")
        self._parameters = leaves(parameters) if graph is None else list(parameters)
        super().__init__(sum(part.numel() for part in parameters), parameters[0].dtype, parameters[0].device)
        self._per_example, self._inputs, self._targets = per_example, inputs, targets
        self._chunks = list(chunks(len(inputs), chunk_size))
        self._graphs: ChunkGraphs[Graph] = ChunkGraphs(
            self._built, len(self._chunks), graph_bytes, (*self._parameters, inputs, targets)
        )
        if graph is not None:
            assert len(self._chunks) == 1, "a graph from elsewhere stands for all examples"
            self._graphs.hold(graph)
        if check_deterministic:
            self._check_deterministic()

    def release(self) -> None:
        """Free the kept graphs; a later product builds them again."""
        self._graphs.clear()

    @abstractmethod
    def _build(self, inputs: Tensor, targets: Tensor) -> Graph:
        """Return the graph of one chunk, its loss divided by the number of all examples."""

    @abstractmethod
    def _image(self, graph: Graph, column: list[Tensor]) -> Sequence[Tensor]:
        """Return one chunk's share of a product with a vector in the parameters' shapes, in these shapes."""

    def _apply(self, vector: Tensor) -> Tensor:
        image = torch.empty(1, self.size, dtype=self.dtype, device=self.device)
        self._apply_rows(vector[None], image)
        return image[0]

    def _apply_rows(self, rows: Tensor, out: Tensor) -> None:
        """Visit each chunk once, so that several vectors pay for a rebuilt graph once and not each."""
        columns = [unflatten(row.contiguous(), self._parameters) for row in rows]
        for index in range(len(self._chunks)):
            graph = self._graphs[index]
            for image, column in zip(out, columns, strict=True):
                shares = self._image(graph, column)
                if index == 0:
                    torch.cat([share.reshape(-1) for share in shares], out=image)
                else:
                    for total, share in zip(unflatten(image, self._parameters), shares, strict=True):
                        total += share
            del graph

    def _built(self, index: int) -> Graph:
        chunk = self._chunks[index]
        with torch.enable_grad(), twice_differentiable():
            return self._build(self._inputs[chunk], self._targets[chunk])

    def _losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        losses = self._per_example(self._parameters, inputs, targets)
        check_losses(losses, len(inputs))
        return losses

    def _check_deterministic(self) -> None:
        few = slice(0, min(EXAMPLES_TO_COMPARE, self._chunks[0].stop))
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            first, second = (self._losses(self._inputs[few], self._targets[few]) for _ in range(2))
        if not torch.allclose(first, second, rtol=1e-3, atol=0, equal_nan=True):
            raise ValueError(
                "the loss gives different values for the same input, so it has no Hessian; "
                "put dropout and other random layers into evaluation mode"
            )
