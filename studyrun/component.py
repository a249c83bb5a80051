"""The contracts: one abstract class per kind of component, and what the engine and the report hand to each.

A component is one frozen Pydantic class. Its fields are its YAML keys, its methods are what it does, and its state
travels outside it. This module imports neither torch nor matplotlib, so that reading a study stays cheap; their types
appear in annotations alone. Shapes: n examples, p parameters (flattened in the model's order), g groups, o outputs.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    import numpy as np
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure
    from torch import Tensor, nn

    from studyrun.curvature import Eigenpairs, SymmetricOperator
    from studyrun.trace.channel import Channel
    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.series import Series

Carry = Any  # tensors, numbers, texts, and lists and dicts of them: what a checkpoint holds without pickled code
Reading = Mapping[str, Any]  # channel name to a number, numpy array or tensor of the channel's shape
SplitName = Literal["train", "test"]
Statistics = Literal["train", "eval"]  # what batch norm divides by: the batch's own statistics or the running ones
OperatorKind = Literal["hessian", "gauss_newton", "fisher"]
Along = Literal["time", "step"]
Purpose = Literal["init", "order", "subset", "probe"]


class Options(BaseModel):
    """A block of options: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Component(Options, ABC):
    """What every kind shares. The file's stem is the component's name in YAML."""


COMPONENT = "x-component"  # the key of an option's JSON schema that says which kind of component it is


@dataclass(frozen=True, slots=True)
class Nested:
    """Marks an option that is itself a component: in YAML a block with `use`, in Python an instance."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(self._written)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {COMPONENT: self.kind}

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        """The instance; a block has become one before, where its faults could be reported at their lines."""
        built = (info.context or {}).get(info.field_name) if isinstance(value, dict | str) else value
        if not isinstance(built, KINDS[self.kind].contract):
            raise ValueError(f"an instance of a {KINDS[self.kind].singular} would be right")
        return built

    def _written(self, value: Component) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(value).__name__).lower()
        return {"use": name, **dict(fields_of(value))}

    @classmethod
    def kinds(cls, contract: type[Options]) -> dict[str, str]:
        """The options of a class that are components, with their kinds."""

        def marked(annotation: Any) -> Iterator[str]:
            for part in getattr(annotation, "__metadata__", ()) or get_args(annotation):
                if isinstance(part, cls):
                    yield part.kind
                else:
                    yield from marked(part)

        found = {
            field.alias or name: [mark.kind for mark in field.metadata if isinstance(mark, cls)]
            + list(marked(field.annotation))
            for name, field in contract.model_fields.items()
        }
        return {name: kinds[0] for name, kinds in found.items() if kinds}


# --- data -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """Examples in memory: `inputs` (n, ...) and `targets`, int64 (n,) for classes or floating (n, o) for regression."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Tensor | slice) -> Split:
        """The examples at `indices`, in that order."""
        return Split(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its splits, the names of its classes (empty for regression) and how many outputs a model needs.

    `mean` and `deviation` (per channel) undo the normalisation, so that images can be drawn; empty where there is none.
    """

    train: Split
    test: Split | None
    classes: tuple[str, ...]
    outputs: int
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.train.inputs.shape[1:])

    def centroid_distances(self, indices: Tensor, centroids: Tensor | None = None) -> Tensor:
        """How far the training examples at `indices` lie from the centroid of their labelled class, float64.

        ‖x_i − μ_{y_i}‖₂ with μ (classes, ...) as given, or else the class means of the training set.
        """
        import torch

        inputs, labels = self.train.inputs, self.train.targets
        if centroids is None:
            centroids = torch.stack([inputs[labels == label].mean(0) for label in range(len(self.classes))])
        apart = ((inputs[some] - centroids[labels[some]]).double().flatten(1) for some in torch.split(indices, 1024))
        return torch.cat([torch.linalg.vector_norm(rows, dim=1) for rows in apart])


@dataclass(frozen=True, slots=True)
class Grouping:
    """Named groups of training examples, with the data they belong to (a grouping may replace examples).

    `members` maps a group's name to the int64 indices of its examples in `data.train`. `centroids` (classes, ...) are
    the class means that the groups were made from, where there are such. `facts` are numbers worth recording.
    """

    data: Data
    members: Mapping[str, Tensor]
    centroids: Tensor | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


Generators = Callable[[str], "torch.Generator"]
"""Give a purpose (any text) and get a fresh generator on the CPU, seeded by that purpose and the study's seed alone."""


class Dataset(Component):
    """Where the examples come from."""

    @abstractmethod
    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the data, normalised, on the CPU in float32 or float64.

        `folder` is the user's data folder; `subset` draws whatever this data set samples. Raises
        `DataUnavailableError` naming the file that was expected and where.
        """

    def fetch(self, folder: Path) -> str:
        """Download into `folder` whatever `load` needs, and say what was done."""
        return "nothing to download: this data set is generated"


class Groups(Component):
    """Which training examples are followed together."""

    @abstractmethod
    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the groups, and the data with any example that the groups replace. Must not change `data` in place."""


# --- model, loss, optimizer -----------------------------------------------------------------------------------------


class Model(Component):
    """What is trained."""

    @abstractmethod
    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the module in float64 on the CPU, initialised from `init` alone.

        The engine converts it to the study's precision and device, so that one seed names one initialisation.
        """


class Loss(Component):
    """What is minimised: the mean over the training examples of a loss per example."""

    units: ClassVar[str] = "1"

    @abstractmethod
    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, shape (n,), differentiable in `outputs` (n, o)."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return which examples are classified rightly, bool (n,), or None where the targets are no classes."""
        if targets.is_floating_point():
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


# --- measuring ------------------------------------------------------------------------------------------------------


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


class Probe(Component):
    """A measurement. It must leave no mark on training: same parameters, buffers and random state, bit for bit."""

    cites: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    """Figure components that show this probe in a report; empty: each channel is drawn by its dimensions."""
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 1}

    @abstractmethod
    def channels(self, context: Context) -> Sequence[Channel]:
        """Return what a reading holds. Raises `ProbeError` where the study lacks what this probe needs."""

    def eigenpair_request(self, context: Context) -> EigenpairRequest | None:
        """Return what this probe will ask of `snapshot.eigenpairs`, so that one solve serves all."""
        return None

    def triggers(self) -> Mapping[str, Trigger]:
        """Return the triggers among the options, by option: they are checked before the run, as a branch's are."""
        options = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: option for name, option in options if isinstance(option, Trigger)}

    def start(self, context: Context) -> Carry:
        """Return the carry for the first measurement."""
        return None

    @abstractmethod
    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        """Return the reading, one entry for each channel, and the next carry. `carry` itself must stay as it was."""


# --- triggers -------------------------------------------------------------------------------------------------------


class Moment(Instant, Protocol):
    """One step as triggers see it, after its probes."""

    @property
    def train_loss(self) -> float:
        """The mean training loss; free under full-batch optimizers, one pass over the data under others."""

    def reading(self, label: str) -> Mapping[str, np.ndarray] | None:
        """What the probe with this label recorded at this very step, or None where it was not due."""

    def channels(self, label: str) -> Mapping[str, Channel]:
        """The channels of the probe with this label."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the study's probes, in order."""


@dataclass(frozen=True, slots=True)
class Firing:
    """Why a trigger fired: the value that was seen, what it was held against, and both in words."""

    value: float
    threshold: float
    reason: str


class Trigger(Component):
    """A condition on what has been measured. It starts a branch, or ends an arm."""

    def watches(self) -> Sequence[str]:
        """Return the labels of the probes this trigger cannot do without; the study is checked for them."""
        return ()

    def check_context(self, context: Context, channels: Mapping[str, Mapping[str, Channel]]) -> None:
        """Raise `ComponentError` if this trigger can never work here; `channels` is by probe label and name."""

    def start(self) -> Carry:
        """Return the carry for the first check."""
        return None

    @abstractmethod
    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        """Return why the trigger fires at this step, or None, and the next carry."""

    def unfired(self, carry: Carry) -> str:
        """Say what was seen instead, for a branch that never started."""
        return "its condition was never met"


TriggerOption = Annotated[Trigger, Nested("triggers")]
"""The type of an option of a probe that is a trigger: `freeze: {use: edge_of_stability}`."""


# --- report ---------------------------------------------------------------------------------------------------------


class Canvas(Protocol):
    """What a figure draws on: axes in the house style, colours that stay the same for one arm or group throughout."""

    def axes(self, rows: int = 1, columns: int = 1, *, share_x: bool = True, height: float = 2.6) -> Sequence[Axes]:
        """Return rows × columns axes, row by row. `height` is one row's, in inches."""

    def color(self, name: str) -> str:
        """Return the colour that stands for an arm, a group or any other name in this whole report."""

    def line_style(self, arm: str) -> str:
        """Return the line style of an arm: solid for the trunk."""

    def line(
        self,
        axes: Axes,
        series: Series,
        *,
        label: str,
        color: str,
        style: str = "-",
        arm: str | None = None,
        smooth: float = 0.0,
    ) -> None:
        """Draw a series: its median as a line, its spread over seeds as a band; its numbers go to the CSV.

        With `arm`, the line belongs to that arm and `label` names something else, a group say: the line takes the
        arm's style, and the legend explains labels by colour and arms by style. With `smooth`, the line is a running
        mean over that share of the x range, and what was recorded stands pale behind it.
        """

    def share_y(self, axes: Sequence[Axes], scale: str = "auto") -> None:
        """Give axes one y scale, so that their heights compare: log, linear, or auto: log if every line is positive."""

    def mark(
        self,
        axes: Axes | Sequence[Axes],
        at: float,
        label: str,
        *,
        color: str = "#6E6E6E",
        level: bool = False,
        span: tuple[float, float] | None = None,
    ) -> None:
        """Draw a labelled line at the moment x = `at` through all the axes, or with `level` at the height y = `at`.

        `span` is where a moment lies over seeds, or the part of the x axis that a level stands for. Labels stand in
        the margins, kept clear of one another.
        """

    def mark_forks(self, axes: Axes | Sequence[Axes], ensemble: Ensemble, *, along: Along = "time") -> str:
        """Mark where arms fork and meet their own thresholds (t*, t**); return that in words, for the caption."""

    def table(self, name: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """Add columns of equal length to the figure's CSV, for what is drawn by other means than `line`."""

    def draw_channel(self, ensemble: Ensemble, probe: str, channel: str, *, along: Along = "time") -> None:
        """Draw any channel by its dimensions: a line per arm, per arm and label, or quantiles of many."""

    @property
    def figure(self) -> MatplotlibFigure:
        """The figure behind the axes."""


class Figure(Component):
    """A picture, drawn from traces alone."""

    @abstractmethod
    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        """Draw, and return the caption. Raises `NothingToDrawError` if the channels it needs were not recorded."""


class ComparingFigure(Figure):
    """A picture of all conditions of a sweep at once; of a lone run, of that one."""

    @abstractmethod
    def draw_all(self, ensembles: Sequence[Ensemble], canvas: Canvas) -> str:
        """Draw, and return the caption; each ensemble holds the runs of one condition and has a name for it."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        """Draw a lone condition."""
        return self.draw_all((ensemble,), canvas)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim decided: does it hold (None: undecidable), its statistic, an interval, in words, over how many runs."""

    holds: bool | None
    statistic: float | None
    interval: tuple[float, float] | None
    sentence: str
    runs: int

    @classmethod
    def on_sign(
        cls, numbers: Sequence[np.ndarray], what: str, places: Sequence[str], *, positive: bool = True
    ) -> Verdict:
        """Decide whether numbers have one sign at every place: `numbers` holds (places,) for each run.

        The statistic is the median over runs, of several places at the one that speaks least for the claim. Of several
        runs its bootstrap interval has to exclude zero; a lone run has none, and the sentence says that it is one. A
        run that is NaN at a place does not count there; where all are, nothing can be decided.
        """
        from statistics import median

        from studyrun.trace.series import bootstrap_interval

        columns = [[float(value) for value in column if value == value] for column in zip(*numbers, strict=True)]
        if not columns or not all(columns):
            return cls(None, None, None, f"{what}: cannot be decided, no run has a number there", 0)
        found = [f"{median(column):+.4g}".replace("-", "−") for column in columns]
        words = ", ".join(f"{number} {place}" for number, place in zip(found, places, strict=True))
        side = 1 if positive else -1
        weakest = min(columns, key=lambda column: min(side * end for end in bootstrap_interval(column)))
        ends, runs = bootstrap_interval(weakest), len(weakest)
        sentence = f"{what}: {words} ({'one run' if runs == 1 else f'medians of {runs} runs'})"
        return cls(min(side * end for end in ends) > 0, median(weakest), ends if runs > 1 else None, sentence, runs)


class Claim(Component):
    """An assertion about a study, decided from its traces alone."""

    @abstractmethod
    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide the claim over all runs of the ensemble."""


class ComparingClaim(Claim):
    """An assertion about the conditions of a sweep against one another."""

    @abstractmethod
    def decide_all(self, ensembles: Sequence[Ensemble]) -> Verdict:
        """Decide the claim; each ensemble holds the runs of one condition and has a name for it."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide the claim on a lone condition."""
        return self.decide_all((ensemble,))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of component: the folder and entry-point group it is found under, its singular, its contract."""

    folder: str
    singular: str
    contract: type[Component]


KINDS: Mapping[str, Kind] = {
    kind.folder: kind
    for kind in (
        Kind("models", "model", Model),
        Kind("datasets", "dataset", Dataset),
        Kind("groups", "groups", Groups),
        Kind("losses", "loss", Loss),
        Kind("optimizers", "optimizer", Optimizer),
        Kind("probes", "probe", Probe),
        Kind("triggers", "trigger", Trigger),
        Kind("figures", "figure", Figure),
        Kind("claims", "claim", Claim),
    )
}


def fields_of(component: Component) -> Iterator[tuple[str, Any]]:
    """The options of a component with their values, as plain data."""
    yield from component.model_dump(mode="json").items()
