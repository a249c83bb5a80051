"""Whether the derivatives that autograd gives are those of the loss: held against differences before the run.

Autograd differentiates what it is shown. A `detach`, a straight-through estimator, rounding, or a Function of one's own
with a wrong backward pass gives it something else than the loss, and nothing says so. Here a few examples' mean loss
L(θ) is moved along directions v through the parameters' space, in the study's own precision, and what it gains is held
against the gradient:

    (L(θ + h v) − L(θ − h v)) / 2h  =  ⟨∇L(θ), v⟩ + O(h²) + ε(L)/h.

No tolerance is guessed. ε(L) is measured, by moving every parameter by one unit in its last place. h is chosen so that
ε(L)/h is a four-hundredth of what is expected. The O(h²), and what a kink (ReLU, max) near θ adds, is measured by a
second step of 4h. A mismatch counts where it exceeds half a percent and four times both. θ lies a little beside the
initial parameters: these may stand on a kink exactly (a bias of zero behind an input of zeros), or hide all layers
behind a head of zeros. Along v each tensor moves by a share of its own size: first along its own gradient, with a
random sign, where nothing cancels and rounding matters least; then in random directions, where a gradient's missing
part shows that lies at right angles to the rest of it.

For the Hessian the same is done with (∇L(θ + h v) − ∇L(θ − h v)) / 2h and the product H v of the study's own operator.
A mismatch in single precision is decided in float64, and so is what single precision cannot tell, since many kinks or
jumps lie within its smallest h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor
from torch.func import functional_call

from studyrun.component import Split
from studyrun.curvature import HessianOperator, flatten
from studyrun.curvature.primitives import twice_differentiable
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import forked, seeded

SHARE = 0.0025  # of what is expected, which rounding may make of a difference
WRONG = 0.005  # of what is expected: a smaller mismatch is not told
LARGEST = 0.05  # of a parameter tensor's own size, by which it is moved at most
MISSED = 0.1  # of what is expected: with more doubt than this nothing is known
Parts = Sequence[Tensor]


@dataclass(frozen=True)
class Few:
    """The mean loss of a few examples as a function of the parameters, in one precision.

    Random layers draw the same numbers at every call, so that dropout is a function too.
    """

    problem: Problem
    split: Split
    dtype: torch.dtype

    def losses(self, parameters: Parts, inputs: Tensor, targets: Tensor) -> Tensor:
        """The losses (n,)."""
        problem = self.problem
        copies: dict[int, Tensor] = {}
        state = dict(zip(problem.named_tensors, parameters, strict=True))
        for name, buffer in problem.named_buffers.items():
            state[name] = copies.setdefault(id(buffer), self.cast(buffer, copy=True))
        with forked(0, "derivative", device=problem.device):
            outputs = functional_call(problem.model, state, (inputs,))
            return problem.loss.per_example(outputs, targets)

    def cast(self, tensor: Tensor, *, copy: bool = False) -> Tensor:
        """Real numbers in this precision, all others as they are."""
        return tensor.detach().to(self.dtype if tensor.is_floating_point() else tensor.dtype, copy=copy)

    @property
    def examples(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, in copies."""
        return self.cast(self.split.inputs, copy=True), self.cast(self.split.targets, copy=True)

    def value(self, parameters: Parts) -> float:
        """L, summed in float64."""
        with torch.no_grad():
            return float(self.losses(parameters, *self.examples).double().mean())

    def gradient(self, parameters: Parts) -> list[Tensor | None]:
        """∇L by parameter tensor; None where L does not depend on it, as far as autograd was shown."""
        own = [part.detach().requires_grad_() for part in parameters]
        loss = self.losses(own, *self.examples).mean()
        if not loss.requires_grad:
            return [None] * len(own)
        return list(torch.autograd.grad(loss, own, allow_unused=True))

    def product(self, parameters: Parts, direction: Parts) -> Tensor:
        """H v, flat, by the operator that the study measures with."""
        inputs, targets = self.examples
        operator = HessianOperator(self.losses, list(parameters), inputs, targets)
        return operator.matvec(flatten(direction))


def beside(parameters: Parts, share: float = 0.05) -> list[Tensor]:
    """Parameters moved a little at random, in proportion to the size of each tensor; one of zeros by 0.01."""
    generator = seeded(0, "beside")
    return [
        part.detach() + share * torch.randn(part.shape, generator=generator).to(part) * (typical(part) or 0.2)
        for part in parameters
    ]


def typical(part: Tensor) -> float:
    """The root mean square of a tensor's entries."""
    return float(part.detach().double().square().mean().sqrt()) if part.numel() else 0.0


def moved(parameters: Parts, direction: Parts, step: float) -> list[Tensor]:
    """θ + h v."""
    return [part + step * way for part, way in zip(parameters, direction, strict=True)]


def last_places(parameters: Parts) -> list[Tensor]:
    """Parameters with every entry moved by one unit in its last place, up or down."""
    generator = seeded(0, "units")
    moved = []
    for part in parameters:
        signs = torch.randint(0, 2, part.shape, generator=generator).to(part) * 2 - 1
        moved.append(part * (1 + signs * torch.finfo(part.dtype).eps))
    return moved


def sized(way: Tensor, part: Tensor) -> Tensor:
    """A direction as long as its parameter tensor is, and no shorter than a hundredth for each entry."""
    length = float(way.double().norm())
    return way * (max(typical(part), 0.01) * part.numel() ** 0.5 / length) if length else way


@dataclass(frozen=True)
class Verdict:
    """What a difference says against autograd: the size of both, whether they cannot be one, and if it can tell."""

    expected: float
    found: float
    wrong: bool
    known: bool = True


def compare(
    difference: Callable[[float], Tensor], expected: Tensor, scale: float, noise: float, eps: float, order: int
) -> Verdict:
    """Hold what autograd gives, a number or a vector, against central differences at two steps.

    `scale` is what the mismatch is measured by, `noise` the rounding of what is differenced, `order` that of the root
    of ε at which a step starts whatever the noise is.
    """
    step = max(noise / (SHARE * scale) if scale else 0.0, eps ** (1 / (order if scale else 3)))
    size = float(expected.norm())
    if not isfinite(noise) or 4 * step > LARGEST:
        return Verdict(size, size, wrong=False, known=False)
    near, far = difference(step), difference(4 * step)
    doubt = 4 * (float((near - far).norm()) + noise / step)
    wrong = float((near - expected).norm()) > WRONG * scale + doubt
    return Verdict(size, float(near.norm()), wrong, known=wrong or doubt <= MISSED * scale)


@dataclass(frozen=True)
class Place:
    """A point of the parameters' space, with what differences around it need, computed once."""

    few: Few
    parameters: Parts

    @cached_property
    def value(self) -> float:
        """L."""
        return self.few.value(self.parameters)

    @cached_property
    def gradient(self) -> list[Tensor | None]:
        """∇L by parameter tensor; None where L does not depend on it, as far as autograd was shown."""
        return self.few.gradient(self.parameters)

    @cached_property
    def known(self) -> list[Tensor]:
        """∇L with zeros where it is None."""
        pairs = zip(self.parameters, self.gradient, strict=True)
        return [torch.zeros_like(part) if slope is None else slope for part, slope in pairs]

    @cached_property
    def noise(self) -> float:
        """How much of L is rounding: what it changes by where every parameter does by one unit in its last place."""
        moves = abs(self.few.value(last_places(self.parameters)) - self.value)
        return moves + torch.finfo(self.few.dtype).eps * abs(self.value)

    @cached_property
    def finer(self) -> Place:
        """The same in float64."""
        few = replace(self.few, dtype=torch.float64)
        return Place(few, [few.cast(part) for part in self.parameters])


def slope(at: Place, direction: Parts) -> Verdict:
    """Hold ⟨∇L, v⟩ against differences of L along v."""
    few, way = at.few, [at.few.cast(part) for part in direction]
    terms = torch.stack([(g.double() * v.double()).sum() for g, v in zip(at.known, way, strict=True)])

    def difference(step: float) -> Tensor:
        ahead, behind = (few.value(moved(at.parameters, way, sign * step)) for sign in (1, -1))
        return torch.tensor((ahead - behind) / (2 * step), dtype=torch.float64)

    scale = float(terms.abs().sum())
    return compare(difference, terms.sum().cpu(), scale, at.noise, torch.finfo(few.dtype).eps, order=2)


def bend(at: Place, direction: Parts) -> Verdict:
    """Hold H v against differences of gradients along v."""
    few, way = at.few, [at.few.cast(part) for part in direction]

    def gradient(parameters: Parts) -> Tensor:
        with twice_differentiable():  # as the operator does, so that random layers draw the same
            return flatten(Place(few, parameters).known).double()

    def difference(step: float) -> Tensor:
        ahead, behind = (gradient(moved(at.parameters, way, sign * step)) for sign in (1, -1))
        return (ahead - behind) / (2 * step)

    product, start, eps = few.product(at.parameters, way).double(), gradient(at.parameters), torch.finfo(few.dtype).eps
    noise = float((gradient(last_places(at.parameters)) - start).norm() + eps * start.norm())
    return compare(difference, product, float(product.norm()), noise, eps, order=3)


def aligned(parameters: Parts, gradient: Parts, generator: torch.Generator) -> list[Tensor]:
    """Each tensor along its own gradient, by its own size, with a random sign."""
    signs = (torch.randint(0, 2, (len(parameters),), generator=generator) * 2 - 1).tolist()
    return [sign * sized(way, part) for sign, way, part in zip(signs, gradient, parameters, strict=True)]


def drawn(parameters: Parts, generator: torch.Generator) -> list[Tensor]:
    """Each tensor in a random direction, by its own size."""
    return [sized(torch.randn(part.shape, generator=generator).to(part), part) for part in parameters]
