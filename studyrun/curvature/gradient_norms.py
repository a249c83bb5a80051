"""Norms of the gradients of single examples, without the gradients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from studyrun.curvature.coupling import examples_are_coupled
from studyrun.curvature.flat import PerExampleLoss, check_losses, chunks, leaves
from studyrun.curvature.layer_gradients import bias_gradient, largest, outer, squared_norms
from studyrun.curvature.memory import ran_out_of_memory
from studyrun.curvature.sizes import magnitudes
from studyrun.curvature.taps import Call, Taps

NormsPath = Literal["activations", "one by one"]
EXAMPLES_TO_CHECK = 3
ENTRIES = 2**24  # of the largest tensor that is made for a block of examples


@dataclass(frozen=True)
class GradientNorms:
    """‖∇ℓ_i‖ of each example, and how they were found."""

    values: Float[Tensor, "n"]
    path: NormsPath


def gradient_norms(
    per_example: PerExampleLoss,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
    chunk_size: int | None = None,
) -> Float[Tensor, "n"]:
    """Return ‖∇ℓ_i‖ for every example; see `find_gradient_norms`, which also says how they were found."""
    return find_gradient_norms(per_example, parameters, inputs, targets, chunk_size).values


def find_gradient_norms(
    per_example: PerExampleLoss,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
    chunk_size: int | None = None,
) -> GradientNorms:
    """Return ‖∇ℓ_i‖ for every example, from activations and output gradients.

    One forward and one backward pass, of activations alone, give what enters each layer and the gradient of what leaves
    it; from these follow the norms (`layer_gradients`), exact in exact arithmetic. Linear layers, products with a
    matrix, convolutions and embeddings count as layers, also inside multi-head attention and where they share weights;
    parameters used in any other way (`Taps`) are differentiated example by example in the same pass, which needs n
    times their size in memory. Cost: 0.7 forward-backward passes (MLP) to 1.3 (ResNet-18, vision transformer).

    Every call holds three examples against their own gradients. Where these disagree, or where a function cannot be
    mapped over examples, and where examples see one another (batch normalisation in training mode: ∇ℓ_i is then that
    of the loss in its chunk), the path is "one by one": a backward pass for each example, which through the whole chunk
    costs n of its backward passes. Raises ValueError where there are no examples.
    """
    if len(inputs) == 0:
        raise ValueError("there are no examples to differentiate")
    inputs = inputs.detach()
    if examples_are_coupled(per_example, parameters, inputs, targets):
        return GradientNorms(_one_by_one(per_example, parameters, inputs, targets, chunk_size), "one by one")
    values = _from_activations(per_example, parameters, inputs, targets, chunk_size)
    if values is None:
        return GradientNorms(_one_by_one(per_example, parameters, inputs, targets, 1), "one by one")
    return GradientNorms(values, "activations")


def _one_by_one(
    per_example: PerExampleLoss, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor, chunk_size: int | None
) -> Tensor:
    """A backward pass for each loss, on the graph of its chunk."""
    own, norms = leaves(parameters), []
    for chunk in chunks(len(inputs), chunk_size):
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            losses = per_example(own, inputs[chunk], targets[chunk])
        check_losses(losses, chunk.stop - chunk.start)
        for loss in losses:
            parts = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True, materialize_grads=True)
            norms.append(torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]).norm())
    return torch.stack(norms).to(own[0].dtype)


def _from_activations(
    per_example: PerExampleLoss, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor, chunk_size: int | None
) -> Tensor | None:
    """Return the norms, or None where they cannot be had in this way."""
    try:
        model = _Layers.of(per_example, parameters, inputs[:1], targets[:1])
        norms = torch.cat([model.norms(inputs[chunk], targets[chunk]) for chunk in chunks(len(inputs), chunk_size)])
    except (NotImplementedError, RuntimeError) as error:  # functions that torch.func cannot map over examples
        if ran_out_of_memory(error):
            raise
        return None
    some = torch.linspace(0, len(inputs) - 1, min(EXAMPLES_TO_CHECK, len(inputs)), device=inputs.device).long()
    truth = _one_by_one(per_example, parameters, inputs[some], targets[some], 1)
    close = torch.finfo(norms.dtype).eps ** 0.5  # a forgotten term is large, rounding is some hundred ε
    right = (norms[some] - truth).abs() <= close * truth.max()
    return norms if bool((right | ~truth.isfinite()).all()) else None


@dataclass(frozen=True)
class _Layers:
    """A loss, and the layers it was seen to be made of; parameters in `direct` are differentiated as they are."""

    per_example: PerExampleLoss
    parameters: Sequence[Tensor]
    calls: Sequence[Call]
    direct: Sequence[int]

    @classmethod
    def of(cls, per_example: PerExampleLoss, parameters: Sequence[Tensor], input: Tensor, target: Tensor) -> _Layers:
        """Watch one example."""
        own = [parameter.detach() for parameter in parameters]
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Taps(own, frozenset(), None) as watch:
            per_example(own, input, target)
        direct = watch.direct | {
            call.bias for call in watch.calls if call.weight in watch.direct and call.bias is not None
        }
        calls = [call.without_bias(direct) for call in watch.calls if call.weight not in direct]
        return cls(per_example, own, calls, sorted(direct))

    def norms(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return ‖∇ℓ_i‖, (n,)."""
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            (gradients, direct), entries = vmap(self._gradients)(inputs, targets)
        squares = self._weights(entries, gradients, len(inputs)) + self._rest(gradients, direct, len(inputs))
        limits = torch.finfo(squares.dtype)
        if len(ends := (~((squares > limits.tiny / limits.eps) & (squares < limits.max))).nonzero()[:, 0]):
            few = [[part[ends] for part in group] for group in (entries, gradients, direct)]
            return squares.sqrt().index_copy(0, ends, self._at_the_ends(few[0], few[1], few[2], len(ends)).to(squares))
        return squares.sqrt()

    def _at_the_ends(
        self, entries: Sequence[Tensor], gradients: Sequence[Tensor], direct: Sequence[Tensor], count: int
    ) -> Tensor:
        """Return the norms where squares leave the range of numbers: what is squared is brought to order 1 first."""
        real = [entry for entry in entries if entry.is_floating_point()]
        inside, outside = (
            _magnitudes(parts, self.parameters[0].new_ones(count)) for parts in (real, [*gradients, *direct])
        )
        entries = [_over(entry, inside) if entry.is_floating_point() else entry for entry in entries]
        gradients, direct = ([_over(part, outside) for part in parts] for parts in (gradients, direct))
        weights, rest = self._weights(entries, gradients, count), self._rest(gradients, direct, count)
        return outside * torch.hypot(inside * weights.double().sqrt(), rest.double().sqrt())

    def _weights(self, entries: Sequence[Tensor], gradients: Sequence[Tensor], count: int) -> Tensor:
        """Return what the weights of the layers add to ‖∇ℓ_i‖², (n,)."""
        squares = self.parameters[0].new_zeros(count)
        for places in self._by(lambda call: call.weight):
            squares += self._weight(places, entries, gradients)
        return squares

    def _rest(self, gradients: Sequence[Tensor], direct: Sequence[Tensor], count: int) -> Tensor:
        """Return what biases and other parameters add to it, (n,)."""
        squares = self.parameters[0].new_zeros(count)
        for part in direct:
            squares += part.reshape(len(part), -1).square().sum(1)
        for places in self._by(lambda call: call.bias):
            sums = [bias_gradient(self.calls[place], gradients[place]) for place in places]
            squares += torch.stack(sums).sum(0).square().sum(1)
        return squares

    def _by(self, parameter: Callable[[Call], int | None]) -> Iterable[list[int]]:
        """Return the places of calls, those with the same weight, or the same bias, together."""
        together: defaultdict[int, list[int]] = defaultdict(list)
        for place, call in enumerate(self.calls):
            which = parameter(call)
            if which is not None:
                together[which].append(place)
        return together.values()

    def _weight(self, places: Sequence[int], entries: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
        """Return ‖dW‖² of one weight, in blocks of examples."""
        calls = [self.calls[place] for place in places]
        size = max(ENTRIES // largest(calls, self.parameters[calls[0].weight]), 1)
        return torch.cat(
            [
                squared_norms([outer(self.calls[i], entries[i][block], gradients[i][block]) for i in places])
                for block in chunks(len(entries[places[0]]), size)
            ]
        )

    def _gradients(
        self, input: Tensor, target: Tensor
    ) -> tuple[tuple[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]:
        """Return the gradients in the output of each call and in `direct`, and what enters each call."""

        def loss(taps: Sequence[Tensor], direct: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
            point = list(self.parameters)
            for place, parameter in zip(self.direct, direct, strict=True):
                point[place] = parameter
            with Taps(point, frozenset(self.direct), taps) as watch:
                losses = self.per_example(point, input[None], target[None])
            check_losses(losses, 1)
            return losses[0], [call.entry for call in watch.calls]

        device = self.parameters[0].device
        taps = [torch.zeros(call.shape, dtype=call.dtype, device=device) for call in self.calls]
        found: tuple[tuple[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]] = grad(loss, (0, 1), has_aux=True)(
            taps, [self.parameters[place] for place in self.direct]
        )
        return found


def _magnitudes(parts: Sequence[Tensor], ones: Tensor) -> Tensor:
    """Return for each example a power of two near its largest entry in any of the parts, (n,); 1 without any."""
    largest = [part.reshape(len(part), -1).abs().amax(1) for part in parts]
    return magnitudes(torch.stack(largest, dim=1)) if largest else ones.double()


def _over(part: Tensor, scale: Tensor) -> Tensor:
    """Return each example's part over its scale."""
    return part / scale.to(part).view(-1, *[1] * (part.dim() - 1))
