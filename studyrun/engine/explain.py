"""What another library raises, told in the study's words: which component, which layer, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import nn

import studyrun
from studyrun.curvature.memory import memory_asked, ran_out_of_memory
from studyrun.errors import ComponentError, ProbeError, StudyrunError
from studyrun.stopping import heed

if TYPE_CHECKING:
    from studyrun.engine.problem import Problem

LONGEST = 300  # characters of a message; the whole text is in events.jsonl, and under --debug on the screen
LIBRARIES = tuple(str(Path(one.__file__ or "").parent) for one in (studyrun, torch))

REMEDIES = (
    (
        r"mat1 and mat2 shapes cannot be multiplied",
        "the input of a layer has another number of features than its weight takes: look at what comes before it",
    ),
    (
        r"element 0 of tensors does not require grad|does not have a grad_fn",
        "what is differentiated does not depend on any trained parameter: look for detach(), .data, no_grad(), argmax "
        "or numpy in the model and the loss",
    ),
    (
        r"One of the differentiated Tensors does not require grad",
        "a parameter is frozen (requires_grad=False) that is differentiated: set requires_grad in `build` and nowhere "
        "else, and in a probe take the parameters of the snapshot, which are those that are trained",
    ),
    (
        r"appears to not have been used in the graph",
        "a parameter takes no part in what is differentiated: `allow_unused=True, materialize_grads=True` gives 0",
    ),
    (
        r"Expected more than 1 (value per channel|spatial element) when training",
        "normalisation over a batch needs more than one value: choose a `batch_size`, `chunk_size` or group size that "
        "leaves no batch of one example",
    ),
    (
        r"derivative for .* is not implemented|once_differentiable|does not support double backward",
        "this operation has no such derivative: write it in elementary operations, or leave out the probes that take "
        "second derivatives",
    ),
    (
        r"returned nan values in its",
        "a derivative is NaN there, as of sqrt, norm or a power at 0, or of log at 0: add a small number inside",
    ),
    (
        r"device-side assert|CUDA error",
        "mostly an index out of range on the device, such as a label or a token: `device: cpu` says which",
    ),
    (
        r"to be on the same device|found at least two devices",
        "a tensor was left on another device: make it a buffer (`register_buffer`), or make it on `inputs.device`",
    ),
    (
        r"expected scalar type|to have the same dtype|should be the same|must match except|expected m1 and m2",
        "a tensor is of another type than the study's precision: make it a buffer (`register_buffer`), or take "
        "`inputs.dtype`; whole numbers need `.to(inputs.dtype)` first",
    ),
    (
        r"modified by an inplace operation|a leaf Variable that requires grad is being used in an in-place",
        "something is overwritten (`+=`, `x[...] =`, `inplace=True`, `relu_`) that a derivative needs: make a new "
        "tensor instead",
    ),
    (
        r"backward through the graph a second time",
        "a tensor is kept together with its graph from one pass to the next: keep `tensor.detach()`",
    ),
    (
        r"index out of range in self|Target -?\d+ is out of bounds|Class values must be",
        "an index, such as a label or a token, is outside the table that it is looked up in",
    ),
    (
        r"does not have a deterministic implementation",
        "this operation gives other bits at each run on this device: another one, or `device: cpu`, would be right",
    ),
    (
        r"Could not run '.*' with arguments from",
        "this operation does not exist for tensors of that kind (sparse, quantised, or on that device)",
    ),
    (
        r"vmap",
        "many examples are taken at once by torch.vmap, which allows no `.item()`, no branching on values and no "
        "writing in place",
    ),
)
"""What other libraries say, and what helps, in words."""


def told(error: BaseException, problem: Problem | None = None) -> str:
    """The error's type and first line, where it was raised, and what would be right; never more than some lines."""
    lines = str(error).strip().splitlines()
    first = lines[0].strip() if lines else ""
    text = f"{type(error).__name__}: {first[:LONGEST]}{'…' * (len(first) > LONGEST)}" if first else type(error).__name__
    place, remedy = whereabouts(error, problem), remedy_for(str(error))
    return f"{text}{f' ({place})' if place else ''}{f'; {remedy}' if remedy else ''}"


def remedy_for(text: str) -> str:
    """What helps against an error of this text, as far as anybody knows; nothing otherwise."""
    return next((words for pattern, words in REMEDIES if re.search(pattern, text)), "")


def whereabouts(error: BaseException, problem: Problem | None) -> str:
    """The layer, loss or optimizer that raised it, and the line of code that is neither torch's nor this project's."""
    frames = list(_frames(error))
    owners = [text for frame in frames if (text := _owner(frame.f_locals.get("self"), problem))] if problem else []
    lines = [f"{Path(f.f_code.co_filename).name}:{line}" for f, line in _lines(error) if _is_foreign(f)]
    return ", ".join(filter(None, (f"in {owners[-1]}" if owners else "", lines[-1] if lines else "")))


def _owner(owner: object, problem: Problem | None) -> str:
    """What of the study's components this object is, in words; nothing for any other."""
    assert problem is not None
    names = problem.study.names
    if owner is problem.loss:
        return f"loss {names['loss']!r}"
    if isinstance(owner, torch.optim.Optimizer):
        return f"optimizer {names['optimizer']!r}"
    if isinstance(owner, nn.Module):
        for name, module in problem.model.named_modules():
            if module is owner:
                layer = f"layer {name!r} ({type(owner).__name__}) of " if name else ""
                return f"{layer}model {names['model']!r}"
    return ""


def _lines(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _frames(error: BaseException) -> Iterator[FrameType]:
    return (frame for frame, _ in _lines(error))


def _is_foreign(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith((*LIBRARIES, "<"))


@contextmanager
def naming(
    who: str, problem: Problem | None = None, kind: type[StudyrunError] = ComponentError, *, memory: bool = False
) -> Iterator[None]:
    """Have whatever fails inside fail as `kind`, begun with `who`: a component by its kind and name.

    A component's own words stand, with its name before them where they lack it. Where `memory` is False, running out
    of it is left to whoever can make room.
    """
    try:
        yield
    except (ComponentError, ProbeError) as error:
        if who.replace("'", "") in str(error).replace("'", ""):
            raise
        raise type(error)(f"{who}: {error}") from error
    except StudyrunError:
        raise
    except Exception as error:
        heed()
        if ran_out_of_memory(error):
            if not memory:
                raise
            asked = memory_asked(str(error))
            text = f"{who}: memory ran out, {asked}: this needs a machine, or a device, with more of it"
            raise StudyrunError(text) from error
        raise kind(f"{who}: {told(error, problem)}") from error
