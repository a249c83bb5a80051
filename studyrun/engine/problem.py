"""What stands still while an arm trains: data, model architecture, loss, optimizer options, groups."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from studyrun.component import Component, Data, Grouping, Loss, Optimizer, Split, Statistics
from studyrun.curvature.flat import chunks
from studyrun.engine.building import build_model, load_data, place_data, place_grouping
from studyrun.engine.findings import Findings
from studyrun.engine.hidden_state import HiddenState
from studyrun.engine.model_check import placed
from studyrun.engine.random_state import capture, forked, same_state
from studyrun.engine.reachable import is_peoples
from studyrun.errors import ComponentError, ProbeError, StudyrunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from studyrun.study.schema import Study

STATISTICS: tuple[Statistics, ...] = ("train", "eval")


@dataclass(frozen=True)
class Problem:
    """The fixed part of an arm. `model` is the one module that all arms of a run load their parameters into."""

    study: Study
    data: Data
    grouping: Grouping | None
    model: nn.Module
    dtype: torch.dtype
    device: torch.device
    hidden: dict[str, HiddenState] = field(default_factory=dict)
    """What people's code keeps by itself: `training` within reach of model and loss, `probing` of probes and triggers.

    All arms share it, as they share the model.
    """

    @property
    def loss(self) -> Loss:
        """The loss that is minimised."""
        return self.study.loss

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer's options."""
        return self.study.optimizer

    @cached_property
    def named_tensors(self) -> Mapping[str, nn.Parameter]:
        """The parameters that are trained, by name, in the model's order, which is also the order of flat vectors.

        One that stands under two names is under its first; one that requires no gradient stands still, as buffers do.
        """
        found = self.model.named_parameters()  # walking the modules anew at every use costs more than a small step
        return {name: parameter for name, parameter in found if parameter.requires_grad}

    @property
    def named_buffers(self) -> dict[str, Tensor]:
        """What else the model holds, by name: buffers, and frozen parameters, to which a model may write as well.

        Buffers are as the modules hold them now: a forward pass may put another tensor there.
        """
        found = {
            prefix + name: buffer
            for prefix, module in self._named_modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        }
        return found | {name: parameter.detach() for name, parameter in self._frozen.items()}

    @cached_property
    def _frozen(self) -> Mapping[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if not parameter.requires_grad}

    def set_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        """Let the modules hold these buffers: in the tensors that are there, where type and shape agree."""
        for prefix, module in self._named_modules:
            for name, held in module._buffers.items():
                wanted = buffers.get(prefix + name)
                if wanted is not None and held is not None and _alike(held, wanted):
                    with torch.no_grad():
                        held.copy_(wanted)
                else:
                    module._buffers[name] = None if wanted is None else wanted.to(self.device, copy=True)
        with torch.no_grad():
            for name, frozen in self._frozen.items():
                frozen.copy_(buffers[name])

    def tensors(self) -> Iterator[Tensor]:
        """The parameters and buffers that the engine carries."""
        yield from self.named_tensors.values()
        yield from self.named_buffers.values()

    def put_back(self) -> None:
        """Let people's code hold what it did when the model had been built."""
        for hidden in self.hidden.values():
            hidden.put(hidden.first)

    def check_parameters(self) -> None:
        """Raise `ComponentError` if the model has put other parameters or modules in the place of those it began with.

        The optimizer would go on to move the old ones, as it would where some are frozen or set free on the way.
        """
        for parts, trained in ((self.named_tensors, True), (self._frozen, False)):
            for name, parameter in parts.items():
                if parameter.requires_grad is not trained:
                    does = "freezes" if trained else "unfreezes"
                    raise ComponentError(
                        f"model {self.study.names.get('model', '')!r} {does} parameter {name!r} as it trains, and the "
                        "optimizer keeps to those it began with; set requires_grad in `build`"
                    )
        for (prefix, module), (parameters, modules) in zip(self._named_modules, self._first_members, strict=True):
            for held, first in ((module._parameters, parameters), (module._modules, modules)):
                if len(held) != len(first) or not all(map(is_, held.values(), first)):
                    names = [name for name, one in held.items() if not any(one is other for other in first)]
                    changed = prefix + (names[0] if names else "")
                    raise ComponentError(
                        f"model {self.study.names.get('model', '')!r} replaces {changed!r} as it trains, and the "
                        "optimizer would go on to move what was there before; write into the parameter that is there, "
                        "or register a buffer"
                    )

    @cached_property
    def _named_modules(self) -> tuple[tuple[str, nn.Module], ...]:
        return tuple((f"{name}." if name else "", module) for name, module in self.model.named_modules())

    @cached_property
    def _first_members(self) -> tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]:
        return tuple(
            (tuple(module._parameters.values()), tuple(module._modules.values())) for _, module in self._named_modules
        )

    @cached_property
    def deterministic(self) -> set[tuple[str, str | None, str]]:
        """The operators that were seen to have the same loss twice: what they are made of does not change in an arm."""
        return set()

    @cached_property
    def draws(self) -> bool:
        """Whether model or loss draw random numbers as examples pass through them."""
        few, parameters = self.data.train.take(slice(0, 2)), tuple(self.named_tensors.values())
        kept = {name: hidden.now() for name, hidden in self.hidden.items()}
        with forked(self.study.seed.init, "draws", device=self.device), torch.no_grad():
            before = capture(self.device)
            for statistics in STATISTICS:
                self.per_example(parameters, few.inputs, few.targets, statistics=statistics)
            drawn = not same_state(before, capture(self.device))
        for name, hidden in self.hidden.items():
            hidden.put(kept[name])
        return drawn

    @cached_property
    def _modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.model.modules())

    @cached_property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter names and shapes, in the model's order."""
        return {name: tuple(parameter.shape) for name, parameter in self.named_tensors.items()}

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Sizes and hashes of the data."""
        return fingerprint(self.data)

    @property
    def parameters(self) -> int:
        """The number of parameters p."""
        return sum(parameter.numel() for parameter in self.named_tensors.values())

    @cached_property
    def classifies(self) -> bool:
        """Whether targets are classes, and the loss says which of them an output stands for."""
        output = torch.zeros(1, self.data.outputs, dtype=self.dtype, device=self.device)
        return bool(self.data.classes) and self.loss.correct(output, self.data.train.targets[:1].clone()) is not None

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups."""
        if self.grouping is None:
            raise ProbeError("this probe follows groups of examples; add a `groups:` block to the study")
        return tuple(self.grouping.members)

    def split(self, name: str) -> Split:
        """The train or test split. Raises `ProbeError` where the data set has no such split."""
        split = self.data.train if name == "train" else self.data.test
        if split is None:
            raise ProbeError(f"this data set has no {name} split")
        return split

    def with_study(self, study: Study) -> Problem:
        """The same problem under a branch's own loss and optimizer."""
        return replace(self, study=study)

    def chunks(self, count: int) -> list[slice]:
        """The chunks in which training works through `count` examples, and measurements where memory suffices."""
        return chunks(count, self.study.chunk_size)

    @property
    def largest_split(self) -> int:
        """The number of training or of test examples, whichever is larger."""
        return max(len(split) for split in (self.data.train, self.data.test) if split is not None)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor, *, statistics: Statistics = "train") -> Tensor:
        """The outputs (n, o) as a function of the parameters; buffers are left as they are."""
        state: dict[str, Tensor] = dict(zip(self.named_tensors, parameters, strict=True))
        copies: dict[int, Tensor] = {}  # of a buffer that stands under two names one
        for name, buffer in self.named_buffers.items():
            state[name] = copies.setdefault(id(buffer), buffer.clone())
        with nullcontext() if statistics == "train" else self._evaluation_mode():
            outputs: Tensor = functional_call(self.model, state, (inputs,))
        return outputs

    def per_example(
        self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor, *, statistics: Statistics = "train"
    ) -> Tensor:
        """The losses (n,) as a function of the parameters."""
        return self.loss.per_example(self.forward(parameters, inputs, statistics=statistics), targets)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The model in evaluation mode, without gradients."""
        with self._evaluation_mode(), torch.no_grad():
            yield

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        modes = [module.training for module in self._modules]
        for module in self._modules:
            module.training = False
        try:
            yield
        finally:
            for module, mode in zip(self._modules, modes, strict=True):
                module.training = mode


def choose_device(name: str) -> torch.device:
    """Return the device a study asks for; `auto` is CUDA where there is one, otherwise the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise StudyrunError(f"device: {name}: this machine has no CUDA device that torch can use; write `device: cpu`")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise StudyrunError(f"device: {name}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def build_problem(study: Study, data_folder: Path, findings: Findings | None = None) -> Problem:
    """Load the data, form the groups, build the model, all on the study's device and in its precision.

    Raises what is wrong with any of them: all of it at once, but for what only sound data can tell.
    """
    device, dtype, found = choose_device(study.device), getattr(torch, study.precision), findings or Findings()
    put_back_as_imported(study)
    data, grouping = load_data(study, data_folder, dtype, found)
    model = build_model(study, data, found) if data is not None else None
    found.settle()
    assert data is not None
    assert model is not None
    data = place_data(data, dtype, device)
    problem = Problem(
        study=study,
        data=data,
        grouping=place_grouping(grouping, data, dtype, device),
        model=placed(model, dtype, device).train(),
        dtype=dtype,
        device=device,
    )
    problem.hidden.update(hidden_states(problem))
    return problem


_AS_IMPORTED: dict[str, HiddenState] = {}


def put_back_as_imported(study: Study) -> None:
    """Let the files of people's components hold what they did when they were imported, whatever ran since."""
    for one in (study, *(branch.study for branch in study.branches)):
        triggers = [branch.trigger for branch in one.branches] + ([one.stop.when] if one.stop.when else [])
        groups = [one.groups] if one.groups else []
        fixed: list[Component] = [one.dataset, *groups, one.model, one.loss, one.optimizer, *triggers]
        for component in (*fixed, *(entry.probe for entry in one.probes)):
            name = type(component).__module__
            if not is_peoples(name) or name not in sys.modules:
                continue
            if name in _AS_IMPORTED:
                _AS_IMPORTED[name].put(_AS_IMPORTED[name].first)
            else:
                _AS_IMPORTED[name] = HiddenState({"file": sys.modules[name], "class": type(component)})


def hidden_states(problem: Problem) -> dict[str, HiddenState]:
    """What the code of a study's components keeps by itself, found anew at the beginning of each process."""
    studies = (problem.study, *(branch.study for branch in problem.study.branches))
    training: dict[str, object] = {f"model {problem.study.names.get('model', '')!r}": problem.model}
    probing: dict[str, object] = {}
    for study in studies:
        training |= (
            _code_of("model", study.model) | _code_of("loss", study.loss) | _code_of("optimizer", study.optimizer)
        )
        for entry in study.probes:
            probing |= _code_of(f"probe {entry.label!r}", entry.probe)
        if study.stop.when is not None:
            probing |= _code_of("stop.when", study.stop.when)
    for branch in problem.study.branches:
        probing |= _code_of(f"branches.{branch.name}.at", branch.trigger)
    return {name: HiddenState(roots, problem.tensors) for name, roots in (("training", training), ("probing", probing))}


def _code_of(what: str, component: Component) -> dict[str, object]:
    """Somebody's own component: its class, and the file that it stands in."""
    kind = type(component)
    if not is_peoples(kind.__module__):
        return {}
    return {f"{what}: {kind.__name__}": kind, f"{what}: its file": sys.modules.get(kind.__module__)}


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def fingerprint(data: Data) -> dict[str, Any]:
    """Sizes and SHA-256 of each split's bytes, so that two runs can be seen to have had the same data."""
    splits = {"train": data.train, "test": data.test}
    return {name: _fingerprint_split(split) for name, split in splits.items() if split is not None}


def state_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, with their names: two models of one digest are the same to the bit."""
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def trained_on(data: Data) -> int:
    """How many test examples have, byte for byte, the inputs of a training example."""
    if data.test is None:
        return 0
    known = set(_rows(data.train.inputs))
    return sum(row in known for row in _rows(data.test.inputs))


def _rows(inputs: Tensor) -> Iterator[bytes]:
    """A digest of each example's bytes."""
    return (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in inputs.cpu().numpy())


def _fingerprint_split(split: Split) -> dict[str, Any]:
    digest = hashlib.sha256()
    for tensor in (split.inputs, split.targets):
        digest.update(tensor.cpu().numpy().tobytes())
    return {"examples": len(split), "shape": list(split.inputs.shape[1:]), "sha256": digest.hexdigest()}
