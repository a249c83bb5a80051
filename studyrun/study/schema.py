"""A study in memory: validated, with its components built, and immutable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from studyrun.component import Claim, Dataset, Figure, Groups, Loss, Model, Optimizer, Options, Probe, Trigger
from studyrun.registry import Listing
from studyrun.study.schedule import Schedule

Precision = Literal["float32", "float64"]
TRUNK = "baseline"
DEVICE = r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$"


class Seeds(Options):
    """One seed for each purpose. A bare number in YAML stands for all four."""

    init: Annotated[int, Field(ge=0)] = 0
    """The model's initialisation."""
    order: Annotated[int, Field(ge=0)] = 0
    """The order of mini-batches, and any randomness inside the model while it trains."""
    subset: Annotated[int, Field(ge=0)] = 0
    """Which examples the data set and the groups draw."""
    probe: Annotated[int, Field(ge=0)] = 0
    """Whatever the probes draw."""


CHANNEL = r"^[A-Za-z][A-Za-z0-9_]*\.[A-Za-z][A-Za-z0-9_]*$"


def _names_a_channel(name: str) -> str:
    if not re.match(CHANNEL, name):
        raise ValueError(f"{name!r} names no channel; a probe's label and its channel would be right: loss.test")
    return name


ChannelName = Annotated[str, AfterValidator(_names_a_channel), Field(json_schema_extra={"pattern": CHANNEL})]


class BestStep(Options):
    """Which step of an arm is its best: that of a channel's highest value, or of its lowest."""

    highest: ChannelName | None = None
    """The channel, as label.channel, whose highest value is the best."""
    lowest: ChannelName | None = None
    """The channel, as label.channel, whose lowest value is the best."""

    @model_validator(mode="after")
    def _one(self) -> BestStep:
        if (self.highest is None) == (self.lowest is None):
            raise ValueError("give one of `highest` and `lowest`")
        return self


class Checkpoints(Options):
    """How often the run is written down so that it can be resumed, and which steps are kept to branch from later."""

    seconds: Annotated[float, Field(gt=0)] = 60.0
    """At most this much work is lost when the process dies."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Also every n steps."""
    keep: Annotated[int, Field(ge=1)] | None = None
    """Keep the checkpoint of every n-th step for good."""
    snapshots: Annotated[int, Field(ge=1)] | None = None
    """Keep the weights of every n-th step for good: parameters and buffers alone."""
    best: ChannelName | BestStep | None = None
    """Keep the weights of each arm's best step by this channel, label.channel: of accuracies the highest, of losses
    the lowest. Of any other, say which: {highest: label.channel}."""

    @property
    def best_channel(self) -> tuple[str, str, str]:
        """Label and channel that decide which step is the best, and which value: highest, lowest, or not said."""
        best = self.best
        which = "" if not isinstance(best, BestStep) else "highest" if best.highest else "lowest"
        name = getattr(best, which) if which else str(best)
        label, _, channel = str(name).partition(".")
        return label, channel, which


class Settings(Options):
    """What a study says in single words."""

    title: str
    """One line for a reader; the file's name if left out."""
    cites: tuple[str, ...] = ()
    """What the study draws on, as `arXiv:...` or `doi:...` or any other reference."""
    precision: Precision = "float32"
    """The type of parameters, data and everything computed from them."""
    device: Annotated[str, Field(json_schema_extra={"pattern": DEVICE})] = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N or mps. Auto takes an accelerator if there is one."""
    chunk_size: Annotated[int, Field(ge=1)] = 5000
    """How many examples pass through the model at a time."""

    @field_validator("device")
    @classmethod
    def _names_a_device(cls, device: str) -> str:
        if not re.match(DEVICE, device):
            raise ValueError(f"{device!r} is no device; auto, cpu, cuda, cuda:N (N = 0, 1, ...) or mps would be right")
        return device


class Limits(Options):
    """When an arm ends, other than by a trigger."""

    steps: Annotated[int, Field(ge=0)] | None = None
    """After so many steps."""
    time: Annotated[float, Field(gt=0)] | None = None
    """At this effective time Σ η."""
    loss_below: float | None = None
    """Once the training loss is below this."""


@dataclass(frozen=True, slots=True)
class Stop:
    """When an arm ends: whichever comes first. Divergence always ends an arm."""

    steps: int | None = None
    time: float | None = None
    loss_below: float | None = None
    when: Trigger | None = None


@dataclass(frozen=True, slots=True)
class ProbeEntry:
    """A probe of the study: its component, its name in YAML, its label in the trace, and when it is due."""

    label: str
    use: str
    probe: Probe
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Branch:
    """An arm that forks from another one when its trigger fires there. `study` is what the branch itself runs."""

    name: str
    parent: str
    trigger: Trigger
    use: str
    overrides: Mapping[str, Any]
    study: Study


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure of the report, by its name in YAML and its label (the file name)."""

    label: str
    use: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class ClaimEntry:
    """A claim of the study, by its name in YAML and its label."""

    label: str
    use: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class Member:
    """One point of a sweep: the name of its folder and what it sets, by dotted path."""

    name: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """One study. `document` is the resolved YAML as plain data: loaded again, it gives an equal study."""

    title: str
    cites: tuple[str, ...]
    seed: Seeds
    precision: Precision
    device: str
    chunk_size: int
    model: Model
    dataset: Dataset
    groups: Groups | None
    loss: Loss
    optimizer: Optimizer
    stop: Stop
    probes: tuple[ProbeEntry, ...]
    branches: tuple[Branch, ...]
    figures: tuple[FigureEntry, ...] | None
    claims: tuple[ClaimEntry, ...]
    checkpoints: Checkpoints
    members: tuple[Member, ...]
    document: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    """Section (model, dataset, groups, loss, optimizer) to the component's name in YAML."""
    source: Path | None = field(default=None, compare=False)
    """The file that was loaded."""
    profiles: tuple[str, ...] = field(default=(), compare=False)
    """The profiles that were merged, in order."""
    settings: tuple[str, ...] = field(default=(), compare=False)
    """What was set over the file, as it was given: `optimizer.lr=0.1`."""
    components: tuple[Listing, ...] = field(default=(), compare=False)
    """Every component in use, with its source: what provenance records."""

    def to_yaml(self) -> str:
        """The resolved study as YAML that loads again to an equal study."""
        from studyrun.study.yaml_writer import dump

        return dump(self.document)
