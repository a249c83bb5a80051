"""Forward and backward passes over examples, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from studyrun.component import Split
from studyrun.curvature.flat import chunks
from studyrun.curvature.primitives import twice_differentiable
from studyrun.engine.problem import Problem


@dataclass(eq=False)
class Pass:
    """A forward and backward pass: losses (n,), which examples are right (n,) or None, and the mean loss's gradient.

    `graph` is that gradient once more, where it can itself be differentiated; who is short of memory takes it away.
    """

    losses: Tensor
    correct: Tensor | None
    gradient: tuple[Tensor, ...]
    graph: tuple[Tensor, ...] | None = None

    @cached_property
    def mean(self) -> float:
        """The mean loss, summed in float64."""
        return float(self.losses.double().mean())


def training_pass(
    problem: Problem,
    split: Split,
    forward: Callable[[Tensor], Tensor] | None = None,
    chunk_size: int | None = None,
) -> Pass:
    """Run the model in training mode over `split` once; cost: one gradient evaluation.

    `forward` stands in for the model, which itself moves on its buffers (the running means of batch normalisation), and
    `chunk_size` for that of training.

    The mean over all examples is the sum over chunks of each chunk's sum / n, so that unequal chunks weigh right.
    """
    passes, total = [], None
    for piece in _pieces(split, chunks(len(split), chunk_size or problem.study.chunk_size)):
        passes.append(taken := _differentiated(problem, piece, forward, of=len(split)))
        gradient = taken.gradient
        total = gradient if total is None else tuple(a.add_(b) for a, b in zip(total, gradient, strict=True))
    assert total is not None, "a data set without examples is refused when it is loaded"
    return Pass(_joined([each.losses for each in passes]), _joined_or_none([each.correct for each in passes]), total)


def differentiable_pass(problem: Problem, split: Split, forward: Callable[[Tensor], Tensor] | None = None) -> Pass:
    """The same as `training_pass` over a split of one chunk, with a gradient that can be differentiated again."""
    with twice_differentiable():
        taken = _differentiated(problem, split, forward, of=len(split), graph=True)
    return replace(taken, gradient=tuple(part.detach() for part in taken.gradient), graph=taken.gradient)


def _differentiated(
    problem: Problem, split: Split, forward: Callable[[Tensor], Tensor] | None, *, of: int, graph: bool = False
) -> Pass:
    """One chunk, its loss divided by the number `of` all examples."""
    outputs = (forward or problem.model)(split.inputs)
    losses = problem.loss.per_example(outputs, split.targets)
    parameters = tuple(problem.named_tensors.values())
    gradient = torch.autograd.grad(losses.sum() / of, parameters, create_graph=graph, materialize_grads=True)
    return Pass(losses.detach(), problem.loss.correct(outputs.detach(), split.targets), gradient)


def _pieces(split: Split, slices: Sequence[slice]) -> Iterator[Split]:
    """The split chunk by chunk; whole where it is a single one."""
    return (split if len(slices) == 1 else split.take(chunk) for chunk in slices)


def forward_pass(problem: Problem, split: Split, chunk_size: int) -> tuple[Tensor, Tensor | None]:
    """Return losses (n,) and correctness (n,) of `split` in evaluation mode, without gradients."""
    losses, correct, evaluate = [], [], _evaluated(problem)
    with problem.evaluation():
        for piece in _pieces(split, chunks(len(split), chunk_size)):
            outputs = evaluate(piece.inputs)
            losses.append(problem.loss.per_example(outputs, piece.targets))
            correct.append(problem.loss.correct(outputs, piece.targets))
    return _joined(losses), _joined_or_none(correct)


def outputs_pass(problem: Problem, inputs: Tensor, chunk_size: int) -> Tensor:
    """Return the model's outputs on any inputs in evaluation mode, without gradients."""
    evaluate = _evaluated(problem)
    with problem.evaluation():
        return _joined([evaluate(inputs[chunk]) for chunk in chunks(len(inputs), chunk_size)])


def _evaluated(problem: Problem) -> Callable[[Tensor], Tensor]:
    """The model to evaluate: on copies of its buffers, should it write to them even then."""
    if not problem.named_buffers:
        return problem.model
    parameters = tuple(problem.named_tensors.values())
    return lambda inputs: problem.forward(parameters, inputs, statistics="eval")


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _joined_or_none(pieces: list[Tensor | None]) -> Tensor | None:
    known = [piece for piece in pieces if piece is not None]
    return _joined(known) if known else None
