"""What is trained, on which loss, and how its parameters move."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from studyrun.component.options import Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Model(Component):
    """What is trained."""

    @abstractmethod
    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the module in float64 on the CPU, initialised from `init` or the global generators.

        The engine converts it to the study's precision and device, so that one seed names one initialisation.
        """


class Loss(Component):
    """What is minimised: the mean over the training examples of a loss per example."""

    units: ClassVar[str] = "1"

    @abstractmethod
    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, shape (n,), differentiable in `outputs` (n, o)."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return which examples are classified rightly, bool (n,), or None where nobody can say.

        Of several outputs the largest names the class. What a single one stands for only the loss knows, since logits,
        probabilities and margins are parted at different places: it says so by its own `correct`. Nothing is known of
        targets that are no classes.
        """
        if targets.is_floating_point() or outputs.shape[-1] == 1:
            return None
        return outputs.argmax(dim=-1) == targets


@dataclass(frozen=True, slots=True)
class Threshold:
    """The curvature at which an optimizer stops being stable, and which curvature that is (a `standard_name`)."""

    value: float
    quantity: str = "sharpness"


class Optimizer(Component):
    """How parameters move. `lr` is the learning rate η, one unit of effective time being Σ η = 1."""

    lr: float

    @property
    def examples_per_step(self) -> int | None:
        """The batch size, or None for the full training set at every step."""
        return None

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a torch optimizer over `parameters` with these options."""

    @abstractmethod
    def threshold(self) -> Threshold | None:
        """Return the edge of stability of these options, or None where none is known."""

    def preconditioner(self, state: Mapping[str, Any]) -> Tensor | float:
        """Return the diagonal of P for one parameter, where an update is −η P⁻¹ m with P of the last step taken.

        `state` is what the torch optimizer keeps for that parameter, empty before the first step. The result has the
        parameter's shape, or is one number for all of it; NaN where P is not known, or not yet.
        """
        return 1.0
