"""Everything about an arm that changes, as a step begins: what a fork copies and a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from studyrun.component import Carry
from studyrun.engine.plain import decode, encode

PEOPLES = ("optimizer", "carries", "triggers", "spectral", "inner")
"""Parts that people's own code returns: of more types than a checkpoint holds as they are."""


@dataclass(slots=True)
class ArmState:
    """The state of an arm as step `step` begins, before its forward pass and its probes.

    Taken at that moment, the step can be done again and comes out the same bit for bit, which is how a branch records
    its own first row and how a resumed run goes on. Carries are never written to in place, so references suffice.
    `reached_by` is the arm whose training came to this step: where a branch has not stepped yet, an ancestor.
    `options` are those of the optimizer's groups that it has changed itself, `hidden` what people's code keeps outside
    of all this, and `inner` the slots of optimizers within the optimizer. `smaller_chunks` are those of what ran short
    of memory before this step (`MeasuringChunks`).
    """

    step: int
    time: float
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    optimizer: dict[int, dict[str, Any]]
    optimizer_class: str
    random: dict[str, Any]
    carries: dict[str, Carry] = field(default_factory=dict)
    triggers: dict[str, Carry] = field(default_factory=dict)
    spectral: Mapping[str, Carry] = field(default_factory=dict)
    reached_by: str = ""
    options: list[dict[str, Any]] = field(default_factory=list)
    hidden: dict[str, Any] = field(default_factory=dict)
    inner: dict[str, Any] = field(default_factory=dict)
    smaller_chunks: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and tensors, which `torch.load(weights_only=True)` reads back."""
        content = {name: getattr(self, name) for name in self.__slots__}
        return {name: encode(value) if name in PEOPLES else value for name, value in content.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ArmState:
        """The inverse of `to_dict`."""
        return cls(**{name: decode(value) if name in PEOPLES else value for name, value in content.items()})
