"""Run folders, read: `open_run` gives a `Run`, or a `Sweep` of them, in numpy and without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studyrun.errors import RunFolderError, TraceError, UsageError
from studyrun.stopping import heed
from studyrun.trace import file, folder
from studyrun.trace.arm import Arm, Crossing, ProbeTrace, TrainedArm, held, read_arm
from studyrun.trace.channel_trace import ChannelTrace
from studyrun.trace.layout import study_mark

if TYPE_CHECKING:
    import h5py
    from xarray import DataTree

    from studyrun.trace.ensemble import Ensemble

TrainedBy = Callable[[Path, str, str], TrainedArm]
__all__ = ["Arm", "ChannelTrace", "Crossing", "ProbeTrace", "Run", "Sweep", "open_run"]


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder, as it was when it was opened. Arms come trunk first, then by the step of their fork.

    `overrides` is the run's point in its sweep; `attributes` are those of the trace's root.
    """

    path: Path
    arms: Mapping[str, Arm]
    attributes: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def title(self) -> str:
        """The study's title."""
        return str(self.attributes.get("title", ""))

    @property
    def mark(self) -> str:
        """What tells this run's states from another's: the hash of the study that it was begun with."""
        return study_mark(self.attributes)

    @cached_property
    def study_text(self) -> str:
        """The resolved study, as it was run."""
        text = folder.read_study(self.path)
        return str(self.attributes.get("study", "")) if text is None else text

    @cached_property
    def document(self) -> dict[str, Any]:
        """The resolved study as plain data."""
        return folder.parse_study(self.path, self.study_text)

    @cached_property
    def status(self) -> dict[str, Any]:
        """status.json, or nothing."""
        return folder.read_json(self.path / "status.json")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json, or nothing."""
        return folder.read_json(self.path / "provenance.json")

    def __getitem__(self, arm: str) -> Arm:
        return held(self.arms, arm, f"the run {self.name!r}", "arm")

    def __contains__(self, arm: object) -> bool:
        return arm in self.arms

    def __iter__(self) -> Iterator[str]:
        return iter(self.arms)

    def to_xarray(self) -> DataTree:
        """The whole trace in memory as an xarray DataTree, one node for each probe of each arm.

        Raises `UsageError` where xarray or h5netcdf is not installed, `TraceError` where the file is damaged.
        """
        absent = [name for name in ("xarray", "h5netcdf") if find_spec(name) is None]
        if absent:
            raise UsageError(f"to_xarray needs {' and '.join(absent)}: pip install 'studyrun[analysis]'")
        import xarray

        path = self.path / folder.TRACE
        try:
            with file.pages(path) as content, xarray.open_datatree(content, engine="h5netcdf") as tree:  # type: ignore[arg-type]
                return tree.load()
        except TraceError:
            raise
        except Exception as error:
            heed()
            raise TraceError(file.damage(path, "", error)) from error


@dataclass(frozen=True, eq=False)
class Sweep:
    """The folder of a sweep: one run for each point that has a readable trace.

    `missing` names the points without one, and `reasons` says why for each.
    """

    path: Path
    title: str
    members: tuple[Run, ...]
    reasons: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def missing(self) -> tuple[str, ...]:
        """The points without a readable trace."""
        return tuple(self.reasons)

    def ensembles(self) -> tuple[Ensemble, ...]:
        """The runs that differ by their seeds alone, together: one ensemble a condition, in the sweep's order."""
        from studyrun.trace.ensemble import by_condition

        return by_condition(self.members)


def open_run(path: str | PathLike[str], trained: TrainedBy | None = None) -> Run | Sweep:
    """Open a run folder, or the folder of a sweep. Raises `RunFolderError` if it is neither.

    `trained` gives back the model of an arm, by the run's folder, the arm's name, and the run's mark.
    """
    where = Path(path)
    return _open_sweep(where, trained) if (where / folder.SWEEP).is_file() else _open_one(where, trained)


def _open_one(path: Path, trained: TrainedBy | None, overrides: Mapping[str, Any] | None = None) -> Run:
    folder.check_run_folder(path)
    trace = path / folder.TRACE
    attributes, arms = file.read(trace, lambda opened: (file.read_attributes(opened), _read_arms(trace, opened)))
    if trained is not None:
        mark = study_mark(attributes)
        arms = {name: replace(arm, trained=partial(trained, path, name, mark)) for name, arm in arms.items()}
    return Run(path, arms, attributes, overrides or {})


def _open_sweep(path: Path, trained: TrainedBy | None) -> Sweep:
    title, entries = folder.read_sweep(path)
    members, reasons = [], {}
    for name, overrides in entries:
        try:
            members.append(_open_one(path / name, trained, overrides))
        except (RunFolderError, TraceError) as error:
            reasons[name] = str(error)
    return Sweep(path, title, tuple(members), reasons)


def _read_arms(path: Path, opened: h5py.File) -> dict[str, Arm]:
    """Trunk, then branches by the step of their fork, then those that never started; else in the order of creation."""
    arms = [read_arm(path, name, group) for name, group in opened.items()]
    arms.sort(key=lambda arm: (arm.parent is not None, not arm.started, arm.fork_step))
    return {arm.name: arm for arm in arms}
