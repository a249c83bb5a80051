"""What a torch optimizer keeps: its slots for each parameter, and the options of its groups that it changes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from studyrun.engine.plain import NotPlainError, copied, decode, encode, is_plain, same
from studyrun.errors import ComponentError


class Slots:
    """The state of one torch optimizer. `who` names it in errors.

    Its groups' options are those that a study sets, so a branch's own stand. What the optimizer changes among them as
    steps are taken, such as a count of its steps, belongs to the state. The learning rate is not its to change:
    effective time and the edge of stability follow it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, who: str) -> None:
        self.optimizer, self.who = optimizer, who
        self._built = self._options()
        self._rates = self._learning_rates()

    def save(self) -> dict[str, Any]:
        """Slots by the parameter's number, and the options that are not as they were built."""
        groups = [
            {name: value for name, value in now.items() if name not in built or not same(value, built[name])}
            for now, built in zip(self._options(), self._built, strict=True)
        ]
        try:
            return {"state": copied(self.live()), "groups": groups if any(groups) else []}
        except NotPlainError as error:
            raise ComponentError(f"{self.who} keeps what a checkpoint cannot hold: {error}") from error

    def live(self) -> dict[Any, Any]:
        """The slots themselves, by the parameter's number."""
        slots: dict[Any, Any] = torch.optim.Optimizer.state_dict(self.optimizer)["state"]
        return slots

    def load(self, state: Mapping[Any, Any], groups: list[dict[str, Any]]) -> None:
        """Take over what `save` returned, in the very types that it had."""
        numbered = dict(enumerate(parameter for group in self.optimizer.param_groups for parameter in group["params"]))
        self.optimizer.state.clear()
        for key, value in state.items():
            owner = numbered.get(key, key) if type(key) is int else key
            self.optimizer.state[owner] = _placed(copied(value), owner)
        for group, built, changed in zip(
            self.optimizer.param_groups, self._built, groups or [{}] * len(self._built), strict=True
        ):
            group |= {name: decode(value) for name, value in {**built, **changed}.items()}

    def check_rates(self, step: int) -> None:
        """Raise `ComponentError` if the last step changed a learning rate."""
        if len(self.optimizer.param_groups) != len(self._built):
            raise ComponentError(f"{self.who} added a group of parameters in step {step}; make all groups in `build`")
        for before, now in zip(self._rates, self._learning_rates(), strict=True):
            if before != now:
                raise ComponentError(
                    f"{self.who} changed its own learning rate in step {step}, from {before:g} to {now:g}: effective "
                    "time and the edge of stability follow the rate that the study names. Take the schedule out of "
                    "it; a branch goes on at another rate (`set: {optimizer.lr: ...}`)"
                )

    def check_built(self) -> None:
        """Raise `ComponentError` for a scheduler of torch's, which would change the rate sooner or later."""
        if any("initial_lr" in group for group in self.optimizer.param_groups):
            raise ComponentError(
                f"{self.who} has a learning-rate scheduler: effective time and the edge of stability follow the rate "
                "that the study names. Take the scheduler out of it; a branch goes on at another rate "
                "(`set: {optimizer.lr: ...}`)"
            )

    def _options(self) -> list[dict[str, Any]]:
        return [
            {name: encode(copied(value)) for name, value in group.items() if name != "params" and is_plain(value)}
            for group in self.optimizer.param_groups
        ]

    def _learning_rates(self) -> list[float]:
        return [float(group.get("lr", 0.0)) for group in self.optimizer.param_groups]


def _placed(value: Any, owner: Any) -> Any:
    """Slots on the parameter's device, where an older checkpoint has them on the CPU: all but counts of steps."""
    if not isinstance(owner, Tensor) or owner.device.type == "cpu" or not isinstance(value, dict):
        return value
    moved = {name: one.to(owner.device) for name, one in value.items() if isinstance(one, Tensor) and one.dim()}
    return {**value, **moved}
