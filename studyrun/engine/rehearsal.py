"""A first step tried out before the run: what people's code does that would only come out later, or never.

Nothing of it stays: parameters, buffers, generators and whatever code keeps by itself are put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from studyrun.engine.building import build_model, load_data, place_data
from studyrun.engine.explain import naming
from studyrun.engine.findings import Findings
from studyrun.engine.fit_check import few_examples
from studyrun.engine.model_check import placed
from studyrun.engine.plain import copied, same
from studyrun.engine.problem import Problem, fingerprint, put_back_as_imported
from studyrun.engine.random_state import forked
from studyrun.engine.reachable import is_peoples
from studyrun.engine.trainer import Trainer

DRAWS = (
    "draw from the generator that it is given, or from the global ones of torch, numpy or Python, which are seeded; a "
    "generator of its own needs a seed of its own"
)


def rehearse(arms: Iterable[Problem], first: Mapping[str, Tensor], findings: Findings) -> None:
    """Note what is wrong with how components behave in a first step, under the optimizer and the loss of each arm.

    `first` are the parameters by name as they were initialised.
    """
    for problem in arms:
        with undone(problem), forked(problem.study.seed.init, "rehearsal", device=problem.device):
            faults = len(findings.faults)
            for who, fault in _writes(problem, first):
                findings.add(who, [fault])
            if len(findings.faults) == faults:
                with findings.noting():
                    _take_steps(problem)


def repeat(problem: Problem, first: Mapping[str, Tensor], data_folder: Path, findings: Findings) -> None:
    """Note which component does not make the same thing twice of the same seed; built-in data are known to."""
    study, names = problem.study, problem.study.names
    put_back_as_imported(study)
    if is_peoples(type(study.dataset).__module__) or is_peoples(type(study.groups).__module__):
        data, _ = load_data(study, data_folder, problem.dtype, findings)
        if data is not None and fingerprint(place_data(data, problem.dtype, problem.device)) != problem.fingerprint:
            with_groups = f" with groups {names['groups']!r}" if study.groups else ""
            findings.add(f"data set {names['dataset']!r}{with_groups}", [f"loaded twice it is not the same; {DRAWS}"])
    model = build_model(study, problem.data, findings)
    if model is None:
        return
    again = dict(placed(model, problem.dtype, problem.device).named_parameters())
    for name, value in first.items():
        if name not in again or not same(value, again[name].detach()):
            findings.add(f"model {names['model']!r}", [f"built twice it has not the same {name}; {DRAWS}"])
            return


@contextmanager
def undone(problem: Problem) -> Iterator[Mapping[str, Tensor]]:
    """Put back parameters, buffers and hidden state after the block, which is given copies of the parameters."""
    parameters = {name: parameter.detach().clone() for name, parameter in problem.named_tensors.items()}
    buffers = copied(problem.named_buffers)
    try:
        yield parameters
    finally:
        with torch.no_grad():
            for name, parameter in problem.named_tensors.items():
                parameter.copy_(parameters[name])
                parameter.grad = None
        problem.set_buffers(buffers)
        problem.put_back()


def _writes(problem: Problem, first: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pass copies of a few examples through model and loss, in training and in evaluation; say who wrote into what."""
    few, names = few_examples(problem.data.train), problem.study.names
    model, loss = f"model {names['model']!r}", f"loss {names['loss']!r}"
    inputs, targets = few.inputs.clone(), few.targets.clone()
    with torch.no_grad():
        outputs = problem.model(inputs)
        with problem.evaluation():
            problem.model(inputs)
        if not same(inputs, few.inputs):
            yield (
                model,
                "it writes to its inputs in place in its forward pass, so that the data would change with every pass; "
                "let it work on a copy, as `x = x / 2` does and `x.div_(2)` does not",
            )
        problem.loss.per_example(outputs, targets)
        problem.loss.correct(outputs, targets)
    if not same(targets, few.targets):
        yield loss, "it writes to the targets in place; let it work on a copy (`targets.clone()`)"
    for name, parameter in problem.named_tensors.items():
        if not same(parameter.detach(), first[name]):
            yield (
                model,
                f"it writes to its parameter {name} in its forward pass, beside the optimizer; compute what it needs "
                "from the parameter instead (torch.nn.utils.parametrize)",
            )
            return


def _take_steps(problem: Problem) -> None:
    """Take two steps with the gradient of a few examples. Raises `ComponentError` for what cannot be carried."""
    few, names = few_examples(problem.data.train), problem.study.names
    with naming(f"model {names['model']!r}, loss {names['loss']!r}, optimizer {names['optimizer']!r}", problem):
        trainer = Trainer(problem)
        for _ in range(2):
            trainer.begin()
            trainer.save()
            trainer.try_out(few)
        trainer.begin()
        trainer.save()
