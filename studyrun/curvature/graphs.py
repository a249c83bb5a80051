"""Autograd graphs of chunks of examples: kept where they fit in memory, built anew where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

GRAPH_BYTES = 2**28
Graph = TypeVar("Graph")


class ChunkGraphs(Generic[Graph]):
    """The graphs of `count` chunks, kept if all of them fit in `budget` bytes, as the first one weighs.

    What they hold of the tensors `around` (data, parameters) weighs nothing: that is there anyway. Where not all fit,
    none is kept, so that memory does not grow with the data. A single chunk is kept whatever it weighs: it has to be
    built whole in any case.
    """

    def __init__(self, build: Callable[[int], Graph], count: int, budget: int, around: Sequence[Tensor] = ()) -> None:
        self._build, self._count, self._budget, self._around = build, count, budget, around
        self._graphs: dict[int, Graph] = {}
        self._kept: bool | None = None

    def __getitem__(self, index: int) -> Graph:
        """The graph of one chunk."""
        if index in self._graphs:
            return self._graphs[index]
        graph = self._build(index) if self._kept is not None else self._weighed(index)
        assert self._kept is not None
        if self._kept:
            self._graphs[index] = graph
        return graph

    def hold(self, graph: Graph) -> None:
        """Take the graph of a lone chunk from elsewhere."""
        self._kept, self._graphs[0] = True, graph

    def clear(self) -> None:
        """Free the kept graphs."""
        self._graphs.clear()

    def _weighed(self, index: int) -> Graph:
        """Build one graph and settle by its weight whether they are kept."""
        if self._count == 1:
            self._kept = True
            return self._build(index)
        scales = _Scales(self._around)
        with saved_tensors_hooks(scales.weigh, lambda tensor: tensor):
            graph = self._build(index)
        self._kept = self._count * scales.bytes <= self._budget
        return graph


class _Scales:
    """Weighs the tensors that autograd saves while it is told of them, each storage once, and those `around` not."""

    def __init__(self, around: Sequence[Tensor]) -> None:
        self._storages: dict[int, int] = {}
        self._around = {tensor.untyped_storage().data_ptr() for tensor in around}

    @property
    def bytes(self) -> int:
        return sum(self._storages.values())

    def weigh(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._around:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # to hand back an output itself would tie a knot that is never freed
