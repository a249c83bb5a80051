from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from studyrun.plugin import Field, Optimizer, Threshold, model_validator


class Descent(Optimizer):
    """Steps against the gradient."""

    lr: Annotated[float, Field(gt=0)]
    """The learning rate η."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Descent:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum > 0")
        return self

    def build(self, parameters: Iterable[Any]) -> Any:
        raise NotImplementedError

    def threshold(self) -> Threshold | None:
        return Threshold(2 / self.lr)
