"""One gradient and one Hessian product before a run: finite, reaching every parameter, and those of the loss?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from studyrun.engine.derivative_check import Few, Parts, Verdict, aligned, bend, beside, drawn, moved, rounding, slope
from studyrun.engine.explain import naming
from studyrun.engine.findings import Findings
from studyrun.engine.fit_check import few_examples
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import seeded
from studyrun.errors import ComponentError, ProbeError

DIRECTIONS = 2  # at random, beside the gradient's own
MOST_NAMED = 64  # parameter tensors that are tried one by one, to say where a gradient is wrong
CAUSES = "look for detach(), no_grad(), rounding, a straight-through estimator, or a backward pass of your own"


def check_derivatives(problem: Problem, findings: Findings) -> None:
    """Note what is wrong with the derivatives of the loss.

    Where they are not those of the loss it is a fault if the study asks for curvature, whose numbers would be those of
    something else; without, it is a warning: training on such a gradient may be what is meant.
    """
    names = problem.study.names
    who = f"model {names['model']!r} with loss {names['loss']!r}"
    few = Few(problem, few_examples(problem.data.train), problem.dtype)
    with findings.noting(), naming(f"{who} cannot be differentiated", problem, memory=True):
        asking = asking_for_curvature(problem)
        for text in _oddities(problem, few):
            findings.warn(f"{who}: {text}")
        parameters = beside(list(problem.named_tensors.values()))
        cut, unused = _unreached(problem, few, parameters)
        if unused:
            findings.warn(f"{who}: {_named(unused)} no part in the loss, and no gradient")
        if still := next(_still(problem, few, parameters), None):
            findings.warn(
                f"{who}: the gradient over {len(few.split)} examples is exactly zero in parameter {still!r}, as behind "
                "sign(), round(), argmax or dead units"
            )
        for text in _faults(problem, few, parameters, cut, curvature=asking is not None):
            if asking is None:
                findings.warn(f"{who}: {text}")
            else:
                findings.add(who, [f"{text}. Probe {asking!r} would record the curvature of something else"])


def asking_for_curvature(problem: Problem) -> str | None:
    """The label of the first probe that takes second derivatives of the loss as it is trained on."""
    for entry in problem.study.probes:
        with suppress(ProbeError, ComponentError):  # a fault of its own
            request = entry.probe.eigenpair_request(problem)
            if entry.probe.second_order or request is not None:
                return entry.label
    return None


def _oddities(problem: Problem, few: Few) -> Iterator[str]:
    """What is odd about the gradient at the initial parameters. Raises `ComponentError` where there is none."""
    gradient = few.gradient(list(problem.named_tensors.values()))
    known = {name: part for name, part in zip(problem.named_tensors, gradient, strict=True) if part is not None}
    first = f"the first gradient, over {len(few.split)} examples,"
    if not known:
        raise ComponentError(f"{first} reaches no parameter that is trained; {CAUSES}")
    if infinite := next((name for name, part in known.items() if not part.isfinite().all()), None):
        yield f"{first} is not finite in parameter {infinite!r}"
    elif not any(part.any() for part in known.values()):
        yield f"{first} is zero in every parameter: nothing would move"


def _still(problem: Problem, few: Few, parameters: Parts) -> Iterator[str]:
    """The parameters that a gradient reaches, but a gradient of zeros, where it does not for others."""
    gradient = dict(zip(problem.named_tensors, few.gradient(parameters), strict=True))
    still = [name for name, part in gradient.items() if part is not None and not part.any()]
    if len(still) < sum(part is not None for part in gradient.values()):
        yield from still


def _named(unused: Sequence[str]) -> str:
    if len(unused) == 1:
        return f"parameter {unused[0]!r} takes"
    return f"{len(unused)} parameters, {unused[0]!r} the first, take"


def _faults(problem: Problem, few: Few, parameters: Parts, cut: Sequence[str], *, curvature: bool) -> Iterator[str]:
    """How autograd's derivatives differ from those of the loss, a little beside the initial parameters."""
    if cut:
        yield (
            f"the loss depends on parameter {cut[0]!r}, and no gradient reaches it, so that it is never trained: "
            f"`requires_grad_(False)` in `build` would be right where that is meant; where not, {CAUSES}"
        )
        return
    gradient = few.gradient(parameters)
    if not all(part.isfinite().all() for part in gradient if part is not None):
        return
    if text := _wrong_slope(problem, few, parameters, gradient):
        yield text
    elif curvature and _decided(few, parameters, lambda at, where: bend(at, where, _drawn(where))).wrong:
        yield (
            "the product of the Hessian with a vector is not what the gradient changes by along it, as where an "
            f"operation has a wrong second derivative: write it in elementary operations, or {CAUSES}"
        )


def _unreached(problem: Problem, few: Few, parameters: Parts) -> tuple[list[str], list[str]]:
    """The parameters that no gradient reaches: those on which the loss depends all the same, and those of no use.

    Each is moved by half its own size. On what is no part of it a loss does not depend at all, but for rounding.
    """
    gradient, start, noise = few.gradient(parameters), few.value(parameters), 10 * rounding(few, parameters)
    ways = _drawn(parameters)
    cut: list[str] = []
    unused: list[str] = []
    for place, name in enumerate(problem.named_tensors):
        if gradient[place] is None:
            alone = [way if place == index else torch.zeros_like(way) for index, way in enumerate(ways)]
            apart = abs(few.value(moved(parameters, alone, 0.5)) - start)
            (cut if apart > noise else unused).append(name)
    return cut, unused


def _drawn(parameters: Parts) -> list[Tensor]:
    return drawn(parameters, seeded(0, "directions"))


def _wrong_slope(problem: Problem, few: Few, parameters: Parts, gradient: Sequence[Tensor | None]) -> str:
    """That the gradient is not the derivative of the loss, in words, and in which parameter; nothing where it is."""
    known = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
    generator = seeded(0, "slope")
    ways = [aligned(parameters, known, generator), *(drawn(parameters, generator) for _ in range(DIRECTIONS))]
    still = [not part.any() and slope is not None for part, slope in zip(known, gradient, strict=True)]
    if any(still):
        ways.append([way if one else torch.zeros_like(way) for way, one in zip(_drawn(parameters), still, strict=True)])
    seen = next((one for way in ways if (one := _slope_along(few, parameters, way)).wrong), None)
    if seen is None:
        return ""
    names = list(problem.named_tensors)[:MOST_NAMED]
    each = drawn(parameters, generator)
    alone = (
        [way if i == place else torch.zeros_like(way) for i, way in enumerate(each)] for place in range(len(names))
    )
    where = next((name for name, way in zip(names, alone, strict=True) if _slope_along(few, parameters, way).wrong), "")
    return (
        f"the gradient is not the derivative of the loss{f', as in parameter {where!r}' if where else ''}: along one "
        f"direction it says {seen.expected:.3g} and the loss changes by {seen.found:.3g}; {CAUSES}"
    )


def _slope_along(few: Few, parameters: Parts, way: Parts) -> Verdict:
    def look(at: Few, where: Parts) -> Verdict:
        known = [torch.zeros_like(p) if g is None else g for p, g in zip(where, at.gradient(where), strict=True)]
        return slope(at, where, known, [at.cast(part) for part in way], rounding(at, where))

    return _decided(few, parameters, look)


def _decided(few: Few, parameters: Parts, look: Callable[[Few, Parts], Verdict]) -> Verdict:
    """The verdict in the study's own precision; a mismatch, or none that can be told, is decided in float64.

    A device or a layer may not have float64: then the verdict stands.
    """
    seen = look(few, parameters)
    if few.dtype == torch.float64 or (seen.known and not seen.wrong):
        return seen
    finer = replace(few, dtype=torch.float64)
    try:
        return look(finer, [finer.cast(part) for part in parameters])
    except (RuntimeError, TypeError, ValueError):
        return seen
