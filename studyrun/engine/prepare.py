"""Before a run: the data are loaded, and every probe and trigger has said whether it fits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studyrun.engine.problem import Problem, build_problem
from studyrun.errors import ComponentError, ProbeError
from studyrun.study.schema import Study
from studyrun.trace.channel import Channel

Channels = dict[str, tuple[Channel, ...]]


@dataclass(frozen=True)
class Prepared:
    """A study whose data are loaded and whose probes and triggers have been asked whether they fit: ready to run."""

    study: Study
    problem: Problem
    channels: Channels


def prepare(study: Study, data_folder: Path) -> Prepared:
    """Load what the study needs and check what only data can tell. Nothing is written."""
    problem = build_problem(study, data_folder)
    channels: Channels = {}
    for entry in study.probes:
        try:
            channels[entry.label] = tuple(entry.probe.channels(problem))
        except (ProbeError, ValueError) as error:
            raise ProbeError(f"probe {entry.label!r}: {error}") from error
    by_name = {label: {channel.name: channel for channel in each} for label, each in channels.items()}
    for branch in study.branches:
        parent = study_of(study, branch.parent)
        try:
            branch.trigger.check_context(problem.with_study(parent), by_name)
        except ComponentError as error:
            raise ComponentError(f"branches.{branch.name}.at: {error}") from error
    if study.stop.when is not None:
        study.stop.when.check_context(problem, by_name)
    return Prepared(study, problem, channels)


def study_of(study: Study, arm: str) -> Study:
    """The study that an arm runs: its branch's own, or the trunk's."""
    return next((branch.study for branch in study.branches if branch.name == arm), study)
