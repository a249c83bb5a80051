"""studyrun: studies of training dynamics from one YAML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    from studyrun.engine.trained import Trained
    from studyrun.trace.check import RunCheck, SweepCheck
    from studyrun.trace.reader import Run, Sweep

__version__ = "0.1.0"
__all__ = ["__version__", "check_run", "open_run"]


def open_run(path: str | PathLike[str]) -> Run | Sweep:
    """Open a run folder for reading: numpy arrays by arm, probe label and channel.

    A sweep's folder gives a `Sweep`, whose `members` are runs. Raises `RunFolderError` where `path` is no run folder.
    """
    from studyrun.trace.reader import open_run as open_

    return open_(path, _trained)


def _trained(folder: Path, arm: str, mark: str) -> Trained:
    """What gives back an arm's model; torch is imported when it is asked for."""
    from studyrun.engine.trained import Trained
    from studyrun.launch.folder import data_folder

    return Trained(folder, arm, mark, data_folder)


def check_run(path: str | PathLike[str], *, data: bool = False) -> RunCheck | SweepCheck:
    """Look through a run folder, or a sweep's with every member, for anything that is not what the run recorded.

    With `data` the data are loaded and the model is built again, which runs the study's own components, and both are
    held against what the run began with. Raises `RunFolderError` where `path` is neither.
    """
    from pathlib import Path

    from studyrun.study.schedule import schedules_of
    from studyrun.trace.check import Readers, check

    def load(checkpoint: Path) -> Mapping[str, Any]:
        from studyrun.engine.checkpoint import load as load_

        return load_(checkpoint)

    def rebuild(folder: Path) -> Mapping[str, Any]:
        from studyrun.launch.rebuild import rebuild as rebuild_

        return rebuild_(folder)

    return check(Path(path), Readers(schedules_of, load, rebuild if data else None))
