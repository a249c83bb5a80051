"""Traces that figures meet in people's work and that are awkward to draw: of every probe, in any number and shape.

Each probe declares its own channels, over a small study; what stands in them is made up here by closed forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studyrun.engine.prepare import prepare
from studyrun.registry import Registry
from studyrun.study import load_study
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.writer import TraceWriter

LR = 0.1
STUDY = """\
title: Every probe
model: {use: mlp, hidden: [4]}
dataset: {use: dice, classes: [three, six], size: 24, test_size: 8}
groups: {use: prototypes, per_class: 2, displacement: 3.0}
loss: squared_error
optimizer: {use: gd, lr: 0.1}
stop: {steps: 5}
probes: [%s]
"""
ODD = ("$x_1$", "a^b_c %s {}", "50 %", "_hidden", "\\frac{1}{2}", "猫", "line\nbreak\tand tab", "$", "long name " * 20)
Declared = Mapping[str, Sequence[Channel]]
Fill = Callable[[np.ndarray], np.ndarray]
FILLS: Mapping[str, Fill] = {
    "plain": lambda values: values,
    "constant": lambda values: np.ones_like(values),
    "zero": np.zeros_like,
    "nan": lambda values: np.full_like(values, np.nan),
    "infinite": lambda values: np.full_like(values, np.inf),
    "negative": lambda values: -values,
    "mixed": lambda values: values - 0.5,
    "huge": lambda values: 1e300 * values,
    "tiny": lambda values: 1e-300 * values,
}


@dataclass(frozen=True)
class Awkward:
    """What the trace is like: rows of each probe, what stands in them, groups, and branches of the trunk."""

    rows: int = 12
    fill: str = "plain"
    groups: Sequence[str] = ("inlier", "boundary")
    branches: int = 1
    gaps: bool = False


def declared(folder: Path) -> Declared:
    """The channels of every built-in probe, over a small study."""
    names = [listing.name for listing in Registry().names("probes")]
    path = folder / "study.yaml"
    path.write_text(STUDY % ", ".join(names))
    return prepare(load_study(path), None).channels


def write(folder: Path, declared: Declared, awkward: Awkward) -> Path:
    """Write a run folder with such a trace, every probe in every arm."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY % ", ".join(declared))
    probes = {label: [_regrouped(one, awkward.groups) for one in channels] for label, channels in declared.items()}
    classes = {listing.name: Registry().load("probes", listing.name) for listing in Registry().names("probes")}
    with TraceWriter.create(folder / "trace.h5", title="Awkward", study=STUDY, git_commit="") as writer:
        for place in range(awkward.branches + 1):
            name = ("baseline", "exit")[place] if place < 2 else f"branch_{place}"
            start = 0 if place == 0 else 1 + place * max(1, awkward.rows // 2) // max(1, awkward.branches)
            fork = {"parent": "baseline" if place else "", "fork_step": start, "fork_time": start * LR}
            lr = LR / (1 + place)
            facts = {"state": "complete", "end_reason": "step", "learning_rate": lr, "threshold": 0.1}
            writer.add_arm(name, {**fork, **facts, "threshold_quantity": "sharpness", "trigger_threshold": 0.1})
            for label, channels in probes.items():
                figures = "\n".join(classes[label].figures)
                writer.add_probe(name, label, channels, {"component": label, "figures": figures})
                for step in range(start, start + awkward.rows):
                    reading = {one.name: _reading(one, place, step, awkward) for one in channels}
                    writer.append(name, label, step, start * LR + (step - start) * lr, reading)
    return folder


def _regrouped(channel: Channel, groups: Sequence[str]) -> Channel:
    named = ("group", "other_group")
    dims = [Dimension(dim.name, tuple(groups)) if dim.name in named else dim for dim in channel.dims]
    return replace(channel, dims=tuple(dims), nan="planted")


def _reading(channel: Channel, arm: int, step: int, awkward: Awkward) -> np.ndarray:
    """What is a fact and no measurement stays as it is: a grid, a class, whether a solve converged."""
    fixed = _fixed(channel)
    if fixed is not None:
        return fixed
    places = np.arange(max(1, int(np.prod(channel.shape)))).reshape(channel.shape) / max(1, np.prod(channel.shape))
    values = np.asarray((0.2 + 0.7 * places) * np.exp(-0.05 * step) * (1 + 0.01 * arm), dtype=float)
    if channel.dtype.startswith("int"):
        return values.astype(int)
    filled = FILLS[awkward.fill](values)
    filled = np.where(awkward.gaps and step % 2, np.nan, filled)
    with np.errstate(over="ignore"):
        return filled.astype(channel.dtype)


def _fixed(channel: Channel) -> np.ndarray | None:
    if channel.name == "grid":
        return np.linspace(-1, 20, *channel.shape)
    if channel.name == "member_class":
        return np.broadcast_to(np.arange(channel.shape[-1]) % 2, channel.shape)
    if channel.name == "centroid_along":
        return np.array([-1.0, 1.0])
    if channel.dtype == "bool":
        return np.ones(channel.shape, dtype=bool)
    return None


def many(count: int) -> tuple[str, ...]:
    """Names of that many groups, as those of classes are."""
    return tuple(f"class_{place}" for place in range(count))


def everything() -> Iterator[tuple[str, Awkward]]:
    """Every awkward trace, by name."""
    yield "two arms", Awkward()
    yield "one reading", Awkward(rows=1)
    yield "a hundred groups", Awkward(groups=many(100))
    yield "many branches", Awkward(branches=30, rows=6)
    yield "odd names", Awkward(groups=ODD)
    yield "every other row NaN", Awkward(gaps=True)
    yield from ((f"all {fill}", Awkward(fill=fill, rows=4)) for fill in FILLS if fill != "plain")
