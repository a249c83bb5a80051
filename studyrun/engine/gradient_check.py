"""One gradient and one Hessian product before a run: finite, reaching every parameter, and those of the loss?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from studyrun.engine.derivative_check import Few, Parts, Place, Verdict, aligned, bend, beside, drawn, moved, slope
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
        asking, initial = asking_for_curvature(problem), list(problem.named_tensors.values())
        place = Place(few, beside(initial))
        cut, unused = _unreached(problem, place)
        for text in (*_oddities(problem, Place(few, initial)), *_still(problem, place), *_without_use(unused)):
            findings.warn(f"{who}: {text}")
        for text in _faults(problem, place, cut, curvature=asking is not None):
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


def _oddities(problem: Problem, at: Place) -> Iterator[str]:
    """What is odd about the gradient at the initial parameters. Raises `ComponentError` where there is none."""
    known = {name: part for name, part in zip(problem.named_tensors, at.gradient, strict=True) if part is not None}
    first = f"the first gradient, over {len(at.few.split)} examples,"
    if not known:
        raise ComponentError(f"{first} reaches no parameter that is trained; {CAUSES}")
    if infinite := next((name for name, part in known.items() if not part.isfinite().all()), None):
        yield f"{first} is not finite in parameter {infinite!r}"
    elif not any(part.any() for part in known.values()):
        yield f"{first} is zero in every parameter: nothing would move"


def _still(problem: Problem, at: Place) -> Iterator[str]:
    """That a gradient of zeros reaches a parameter, where it is not zero for others."""
    reached = {name: part for name, part in zip(problem.named_tensors, at.gradient, strict=True) if part is not None}
    still = [name for name, part in reached.items() if not part.any()]
    if 0 < len(still) < len(reached):
        yield (
            f"the gradient over {len(at.few.split)} examples is exactly zero in parameter {still[0]!r}, as behind "
            "sign(), round(), argmax or dead units"
        )


def _without_use(unused: Sequence[str]) -> Iterator[str]:
    if len(unused) == 1:
        yield f"parameter {unused[0]!r} takes no part in the loss, and no gradient"
    elif unused:
        yield f"{len(unused)} parameters, {unused[0]!r} the first, take no part in the loss, and no gradient"


def _unreached(problem: Problem, at: Place) -> tuple[list[str], list[str]]:
    """The parameters that no gradient reaches: those on which the loss depends all the same, and those of no use.

    Each is moved by half its own size. On what is no part of it a loss does not depend at all, but for rounding.
    """
    cut: list[str] = []
    unused: list[str] = []
    for place, name in enumerate(problem.named_tensors):
        if at.gradient[place] is None:
            way = _alone(_drawn(at.parameters), place)
            apart = abs(at.few.value(moved(at.parameters, way, 0.5)) - at.value)
            (cut if apart > 10 * at.noise else unused).append(name)
    return cut, unused


def _faults(problem: Problem, at: Place, cut: Sequence[str], *, curvature: bool) -> Iterator[str]:
    """How autograd's derivatives differ from those of the loss, a little beside the initial parameters."""
    if cut:
        yield (
            f"the loss depends on parameter {cut[0]!r}, and no gradient reaches it, so that it is never trained: "
            f"`requires_grad_(False)` in `build` would be right where that is meant; where not, {CAUSES}"
        )
    elif not all(part.isfinite().all() for part in at.known):
        return
    elif text := _wrong_slope(problem, at):
        yield text
    elif curvature and _decided(at, _drawn(at.parameters), bend).wrong:
        yield (
            "the product of the Hessian with a vector is not what the gradient changes by along it, as where an "
            f"operation has a wrong second derivative: write it in elementary operations, or {CAUSES}"
        )


def _wrong_slope(problem: Problem, at: Place) -> str:
    """That the gradient is not the derivative of the loss, in words, and in which parameter; nothing where it is."""
    generator = seeded(0, "slope")
    ways = [aligned(at.parameters, at.known, generator), *(drawn(at.parameters, generator) for _ in range(DIRECTIONS))]
    still = [part is not None and not part.any() for part in at.gradient]
    if any(still):
        pairs = zip(_drawn(at.parameters), still, strict=True)
        ways.append([way if is_still else torch.zeros_like(way) for way, is_still in pairs])
    seen = next((one for way in ways if (one := _decided(at, way, slope)).wrong), None)
    if seen is None:
        return ""
    each, names = drawn(at.parameters, generator), list(problem.named_tensors)[:MOST_NAMED]
    wrong = (name for place, name in enumerate(names) if _decided(at, _alone(each, place), slope).wrong)
    where = next(wrong, "")
    return (
        f"the gradient is not the derivative of the loss{f', as in parameter {where!r}' if where else ''}: along one "
        f"direction it says {seen.expected:.3g} and the loss changes by {seen.found:.3g}; {CAUSES}"
    )


def _drawn(parameters: Parts) -> list[Tensor]:
    return drawn(parameters, seeded(0, "directions"))


def _alone(ways: Parts, place: int) -> list[Tensor]:
    """A direction that moves one tensor alone."""
    return [way if index == place else torch.zeros_like(way) for index, way in enumerate(ways)]


def _decided(at: Place, way: Parts, look: Callable[[Place, Parts], Verdict]) -> Verdict:
    """The verdict in the study's own precision; a mismatch, or none that can be told, is decided in float64.

    A device or a layer may not have float64: then the verdict stands.
    """
    seen = look(at, way)
    if at.few.dtype == torch.float64 or (seen.known and not seen.wrong):
        return seen
    try:
        return look(at.finer, way)
    except (RuntimeError, TypeError, ValueError):
        return seen
