"""Writes trace.h5: readings wait in memory, and one flush puts them in the file, which is whole in between.

Nothing touches the file but `flush` (and `create`, once), so that whoever opens it between two flushes, or after this
process was killed there, reads everything up to the last flush. Before a flush writes, it claims the room it may need:
a full disk is met while the file is still whole, and the flush can be tried again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from studyrun.errors import RunFolderError, TraceError
from studyrun.trace import layout, room
from studyrun.trace.buffer import ProbeBuffer
from studyrun.trace.channel import Channel, check_name
from studyrun.trace.layout import Attribute

_CACHE = 262_144  # bytes of chunks that each open dataset may hold
_ROOM_FOR_METADATA = 65_536
_ROOM_FOR_NEW_CHANNEL = 16_384


@dataclass(slots=True)
class _Probe:
    """One probe of one arm: its datasets once they are made, the rows in the file that count, and what waits.

    The datasets stay open: HDF5 writes a dataset's last chunks when it is closed, and h5py has no way to raise there.
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
    """The one writer of a trace. `buffered_bytes` says how much waits for the next flush.

    After an error in the middle of writing (not one of room, which is met before) the writer takes no more.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.buffered_bytes = 0
        self._file = file
        self._arms: dict[str, _Arm] = {}
        self._broken = False

    @classmethod
    def create(cls, path: Path, *, title: str, study: str, git_commit: str) -> TraceWriter:
        """Start a new trace. Raises `RunFolderError` if the file exists or cannot be made."""
        if path.exists():
            raise RunFolderError(f"{path} exists already; a trace is never overwritten")
        file = _open(path, "x", track_order=True)
        writer = cls(path, file)
        texts: dict[str, Attribute] = {"Conventions": layout.CONVENTIONS, "studyrun_format": layout.FORMAT}
        texts |= {"title": title, "study": study, "git_commit": git_commit}
        try:
            writer._claim(_ROOM_FOR_METADATA + _text_bytes(texts))
            writer._guarded(lambda: layout.set_attributes(file, texts))
            writer._guarded(writer._sync)
        except RunFolderError:
            writer.close()
            path.unlink(missing_ok=True)
            raise
        writer._give_back()
        return writer

    @classmethod
    def resume(cls, path: Path) -> TraceWriter:
        """Go on with a trace. Raises `RunFolderError` if it is missing, damaged, or of another format."""
        file = _open(path, "r+")
        found = file.attrs.get("studyrun_format", "none")
        if found != layout.FORMAT:
            file.close()
            raise RunFolderError(f"{path}: expected a trace of studyrun_format {layout.FORMAT}, got {found}")
        writer = cls(path, file)
        writer._arms = {name: _Arm(made=True, probes=_probes_of(group)) for name, group in file.items()}
        return writer

    @property
    def arms(self) -> Mapping[str, tuple[str, ...]]:
        """The labels of the probes of each arm, by arm."""
        return {name: tuple(arm.probes) for name, arm in self._arms.items()}

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
        probe = _Probe(ProbeBuffer(label, channels), attributes={"label": label, **attributes})
        self._arm(arm).probes[label] = probe

    def append(self, arm: str, label: str, step: int, time: float, reading: Mapping[str, Any]) -> None:
        """Take a reading of θ_step into memory, a copy of it. Raises `ProbeError` if it breaks the declaration."""
        probe = self._probe(arm, label)
        self.buffered_bytes += probe.buffer.append(step, time, reading)
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

    def flush(self) -> None:
        """Write what waits, and see it on the disk.

        Raises `RunFolderError` if that fails. On a full disk nothing has been touched then: what was flushed before
        stands, what waits still waits, and flushing again may succeed.
        """
        if self._broken:
            raise RunFolderError(f"{self.path}: an earlier write failed, nothing more can be written to it")
        if not self._waiting():
            return
        self._claim(self._room_needed())
        self._guarded(self._write)
        self._give_back()

    def close(self) -> None:
        """Flush and close. The file is closed also where the flush fails."""
        if not self._file:
            return
        try:
            if not self._broken:
                self.flush()
        finally:
            with suppress(OSError, RuntimeError, ValueError):
                self._file.close()

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

    def _waiting(self) -> bool:
        return any(
            not arm.made or arm.attributes or any(probe.dirty or probe.attributes for probe in arm.probes.values())
            for arm in self._arms.values()
        )

    def _room_needed(self) -> int:
        """An upper bound, in bytes, of what the next flush adds to the file."""
        need = _ROOM_FOR_METADATA
        for arm in self._arms.values():
            need += _text_bytes(arm.attributes)
            for probe in arm.probes.values():
                need += _text_bytes(probe.attributes)
                for channel in probe.buffer.channels.values():
                    need += layout.bytes_needed(channel, probe.rows, len(probe.buffer))
                    need += 0 if probe.datasets else _ROOM_FOR_NEW_CHANNEL
        return need

    def _claim(self, need: int) -> None:
        room.claim(self.path, self._descriptor, self._file.id.get_filesize(), need)

    def _give_back(self) -> None:
        room.give_back(self._descriptor, self._file.id.get_filesize())  # HDF5 knows where its own file ends

    def _guarded(self, write: Callable[[], None]) -> None:
        """Call `write`; if it fails, let nothing more reach the file."""
        try:
            write()
        except (OSError, RuntimeError, ValueError) as error:
            self._broken = True
            room.abandon(self._descriptor)
            raise room.write_error(self.path, error) from error

    def _write(self) -> None:
        for name, arm in self._arms.items():
            self._write_arm(name, arm)
        self._sync()
        for arm in self._arms.values():
            for probe in arm.probes.values():
                probe.rows += len(probe.buffer)
                probe.buffer.clear()
                probe.dirty = False
        self.buffered_bytes = 0

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

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._descriptor)

    @property
    def _descriptor(self) -> int:
        return int(self._file.id.get_vfd_handle())


def _open(path: Path, mode: str, **options: Any) -> h5py.File:
    """Open without HDF5's lock, so that anyone may read meanwhile; that one writes is the run folder's business."""
    try:
        return h5py.File(path, mode, locking=False, libver=layout.LIBRARY_VERSIONS, rdcc_nbytes=_CACHE, **options)
    except FileNotFoundError:
        raise RunFolderError(f"{path}: no such file, or no such folder to make it in") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be opened as a trace: {error}") from error


def _probes_of(arm: h5py.Group) -> dict[str, _Probe]:
    probes = {}
    for label, group in arm.items():
        channels = [layout.read_channel(group[name]) for name in layout.channel_names(group)]
        rows = layout.whole_rows(group)
        last = int(group["step"][rows - 1]) if rows else None
        probes[label] = _Probe(ProbeBuffer(label, channels, last), layout.open_datasets(group), rows)
    return probes


def _text_bytes(attributes: Mapping[str, Attribute]) -> int:
    return sum(4 * len(value) if isinstance(value, str) else 64 for value in attributes.values())
