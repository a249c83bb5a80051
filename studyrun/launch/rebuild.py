"""What a run began with, made again from its study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studyrun.engine.prepare import prepare
from studyrun.engine.problem import fingerprint, state_digest
from studyrun.launch.folder import data_folder
from studyrun.registry import Registry
from studyrun.study import load_study


def rebuild(folder: Path) -> dict[str, Any]:
    """The fingerprints of data and initial parameters that the run's study gives now, as provenance.json has them.

    Raises `StudyrunError` where the data or a component cannot be had.
    """
    problem = prepare(load_study(folder / "study.yaml", registry=Registry.for_run(folder)), data_folder()).problem
    return {"data": fingerprint(problem.data), "initial": {"sha256": state_digest(problem.model)}}
