"""Whether model, loss and data go together: a few examples are passed through them before the run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from studyrun.component import Loss, Split
from studyrun.curvature.flat import chunks
from studyrun.engine.data_check import type_name
from studyrun.engine.explain import naming
from studyrun.engine.findings import Findings
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import seeded
from studyrun.errors import ComponentError, ProbeError

EXAMPLES_TO_COMPARE = 8


def few_examples(split: Split, most: int = EXAMPLES_TO_COMPARE) -> Split:
    """Examples from all over the split; of inputs that are whole numbers also those with the least and the greatest."""
    places = torch.linspace(0, len(split) - 1, min(most, len(split))).long().tolist()
    if not split.inputs.is_floating_point():
        rows = split.inputs.reshape(len(split), -1)
        places += [int(rows.amin(1).argmin()), int(rows.amax(1).argmax())]
    return split.take(torch.tensor(sorted(set(places)), device=split.inputs.device))


def first_examples(split: Split, count: int) -> Split:
    """The first examples, in copies: a model that writes to its inputs must not write to the data."""
    return Split(split.inputs[:count].clone(), split.targets[:count].clone())


def check_fit(problem: Problem, findings: Findings) -> None:
    """Raise `ComponentError` if model, loss and data do not go together; what is only odd is a warning."""
    names = problem.study.names
    before = _parameter_names(problem.model)
    _pass_through(problem, first_examples(problem.data.train, 2))
    if made := _parameter_names(problem.model) - before:
        raise ComponentError(
            f"model {names['model']!r} makes parameter {sorted(made)[0]!r} in its first forward pass, too late to be "
            "trained; make it in `build`, or use torch's lazy modules (torch.nn.LazyLinear)"
        )
    few = few_examples(problem.data.train)
    outputs = _pass_through(problem, few)
    _check_examples_apart(problem, outputs, few.targets)
    _check_accuracy(problem, outputs, findings)
    if outputs.dtype != problem.dtype:
        findings.warn(
            f"model {names['model']!r} gives {type_name(outputs.dtype)} where the study computes in "
            f"{problem.study.precision}: somewhere inside it leaves the study's precision"
        )


def _parameter_names(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def _pass_through(problem: Problem, few: Split) -> Tensor:
    """The outputs on a few examples, held in both modes against what outputs and losses have to be."""
    names = problem.study.names
    who = f"model {names['model']!r} and loss {names['loss']!r} do not fit the data set {names['dataset']!r}"
    shapes = f"inputs {tuple(few.inputs.shape)}, targets {tuple(few.targets.shape)}"
    with naming(f"{who} ({shapes})", problem, memory=True), torch.no_grad():
        parameters = tuple(problem.named_tensors.values())
        for statistics in ("eval", "train"):
            outputs = problem.forward(parameters, few.inputs, statistics=statistics)
            _check_outputs(problem, outputs, len(few))
        losses = problem.loss.per_example(outputs, few.targets)
    if not isinstance(losses, Tensor) or losses.shape != (len(few),):
        found = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
        raise ComponentError(
            f"loss {names['loss']!r} gives {found} for {len(few)} examples; it must give one number for each"
        )
    return outputs


def _check_outputs(problem: Problem, outputs: object, examples: int) -> None:
    who = f"model {problem.study.names['model']!r} returns"
    wanted = (examples, problem.data.outputs)
    if not isinstance(outputs, Tensor):
        entry = next(iter(outputs), "") if isinstance(outputs, dict) else ""
        advice = f"`outputs[{entry!r}]`" if isinstance(outputs, dict) else "its entry with the outputs"
        raise ComponentError(f"{who} a {type(outputs).__name__}; one tensor {wanted} would be right, such as {advice}")
    if outputs.dim() < 2 or len(outputs) != examples:
        advice = " (without the `squeeze`)" if tuple(outputs.shape) == wanted[:1] and wanted[1] == 1 else ""
        raise ComponentError(
            f"{who} outputs of shape {tuple(outputs.shape)} for {examples} examples; {wanted} would be right{advice}"
        )
    if not outputs.is_floating_point():
        raise ComponentError(f"{who} {type_name(outputs.dtype)}; real numbers would be right")


def _check_examples_apart(problem: Problem, outputs: Tensor, targets: Tensor) -> None:
    """Raise `ComponentError` where an example's loss hangs on its neighbours', as by broadcasting (n, 1) with (n,)."""
    loss, who = problem.loss, f"loss {problem.study.names['loss']!r}"
    half = len(targets) // 2 or 1
    with torch.no_grad(), naming(who, problem, memory=True):
        together = loss.per_example(outputs, targets)
        parts = zip(torch.split(outputs, half), torch.split(targets, half), strict=True)
        apart = torch.cat([loss.per_example(*part).reshape(-1) for part in parts])
    if apart.shape != together.shape or not torch.allclose(together, apart, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise ComponentError(
            f"{who} gives an example another loss beside some examples than beside others; it must be a function of "
            f"its own output and target. Outputs are {tuple(outputs.shape)} and targets {tuple(targets.shape)}: where "
            "these shapes differ, look for broadcasting"
        )


def _check_accuracy(problem: Problem, outputs: Tensor, findings: Findings) -> None:
    """Raise `ComponentError` where one output is to tell many classes; warn where nobody says which of two it tells."""
    data, names = problem.data, problem.study.names
    if data.train.targets.is_floating_point() or outputs.shape[-1] > 1:
        return
    if len(data.classes) > 2 and type(problem.loss).correct is Loss.correct:
        raise ComponentError(
            f"data set {names['dataset']!r} has {len(data.classes)} classes and model {names['model']!r} one output, "
            f"which tells two; {len(data.classes)} outputs would be right, or a `correct` of loss {names['loss']!r}"
        )
    if not problem.classifies:
        findings.warn(
            f"no accuracy is recorded: model {names['model']!r} has one output, and loss {names['loss']!r} does not "
            "say which class it stands for; a method `correct(self, outputs, targets)` would, for logits as "
            "`(outputs[:, 0] > 0) == (targets == 1)`"
        )


# --- batches ---------------------------------------------------------------------------------------------------------


def check_batches(problem: Problem, where: str, findings: Findings) -> None:
    """Note a fault where the model does not take a batch of one that training will meet: it is arithmetic."""
    examples, size = len(problem.data.train), problem.optimizer.examples_per_step
    who, chunk = f"{where}optimizer {problem.study.names['optimizer']!r}", problem.study.chunk_size
    if size is not None and size > examples:
        findings.warn(
            f"{who}: batch_size {size} is more than the {examples} training examples: each step takes them all"
        )
    if min(_sizes(examples, size, chunk)) > 1:
        return
    model = f"model {problem.study.names['model']!r}"
    with findings.noting(), naming(f"{who}: {_advice(examples, size, chunk)}, which {model} does not take", problem):
        _pass_one(problem)


def check_groups(problem: Problem, findings: Findings) -> None:
    """Note a warning where the model does not take a group of one example in training mode."""
    single = (
        [name for name, indices in problem.grouping.members.items() if len(indices) == 1] if problem.grouping else []
    )
    alone = Findings()
    with alone.noting(), naming(f"group {single[0]!r} has one example" if single else "", problem):
        if single:
            _pass_one(problem)
    for fault in alone.faults:
        findings.warn(f"{fault}; probes that take a group's examples by themselves will fail there")


def _pass_one(problem: Problem) -> None:
    few, parameters = first_examples(problem.data.train, 1), tuple(problem.named_tensors.values())
    with torch.no_grad():
        problem.per_example(parameters, few.inputs, few.targets)


def _sizes(examples: int, batch: int | None, chunk: int) -> Iterator[int]:
    """The sizes of all batches, and of the chunks that these are passed in."""
    whole = min(batch or examples, examples)
    for size in {whole, examples % whole or whole}:
        yield from (piece.stop - piece.start for piece in chunks(size, chunk))


def _advice(examples: int, batch: int | None, chunk: int) -> str:
    """Which option leaves a batch of one, and the nearest that does not."""
    if batch is None or batch >= examples:
        return f"chunk_size {chunk} makes chunks of a single one of the {examples} training examples"
    if batch == 1 or min(_sizes(examples, batch, examples)) > 1:
        return f"batch_size {batch} and chunk_size {chunk} make batches of a single example"
    better = (other for gap in range(1, examples) for other in (batch + gap, batch - gap))
    right = next((one for one in better if 1 < one <= examples and examples % one != 1), examples)
    return (
        f"batch_size {batch} leaves a last batch of one of the {examples} training examples (batch_size {right} "
        "would not)"
    )


# --- curvature -------------------------------------------------------------------------------------------------------


def check_curvature(problem: Problem) -> None:
    """Raise `ProbeError` if a probe wants Hessian eigenpairs of a loss that comes out anew at each pass (dropout)."""
    for entry in problem.study.probes:
        with naming(f"probe {entry.label!r}", problem, ProbeError):
            request = entry.probe.eigenpair_request(problem)
        if request is None or request.statistics != "train":
            continue
        if not _loss_is_a_function(problem):
            choice = "give the probe `statistics: eval`, or " if "statistics" in type(entry.probe).model_fields else ""
            raise ProbeError(
                f"probe {entry.label!r}: in training mode the loss gives different values for the same input, so it "
                f"has no Hessian; {choice}take dropout and other random layers out of model "
                f"{problem.study.names['model']!r}"
            )
        return  # the answer is the same for every probe


def _loss_is_a_function(problem: Problem) -> bool:
    """Whether a few examples have the same losses twice in training mode."""
    few = few_examples(problem.data.train)
    parameters = [_beside(value) for value in problem.named_tensors.values()]
    with torch.no_grad():
        first, second = (problem.per_example(parameters, few.inputs, few.targets) for _ in range(2))
    return torch.allclose(first, second, rtol=1e-3, atol=0, equal_nan=True)


def _beside(value: Tensor) -> Tensor:
    """A parameter moved a little: behind a last layer of zeros no randomness would be seen."""
    generator = seeded(0, "beside")
    return value.detach() + 0.01 * torch.randn(value.shape, generator=generator).to(value)
