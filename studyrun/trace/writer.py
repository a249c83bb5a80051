"""Writes trace.h5: readings wait in memory, and one flush brings them to the file, all or none.

Nothing touches the file between two flushes, and a flush is committed through a journal (`journal.py`), so that whoever
opens the file meanwhile, or after this process was killed, finds everything up to the last flush.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from studyrun.errors import RunFolderError, TraceError
from studyrun.trace import journal, layout
from studyrun.trace.buffer import ProbeBuffer
from studyrun.trace.channel import Channel, check_name
from studyrun.trace.foreign import check_own
from studyrun.trace.kept import left_out
from studyrun.trace.layout import Attribute
from studyrun.trace.pages import PagedFile

_CACHE = 262_144  # bytes of chunks that each open dataset may hold


@dataclass(slots=True)
class _Probe:
    """One probe of one arm: its datasets once they are made, the rows in the file that count, and what waits.

    The datasets stay open: opening them costs more than writing to them.
    """

    buffer: ProbeBuffer
    datasets: Mapping[str, h5py.Dataset] = field(default_factory=dict)
    rows: int = 0
    dirty: bool = True
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class _Arm:
    made: bool = False
    attributes: dict[str, Attribute] = field(default_factory=dict)
    probes: dict[str, _Probe] = field(default_factory=dict)


class TraceWriter:
    """The one writer of a trace. That only one writes at a time is the run folder's business."""

    def __init__(self, path: Path, pages: PagedFile, mode: str) -> None:
        self.path = path
        self._pages = pages
        if mode == "w":
            h5py.File(pages, "w", track_order=True, libver=layout.EMPTY_FILE).close()
        self._file = h5py.File(pages, "r+", track_order=True, libver=layout.LIBRARY_VERSIONS, rdcc_nbytes=_CACHE)
        self._arms: dict[str, _Arm] = {}
        self._left_out: Mapping[str, frozenset[str]] = {}
        self._buffered = 0

    @classmethod
    def create(cls, path: Path, *, title: str, study: str, git_commit: str) -> TraceWriter:
        """Start a new trace. Raises `RunFolderError` if the file exists or cannot be made."""
        if path.exists():
            raise RunFolderError(f"{path} exists already; a trace is never overwritten")
        draft = path.with_name(path.name + ".draft")  # so that a file of the right name is a trace from the start
        try:
            pages = PagedFile(draft, os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666))
        except OSError as error:
            raise RunFolderError(f"{path} cannot be made: {error.strerror}") from error
        writer = cls(path, pages, "w")
        texts: dict[str, Attribute] = {"Conventions": layout.CONVENTIONS, "studyrun_format": layout.FORMAT}
        layout.set_attributes(writer._file, texts | {"title": title, "study": study, "git_commit": git_commit})
        writer._file.flush()
        try:
            writer._commit()
        except RunFolderError:
            writer._abandon()
            draft.unlink()
            raise
        pages.path = draft.rename(path)
        return writer

    @classmethod
    def resume(cls, path: Path) -> TraceWriter:
        """Go on with a trace. Raises `RunFolderError` if it is missing, damaged, or of another format."""
        try:
            journal.recover(path)
            writer = cls(path, PagedFile(path, os.open(path, os.O_RDWR)), "r+")
        except FileNotFoundError:
            raise RunFolderError(f"{path} does not exist") from None
        except OSError as error:
            raise RunFolderError(f"{path} cannot be opened as a trace: {error}") from error
        try:
            found = writer._file.attrs.get("studyrun_format", "none")
            if found not in layout.READABLE:
                raise RunFolderError(f"{path}: {layout.unreadable(found)}")
            check_own(path, writer._file)
            writer._arms = {name: _Arm(made=True, probes=_probes_of(group)) for name, group in writer._file.items()}
        except (RunFolderError, TraceError):
            writer._abandon()
            raise
        except (OSError, KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:
            writer._abandon()
            raise RunFolderError(f"{path} is damaged: {error}") from error
        return writer

    @property
    def arms(self) -> Mapping[str, tuple[str, ...]]:
        """The labels of the probes of each arm, by arm."""
        return {name: tuple(arm.probes) for name, arm in self._arms.items()}

    @property
    def study(self) -> str:
        """The resolved study that the trace is made from: the one it was begun with, or that was made longer since."""
        return str(self._file.attrs.get("study", ""))

    @property
    def mark(self) -> str:
        """What tells this run's states from another's: the hash of the study that it was begun with."""
        return layout.study_mark(self._file.attrs)

    def set_study(self, text: str) -> None:
        """Take over the study that the run goes on with, and bring it to the disk. Raises `RunFolderError`."""
        layout.set_attributes(self._file, {layout.MARK: self.mark, "study": text})
        self._file.flush()
        self._commit()

    @property
    def buffered_bytes(self) -> int:
        """How much memory the next flush sets free."""
        return self._buffered + self._pages.waiting

    def adopt(self, channels: Mapping[str, Sequence[Channel]]) -> list[str]:
        """Go on with a trace that was begun when its probes, by label, may have recorded other channels than these.

        What the trace began without is left out in every arm from here on; the texts returned say so. Raises
        `RunFolderError` where a channel of the trace is not recorded any more, or differs in type or dimensions.
        """
        held = {label: probe.buffer.channels for arm in self._arms.values() for label, probe in arm.probes.items()}
        self._left_out = {
            label: left_out(self.path, label, one, channels.get(label, ())) for label, one in held.items()
        }
        return [
            f"probe {label!r} also records {', '.join(sorted(names))} by now; this trace began without, and goes on so"
            for label, names in self._left_out.items()
            if names
        ]

    def add_arm(self, arm: str, attributes: Mapping[str, Attribute]) -> None:
        """Add an arm. Raises `TraceError` if it is there already."""
        check_name(arm, "arm")
        if arm in self._arms:
            raise TraceError(f"{self.path}: the arm {arm!r} is there already")
        self._arms[arm] = _Arm(attributes=dict(attributes))

    def add_probe(self, arm: str, label: str, channels: Sequence[Channel], attributes: Mapping[str, Attribute]) -> None:
        """Add a probe to an arm. Raises `ProbeError` for channels that cannot stand side by side."""
        if label in self._arm(arm).probes:
            raise TraceError(f"{self.path}: the arm {arm!r} has a probe {label!r} already")
        channels = [channel for channel in channels if channel.name not in self._left_out.get(label, ())]
        probe = _Probe(ProbeBuffer(label, channels), attributes={"label": label, **attributes})
        self._arm(arm).probes[label] = probe

    def append(self, arm: str, label: str, step: int, time: float, reading: Mapping[str, Any]) -> None:
        """Take a reading of θ_step into memory, a copy of it. Raises `ProbeError` if it breaks the declaration."""
        probe = self._probe(arm, label)
        if names := self._left_out.get(label):
            reading = {name: value for name, value in reading.items() if name not in names}
        self._buffered += probe.buffer.append(step, time, reading)
        probe.dirty = True

    def set_arm(self, arm: str, **attributes: Attribute) -> None:
        """Change attributes of an arm at the next flush; the last value wins."""
        self._arm(arm).attributes.update(attributes)

    def set_probe(self, arm: str, label: str, **attributes: Attribute) -> None:
        """Change attributes of a probe at the next flush; the last value wins."""
        self._probe(arm, label).attributes.update(attributes)

    def truncate(self, arm: str, from_step: int) -> None:
        """Drop every row with step ≥ `from_step` from all probes of the arm; the file follows at the flush."""
        for probe in self._arm(arm).probes.values():
            probe.buffer.truncate(from_step)
            steps = probe.datasets["step"][: probe.rows] if probe.datasets else np.zeros(0, "int64")
            probe.rows = int(np.searchsorted(steps, from_step))
            kept = [*steps[: probe.rows][-1:], *probe.buffer.steps[-1:]]
            probe.buffer.last_step = int(kept[-1]) if kept else None
            probe.dirty = True

    def attribute(self, arm: str, name: str) -> Any:
        """What the file says of an arm, None if it does not know the arm or says no such thing."""
        return self._file[arm].attrs.get(name) if arm in self._arms and self._arms[arm].made else None

    def last_step(self, arm: str, label: str, before: int) -> int | None:
        """The last step < `before` of which the probe has a row in the file, None if there is none."""
        probe = self._probe(arm, label)
        if not probe.datasets:
            return None
        steps = probe.datasets["step"][: probe.rows]
        rows = int(np.searchsorted(steps, before))
        return int(steps[rows - 1]) if rows else None

    def flush(self) -> None:
        """Bring what waits to the disk.

        Raises `RunFolderError` if the disk is full or fails. What was flushed before stands then, what waits still
        waits, and flushing again may succeed.
        """
        if any(_waits(arm) for arm in self._arms.values()):
            for name, arm in self._arms.items():
                self._write_arm(name, arm)
            self._buffered = 0
            self._file.flush()
        self._commit()

    def close(self) -> None:
        """Flush and close. The file is closed also where the flush fails."""
        if self._pages.closed:
            return
        try:
            self.flush()
        finally:
            self._abandon()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _arm(self, arm: str) -> _Arm:
        try:
            return self._arms[arm]
        except KeyError:
            raise TraceError(f"{self.path}: there is no arm {arm!r} (arms: {', '.join(self._arms)})") from None

    def _probe(self, arm: str, label: str) -> _Probe:
        probes = self._arm(arm).probes
        try:
            return probes[label]
        except KeyError:
            known = ", ".join(probes) or "none"
            raise TraceError(f"{self.path}: arm {arm!r} has no probe {label!r} (probes: {known})") from None

    def _write_arm(self, name: str, arm: _Arm) -> None:
        group = self._file[name] if arm.made else self._file.create_group(name, track_order=True)
        arm.made = True
        layout.set_attributes(group, arm.attributes)
        arm.attributes = {}
        for label, probe in arm.probes.items():
            if not probe.datasets:
                layout.make_probe(group.create_group(label, track_order=True), list(probe.buffer.channels.values()))
                probe.datasets = layout.open_datasets(group[label])
            layout.set_attributes(group[label], probe.attributes)
            probe.attributes = {}
            if probe.dirty:
                layout.write_rows(probe.datasets, probe.rows, probe.buffer)
                probe.rows += len(probe.buffer)
                probe.buffer.clear()
                probe.dirty = False

    def _commit(self) -> None:
        try:
            self._pages.commit()
        except OSError as error:
            raise _write_error(self.path, error, self._pages.waiting) from error

    def _abandon(self) -> None:
        """Close without committing; HDF5 writes on closing, but only to memory."""
        self._file.close()
        self._pages.close()


def _waits(arm: _Arm) -> bool:
    return not arm.made or bool(arm.attributes) or any(one.dirty or one.attributes for one in arm.probes.values())


def _write_error(path: Path, error: OSError, need: int) -> RunFolderError:
    """What to tell the user of a commit that failed."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return RunFolderError(f"{path} cannot be written: {error.strerror or error}; what was written before is whole")
    room = f"{max(0.1, need / 1e6):.1f} MB"
    return RunFolderError(
        f"the disk is full: no room for {room} more in {path}. What was written before is whole and "
        f"readable; free some space, then: studyrun resume {path.parent}"
    )


def _probes_of(arm: h5py.Group) -> dict[str, _Probe]:
    probes = {}
    for label, group in arm.items():
        channels = [layout.read_channel(group[name]) for name in layout.channel_names(group)]
        rows = layout.whole_rows(group)
        last = int(group["step"][rows - 1]) if rows else None
        probes[label] = _Probe(ProbeBuffer(label, channels, last), layout.open_datasets(group), rows)
    return probes
