"""The Hessian of a mean loss, as products by double backpropagation, over any number of examples in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from studyrun.curvature.flat import PerExampleLoss, check_losses, chunks, flatten, leaves, unflatten
from studyrun.curvature.operators import SymmetricOperator

EXAMPLES_TO_COMPARE = 64


class HessianOperator(SymmetricOperator):
    """H = ∇² (1/n) Σ_i ℓ_i(θ), the Hessian of the mean of a loss per example.

    A product is H v = ∇(∇L · v). Differentiating the first-order graph costs about one gradient; building it, once,
    another 0.8. Where the examples make several chunks, the graphs of as many of them as fit in `graph_bytes` are kept
    and the others are rebuilt for every product (about two gradients), so that memory stays bounded. The result does
    not depend on `chunk_size` beyond rounding, provided an example's loss does not depend on its neighbours.

    `parameters` are neither copied nor marked: they gain no `grad`, and must keep their values while this is in use.
    Attention runs on PyTorch's math backend, the one that can be differentiated twice. `release` frees the graphs.
    Raises ValueError where there are no examples, where the loss has the wrong shape, and, under
    `check_deterministic`, where it gives different values for the same input (dropout, say): it has no Hessian then.
    """

    def __init__(
        self,
        per_example: PerExampleLoss,
        parameters: Sequence[Tensor],
        inputs: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        *,
        graph_bytes: int = 2**30,
        check_deterministic: bool = True,
    ) -> None:
        if len(inputs) == 0:
            raise ValueError("the mean loss of no examples has no Hessian")
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs do not go with {len(targets)} targets")
        self._parameters = leaves(parameters)
        super().__init__(sum(part.numel() for part in parameters), parameters[0].dtype, parameters[0].device)
        self._per_example, self._inputs, self._targets = per_example, inputs, targets
        self._chunks = list(chunks(len(inputs), chunk_size))
        self._graph_bytes = graph_bytes
        self._graphs: dict[int, tuple[Tensor, ...]] = {}
        self._kept: int | None = None
        if check_deterministic:
            self._check_deterministic()

    def release(self) -> None:
        """Free the kept graphs; a later product builds them again."""
        self._graphs.clear()

    def _apply(self, vector: Tensor) -> Tensor:
        return self._apply_block(vector[:, None])[:, 0]

    def _apply_block(self, block: Tensor) -> Tensor:
        """Visit each chunk once, so that a block pays for a rebuilt graph once and not for every column."""
        columns = [unflatten(column.contiguous(), self._parameters) for column in block.T]
        images = [self._differentiate(self._gradient_graph(0), column) for column in columns]
        for index in range(1, len(self._chunks)):
            gradient = self._gradient_graph(index)
            for image, column in zip(images, columns, strict=True):
                image += self._differentiate(gradient, column)
        return torch.stack(images).T if len(images) > 1 else images[0][:, None]

    def _differentiate(self, gradient: tuple[Tensor, ...], column: list[Tensor]) -> Tensor:
        """Return ∇(gradient · column), flat. Of a loss linear in all parameters nothing is left to differentiate."""
        pairs = [(part, weight) for part, weight in zip(gradient, column, strict=True) if part.requires_grad]
        if not pairs:
            return torch.zeros(self.size, dtype=self.dtype, device=self.device)
        outputs, weights = zip(*pairs, strict=True)
        return flatten(
            torch.autograd.grad(
                outputs, self._parameters, weights, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        )

    def _gradient_graph(self, index: int) -> tuple[Tensor, ...]:
        """Return the share of one chunk in ∇L as a graph, kept if it is among the chunks that fit in memory."""
        if index in self._graphs:
            return self._graphs[index]
        if self._kept is None:
            return self._first_graph(index)
        graph = self._build(index)
        if index < self._kept:
            self._graphs[index] = graph
        return graph

    def _first_graph(self, index: int) -> tuple[Tensor, ...]:
        """Build one graph and settle by its weight how many are kept. A single chunk is kept whatever it weighs."""
        if len(self._chunks) == 1:
            self._kept, graph = 1, self._build(index)
        else:
            scales = _Scales()
            with saved_tensors_hooks(scales.weigh, lambda tensor: tensor):
                graph = self._build(index)
            self._kept = self._graph_bytes // max(scales.bytes, 1)
        if index < self._kept:
            self._graphs[index] = graph
        return graph

    def _build(self, index: int) -> tuple[Tensor, ...]:
        loss = self._losses(self._chunks[index]).sum() / len(self._inputs)
        return torch.autograd.grad(loss, self._parameters, create_graph=True, allow_unused=True, materialize_grads=True)

    def _losses(self, chunk: slice) -> Tensor:
        inputs, targets = self._inputs[chunk], self._targets[chunk]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            losses = self._per_example(self._parameters, inputs, targets)
        check_losses(losses, len(inputs))
        return losses

    def _check_deterministic(self) -> None:
        few = slice(0, EXAMPLES_TO_COMPARE)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            first, second = self._losses(few).detach(), self._losses(few).detach()
        if not torch.allclose(first, second, rtol=1e-3, atol=0, equal_nan=True):
            raise ValueError(
                "the loss gives different values for the same input, so it has no Hessian; "
                "put dropout and other random layers into evaluation mode"
            )


class _Scales:
    """Weighs the tensors that autograd saves while it is told of them, each storage once."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._storages.values())

    def weigh(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # to hand back an output itself would tie a knot that is never freed
