"""What probes are shown: the arm as a whole, and the training state at one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from studyrun.component.options import Carry, OperatorKind, SplitName, Statistics

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from studyrun.component.data import Data, Grouping
    from studyrun.component.training import Loss, Optimizer
    from studyrun.component.trigger import Firing, Trigger
    from studyrun.curvature import Eigenpairs, SymmetricOperator


class Context(Protocol):
    """What stands for a whole arm: sizes, names, the components that probes and triggers may ask."""

    @property
    def data(self) -> Data:
        """The data, on the study's device and in its precision."""

    @property
    def grouping(self) -> Grouping | None:
        """The groups with their examples, or None where the study has none."""

    @property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter names and shapes, in the order of flat vectors."""

    @property
    def loss(self) -> Loss:
        """The loss of this arm."""

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of this arm."""

    @property
    def dtype(self) -> torch.dtype:
        """The study's precision."""

    @property
    def device(self) -> torch.device:
        """The study's device."""

    @property
    def classifies(self) -> bool:
        """Whether targets are classes, and the loss says which of them an output stands for."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order. Raises `ProbeError` where the study has none."""

    @property
    def parameters(self) -> int:
        """The number of parameters p."""


class Instant(Protocol):
    """One step of an arm."""

    @property
    def step(self) -> int:
        """The step: the state is θ_step."""

    @property
    def time(self) -> float:
        """The effective time Σ η of the steps taken."""

    @property
    def context(self) -> Context:
        """What stands for the whole arm."""


class Snapshot(Instant, Protocol):
    """The training state at one step, as probes see it. Everything here is computed once, on first use, and shared.

    Tensors handed out are on the study's device and must not be written to; the engine checks.
    """

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The parameters by name, without gradient."""

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh generator for this step and purpose, on the CPU. The only randomness a probe may use."""

    def outputs(self, inputs: Tensor) -> Tensor:
        """The model's outputs (n, o) on any inputs (n, ...), without gradient, in chunks."""

    def losses(self, split: SplitName = "train") -> Tensor:
        """The loss of each example, (n,), without gradient."""

    def correct(self, split: SplitName = "train") -> Tensor | None:
        """Which examples are classified rightly, bool (n,); None for regression."""

    @property
    def train_loss(self) -> float:
        """The mean training loss, in float64."""

    @property
    def gradient(self) -> Tensor:
        """The gradient of the training loss, flat (p,)."""

    @property
    def group_gradients(self) -> Tensor:
        """The gradient of each group's mean loss, (g, p)."""

    @property
    def chunk_size(self) -> int:
        """How many examples may pass through the model at a time."""

    @property
    def hessian(self) -> SymmetricOperator:
        """The Hessian of the training loss as products with vectors (p,) and blocks (p, b)."""

    def operator(
        self, kind: OperatorKind, *, group: str | None = None, statistics: Statistics = "train"
    ) -> SymmetricOperator:
        """The Hessian, the Gauss–Newton matrix or the empirical Fisher of the training loss, or of a group's mean loss.

        Built once a step for each question; its products are counted.
        """

    def eigenpairs(
        self,
        k: int,
        tolerance: float,
        *,
        statistics: Statistics = "train",
        above: float | None = None,
        most: int | None = None,
    ) -> Eigenpairs:
        """The algebraically largest eigenpairs of the Hessian, from one solve a step at the tightest tolerance due.

        They are k; with `above`, as many more as it takes for the last to lie below that level, `most` at most.
        """

    def follow(
        self, operator: SymmetricOperator, k: int, tolerance: float, exploration: float, carry: Carry, purpose: str
    ) -> tuple[Eigenpairs, Carry]:
        """The k algebraically largest eigenpairs of any operator, from where the last solve left off.

        `carry` is None at first and then what this returned last; `exploration` is as in `EigenpairRequest`, and
        `purpose` names the random numbers.
        """

    @property
    def preconditioner(self) -> Tensor:
        """The diagonal (p,) of the optimizer's P, an update being −η P⁻¹ m: ones for gradient descent.

        NaN before the first step of an optimizer that learns its P, and where P is not known.
        """

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor, *, statistics: Statistics = "train") -> Tensor:
        """The outputs (n, o), differentiable in both arguments; buffers stay as they are.

        `train` is the model as it trains: batch norm uses the statistics of these very inputs. `eval` is the model in
        evaluation mode: running statistics, no dropout.
        """

    def per_example(
        self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor, *, statistics: Statistics = "train"
    ) -> Tensor:
        """The losses (n,) of any examples, differentiable in `parameters` (in the model's order)."""

    def firing(self, trigger: Trigger, carry: Carry) -> tuple[Firing | None, Carry]:
        """Ask a trigger that a probe holds in its options; it sees what the probes before recorded at this step."""


@dataclass(frozen=True, slots=True)
class EigenpairRequest:
    """How many eigenpairs a probe will ask its snapshot for, and how tightly: residual ≤ tolerance · |λ|.

    `exploration` is the chance, for each training step since the last solve, that a warm-started one also follows a
    fresh random vector, in case an eigenvalue has grown large where the last did not look. With `above`, pairs are
    added to the k until the last lies below that level, or there are `most`.
    """

    k: int
    tolerance: float
    exploration: float = 0.01
    statistics: Statistics = "train"
    above: float | None = None
    most: int | None = None

    def joint(self, other: EigenpairRequest) -> EigenpairRequest:
        """The request that serves both. Raises ValueError for two different statistics."""
        if self.statistics != other.statistics:
            raise ValueError("two statistics are two losses: no solve serves both")
        levels = [request.above for request in (self, other) if request.above is not None]
        return EigenpairRequest(
            max(self.k, other.k),
            min(self.tolerance, other.tolerance),
            max(self.exploration, other.exploration),
            self.statistics,
            min(levels, default=None),
            max((request.most for request in (self, other) if request.most is not None), default=None),
        )

    def serves(self, other: EigenpairRequest) -> bool:
        """Whether a solve for this request answers the other one, whatever their explorations."""
        return replace(self.joint(other), exploration=self.exploration) == self

    def wanted(self, values: Tensor) -> int:
        """How many of these eigenvalues, descending, were asked for."""
        if self.above is None:
            return min(self.k, len(values))
        return min(max(self.k, min(1 + int((values > self.above).sum()), self.most or len(values))), len(values))
