"""The model of a run, given back as a plain torch module with the weights of any step of which they were kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from studyrun.engine import checkpoint
from studyrun.engine.building import CPU, build_model, load_data, made
from studyrun.engine.checkpoint_folder import LATEST, end_of, kept_steps
from studyrun.engine.findings import Findings
from studyrun.engine.hidden_state import HiddenState
from studyrun.engine.model_check import placed
from studyrun.engine.random_state import forked
from studyrun.engine.sources import check_sources
from studyrun.engine.state import ArmState
from studyrun.engine.weights import Weights, left_out, read_weights, weights_in
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.registry import Registry
from studyrun.study import Study, load_study
from studyrun.trace.folder import read_json
from studyrun.trace.weights import best_of, final_of, read_metadata, snapshots_of


@dataclass(frozen=True)
class Trained:
    """The weights of one arm of the run in `folder`. `mark` names its study, and `data_folder` holds its data set.

    A step's weights lie by themselves (the last, the best and snapshots), in a checkpoint that was kept, or in both.
    """

    folder: Path
    arm: str
    mark: str
    data_folder: Callable[[], Path]

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of which there are weights, in order."""
        return tuple(sorted({*self._files, *self._states}))

    def state_dict(self, step: int | None = None) -> Weights:
        """The model's `state_dict` at a step, by default the last. Raises `RunFolderError` where there is none."""
        step = self._step(step)
        return read_weights(self._files[step]) if step in self._files else weights_in(self.model(step))

    def model(self, step: int | None = None) -> nn.Module:
        """The model at a step, by default the arm's last: on the CPU, in the study's precision, in evaluation mode.

        It is made by the study's own component. Raises `RunFolderError` where there are no weights of that step, or
        where they do not fit what the component makes now.
        """
        step = self._step(step)
        module = self._built()
        if step in self._states:
            _put(module, self._state(step), f"model {self._study.names.get('model', '')!r}")
        if step in self._files:
            self._load(module, read_weights(self._files[step]))
        return module.eval()

    def _step(self, step: int | None) -> int:
        there = ", ".join(f"{one:,}" for one in self.steps) or "none"
        if step is None and not final_of(self.folder, self.arm).is_file():
            raise RunFolderError(
                f"{self.folder}: there is no {final_of(self.folder, self.arm).name}: arm {self.arm!r} has not come to "
                f"an end, or a version ran it that did not keep its weights; steps of which there are: {there}"
            )
        wanted = self._last if step is None else step
        if wanted not in self.steps:
            raise RunFolderError(
                f"{self.folder}: the weights of step {wanted:,} of arm {self.arm!r} were not kept; steps of which "
                f"there are: {there} (`checkpoints: {{keep: n}}` or `{{snapshots: n}}` keeps every n-th)"
            )
        return wanted

    @property
    def _last(self) -> int:
        return int(self._own(final_of(self.folder, self.arm))["step"])

    @cached_property
    def _files(self) -> Mapping[int, Path]:
        """The weights that lie by themselves, by step."""
        paths = [*snapshots_of(self.folder, self.arm), best_of(self.folder, self.arm), final_of(self.folder, self.arm)]
        return {int(self._own(path)["step"]): path for path in paths if path.is_file()}

    def _own(self, path: Path) -> Mapping[str, str]:
        facts = read_metadata(path)
        if (facts.get("study"), facts.get("arm")) != (self.mark, self.arm) or not facts.get("step", "").isdigit():
            raise RunFolderError(f"{path} holds no weights of arm {self.arm!r} of this run")
        return facts

    @cached_property
    def _states(self) -> Mapping[int, Path]:
        """The whole states that were kept, by step; the latest too, of an arm that is not at its end."""
        ends = [end_of(self.folder, self.arm), self.folder / "checkpoints" / LATEST]
        found = dict(kept_steps(self.folder, self.arm))
        for path in ends:
            content = checkpoint.load(path) if path.is_file() else {}
            if content.get("arm") == self.arm and content.get("state"):
                found[int(content["state"]["step"])] = path
        return found

    def _state(self, step: int) -> ArmState:
        content = checkpoint.load(self._states[step])
        if content.get("study", self.mark) != self.mark or content.get("arm", self.arm) != self.arm:
            raise RunFolderError(f"{self._states[step]} holds no state of arm {self.arm!r} of this run")
        return ArmState.from_dict(content["state"])

    @cached_property
    def _study(self) -> Study:
        return load_study(self.folder / "study.yaml", registry=Registry.for_run(self.folder))

    def _built(self) -> nn.Module:
        """The model as its component makes it; nothing but its parameters is of any account."""
        everything = read_json(self.folder / "provenance.json")
        try:
            check_sources(self.folder, everything)
        except RunFolderError as error:
            raise RunFolderError(str(error).replace("cannot be resumed", "cannot give back its model")) from error
        facts, dtype = everything.get("model"), getattr(torch, self._study.precision)
        if isinstance(facts, dict) and "outputs" in facts:
            with forked(self._study.seed.init, "init", device=CPU):
                module = made(self._study, tuple(facts["example_shape"]), int(facts["outputs"]))
            if not any(map(is_lazy, (*module.parameters(), *module.buffers()))):
                return placed(module, dtype, CPU)
        return placed(self._with_data(), dtype, CPU)

    def _with_data(self) -> nn.Module:
        """The model where the data have to say its sizes: layers that learn theirs, and runs of older versions."""
        findings = Findings()
        data, _ = load_data(self._study, self.data_folder(), getattr(torch, self._study.precision), findings)
        module = build_model(self._study, data, findings) if data is not None else None
        findings.settle()
        assert module is not None, "there are findings where there is no model"
        return module

    def _load(self, module: nn.Module, weights: Weights) -> None:
        try:
            found = module.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise self._unfit(str(error)) from error
        missing = sorted({*found.missing_keys} - {*left_out(module)})
        if missing or found.unexpected_keys:
            names = ", ".join([*missing, *found.unexpected_keys])
            raise self._unfit(f"{names} {'is' if len(names.split(', ')) == 1 else 'are'} in one of them alone")

    def _unfit(self, why: str) -> StudyrunError:
        name = self._study.names.get("model", "")
        return RunFolderError(f"{self.folder}: the weights do not fit what model {name!r} makes now: {why}")


def _put(module: nn.Module, state: ArmState, name: str) -> None:
    """Let a fresh module hold a state: parameters, buffers, saved ones or not, and what it keeps in attributes."""
    with torch.no_grad():  # frozen ones stand among the buffers
        for which, parameter in module.named_parameters():
            parameter.copy_(state.parameters[which] if which in state.parameters else state.buffers[which])
    for prefix, part in module.named_modules():
        for which in part._buffers:
            value = state.buffers.get(f"{prefix}.{which}" if prefix else which)
            part._buffers[which] = None if value is None else value.clone()
    hidden = HiddenState({name: module})
    changed: Mapping[str, Any] = state.hidden.get("training", {})
    hidden.put_changes({path: change for path, change in changed.items() if path in hidden.first})
