"""A study in memory: validated, with its components built, and immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from studyrun.component import Claim, Dataset, Figure, Groups, Loss, Model, Optimizer, Options, Probe, Trigger
from studyrun.study.schedule import Schedule

Precision = Literal["float32", "float64"]
TRUNK = "baseline"


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


class Checkpoints(Options):
    """How often the run is written down so that it can be resumed, and which steps are kept to branch from later."""

    seconds: Annotated[float, Field(gt=0)] = 60.0
    """At most this much work is lost when the process dies."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Also every n steps."""
    keep: Annotated[int, Field(ge=1)] | None = None
    """Keep the checkpoint of every n-th step for good."""


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
    source: Path | None = None

    def to_yaml(self) -> str:
        """The resolved study as YAML that loads again to an equal study."""
        from studyrun.study.yaml_writer import dump

        return dump(self.document)
