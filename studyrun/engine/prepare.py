"""Before a run: the data are loaded, and all that can be known of what the study asks for has been looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from studyrun.component import Loss, Trigger
from studyrun.engine.best import followed
from studyrun.engine.explain import naming
from studyrun.engine.findings import Findings
from studyrun.engine.fit_check import check_batches, check_curvature, check_fit, check_groups
from studyrun.engine.gradient_check import check_derivatives
from studyrun.engine.problem import Problem, build_problem
from studyrun.engine.random_state import forked
from studyrun.engine.rehearsal import rehearse, repeat, undone
from studyrun.errors import ProbeError
from studyrun.study.schema import TRUNK, Study
from studyrun.trace.channel import Channel

Channels = Mapping[str, tuple[Channel, ...]]


@dataclass(frozen=True)
class Prepared:
    """A study whose data are loaded and in whose way nothing was found: ready to run.

    `channels` are those of every arm, by its name and the probe's label; `warnings` go on record as the run begins.
    """

    study: Study
    problem: Problem
    arm_channels: Mapping[str, Channels]
    warnings: tuple[str, ...] = ()

    @property
    def channels(self) -> Channels:
        """The trunk's channels by the probe's label."""
        return self.arm_channels[TRUNK]


def prepare(study: Study, data_folder: Path) -> Prepared:
    """Load what the study needs and check what only data can tell. Nothing is written.

    Raises `ComponentError`, `ProbeError`, or where there are several faults one `UnfitStudyError` that names them all.
    """
    findings = Findings()
    problem = build_problem(study, data_folder, findings)
    arms = {TRUNK: problem} | {branch.name: problem.with_study(branch.study) for branch in study.branches}
    with undone(problem) as first, forked(study.seed.probe, "check", device=problem.device):
        _check_passes(arms, first, data_folder, findings)
        channels = {name: _channels(arm, findings) for name, arm in arms.items()}
        with findings.noting():
            followed(study.checkpoints, channels[TRUNK])
        for name in arms:
            _check_triggers(name, arms, channels, findings)
    findings.settle()
    return Prepared(study, problem, channels, tuple(findings.warnings))


def _check_passes(
    arms: Mapping[str, Problem], first: Mapping[str, Tensor], data_folder: Path, findings: Findings
) -> None:
    """Pass a few examples through the model under every loss: forward, then as a step does, then to differentiate.

    Each of these looks makes sense only where the one before it found no fault.
    """
    trunk, before = arms[TRUNK], len(findings.faults)
    of_different_losses = [arm for place, arm in enumerate(arms.values()) if arm.loss not in _losses(arms)[:place]]
    for arm in of_different_losses:
        with findings.noting():
            check_fit(arm, findings)
            check_curvature(arm)
    for arm in arms.values():
        with findings.noting():
            check_optimizer(arm)
    if len(findings.faults) > before:
        return
    check_groups(trunk, findings)
    for name, arm in arms.items():
        check_batches(arm, "" if name == TRUNK else f"arm {name!r}: ", findings)
    rehearse(arms.values(), first, findings)
    repeat(trunk, first, data_folder, findings)
    if len(findings.faults) == before:
        for arm in of_different_losses:
            check_derivatives(arm, findings)


def _losses(arms: Mapping[str, Problem]) -> list[Loss]:
    return [arm.loss for arm in arms.values()]


def check_optimizer(problem: Problem) -> None:
    """Raise `ComponentError` if the optimizer does not take this model's parameters."""
    names = problem.study.names
    with naming(
        f"optimizer {names['optimizer']!r} does not take the parameters of model {names['model']!r}", memory=True
    ):
        problem.optimizer.build(problem.named_tensors.values())


def _channels(arm: Problem, findings: Findings) -> dict[str, tuple[Channel, ...]]:
    """What each probe records in this arm, but for those that do not fit."""
    channels = {}
    for entry in arm.study.probes:
        who, seed = f"probe {entry.label!r}", arm.study.seed.probe
        with findings.noting(), naming(who, arm, ProbeError), forked(seed, f"{who}: channels", device=arm.device):
            channels[entry.label] = tuple(entry.probe.channels(arm))
    return channels


def _check_triggers(
    name: str, arms: Mapping[str, Problem], channels: Mapping[str, Channels], findings: Findings
) -> None:
    """Ask every trigger of an arm, under this arm's own optimizer and loss, whether it can work there."""
    by_name = {label: {channel.name: channel for channel in each} for label, each in channels[name].items()}
    if len(by_name) < len(arms[name].study.probes):
        return  # a probe that does not fit is a fault of its own
    for path, trigger in _triggers(name, arms):
        with findings.noting(), naming(path, arms[name]):
            trigger.check_context(arms[name], by_name)


def _triggers(name: str, arms: Mapping[str, Problem]) -> Iterator[tuple[str, Trigger]]:
    """The triggers that are asked in an arm, each with its place in the study."""
    trunk = arms[TRUNK].study
    where = "" if name == TRUNK else f"arm {name!r}: "
    for branch in trunk.branches:
        if branch.parent == name:
            yield f"branches.{branch.name}.at", branch.trigger
    if (when := arms[name].study.stop.when) is not None:
        yield f"{where}stop.when", when
    fired = list(_fired_before(name, trunk))
    for entry in arms[name].study.probes:
        for option, trigger in entry.probe.triggers().items():
            if trigger not in fired:
                yield f"{where}probe {entry.label!r}: {option}", trigger


def _fired_before(name: str, study: Study) -> Iterator[Trigger]:
    """What has fired by the time that an arm sets off, and so is not asked again: what it and its parents fork on."""
    by_name = {branch.name: branch for branch in study.branches}
    while name in by_name:
        yield by_name[name].trigger
        name = by_name[name].parent


def study_of(study: Study, arm: str) -> Study:
    """The study that an arm runs: its branch's own, or the trunk's."""
    return next((branch.study for branch in study.branches if branch.name == arm), study)
