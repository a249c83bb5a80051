from __future__ import annotations

from typing import Annotated, Any, Literal

from studyrun.plugin import Field, Model, Options


class Init(Options):
    """How weights begin."""

    scheme: Literal["normal", "uniform"]
    scale: float = 1.0


class Net(Model):
    """A net of so many layers."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (4,)
    activation: Literal["relu", "elu", "tanh"] = "relu"
    init: Init = Init(scheme="normal", scale=2.0)
    limit: int | None = 3
    """May be null, which is not the default."""

    def build(self, example_shape: tuple[int, ...], outputs: int, init: Any) -> Any:
        raise NotImplementedError
