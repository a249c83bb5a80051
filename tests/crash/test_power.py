"""Power that fails: what was not seen on the disk may be there, or not, or in part, in any order.

The operations of real flushes run against files whose durable content is kept apart: an fsync makes a file's pending
writes durable, an fsync of the folder its names. At a power failure each pending write survives or not, sector by
sector, and of the pending names an arbitrary beginning, as file systems with a journal of their own give it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studyrun.engine import checkpoint
from studyrun.engine.checkpoint_folder import LATEST, PREVIOUS
from studyrun.errors import RunFolderError
from studyrun.trace.channel import Channel
from studyrun.trace.reader import Run, open_run
from studyrun.trace.writer import TraceWriter

SECTOR = 512
STUDY = "title: power\n"


class PowerFailure(BaseException):
    """The machine is off."""


class Disk:
    """Keeps apart what is durable. Files are told by inode, names by path."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.left: int | None = None
        self.count = 0
        self.durable: dict[int, bytes] = {}
        self.pending: dict[int, list[tuple[int, bytes]]] = {}
        self.names: dict[str, int] = {}
        self.renamed: list[tuple[str, str | None, int | None]] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the project and the operating system."""
        real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in ("pwrite", "ftruncate", "fsync", "replace", "rename", "unlink", "link")
        }

        def pwrite(descriptor: int, data: Any, at: int) -> int:
            self._tick()
            self._write(descriptor, at, bytes(data))
            return int(real["pwrite"](descriptor, data, at))

        def ftruncate(descriptor: int, size: int) -> None:
            self._tick()
            self._write(descriptor, -1, size.to_bytes(8, "big"))
            real["ftruncate"](descriptor, size)

        def fsync(descriptor: int) -> None:
            self._tick()
            real["fsync"](descriptor)
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):
                self._settle_names(len(self.renamed))
            else:
                self._settle(descriptor)

        def moved(name: str) -> Callable[..., None]:
            def move(source: Any, target: Any) -> None:
                self._tick()
                self.renamed.append((str(target), str(source) if name != "link" else None, os.stat(source).st_ino))
                real[name](source, target)

            return move

        def unlink(path: Any) -> None:
            self._tick()
            real["unlink"](path)
            self.renamed.append((str(path), None, None))

        for name, function in {"pwrite": pwrite, "ftruncate": ftruncate, "fsync": fsync, "unlink": unlink}.items():
            patch.setattr(os, name, function)
        for name in ("replace", "rename", "link"):
            patch.setattr(os, name, moved(name))

    def fail(self) -> None:
        """Leave on the disk what a power failure leaves."""
        self._settle_names(self.chance.randint(0, len(self.renamed)))
        content = {inode: self._survivors(inode) for inode in set(self.names.values())}
        for path in self.folder.iterdir():
            os.unlink(path)
        for name, inode in self.names.items():
            Path(name).write_bytes(content[inode])

    def _tick(self) -> None:
        self.count += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise PowerFailure

    def _write(self, descriptor: int, at: int, data: bytes) -> None:
        self.pending.setdefault(os.fstat(descriptor).st_ino, []).append((at, data))

    def _settle(self, descriptor: int) -> None:
        """All of a file is durable; so is its name where it was made under it."""
        inode = os.fstat(descriptor).st_ino
        self.durable[inode] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        self.pending.pop(inode, None)
        self.names.setdefault(os.readlink(f"/proc/self/fd/{descriptor}"), inode)

    def _settle_names(self, count: int) -> None:
        for target, source, inode in self.renamed[:count]:
            if inode is None:
                self.names.pop(target, None)
            else:
                self.names[target] = inode
            if source is not None:
                self.names.pop(source, None)
        del self.renamed[:count]

    def _survivors(self, inode: int) -> bytes:
        image = bytearray(self.durable.get(inode, b""))
        for at, data in self.pending.get(inode, []):
            if at < 0:
                if self.chance.random() < 0.5:
                    size = int.from_bytes(data, "big")
                    image = image[:size].ljust(size, b"\0")
                continue
            for place in range(0, len(data), SECTOR):
                if self.chance.random() < 0.5:
                    part = data[place : place + SECTOR]
                    image = image.ljust(at + place + len(part), b"\0")
                    image[at + place : at + place + len(part)] = part
        return bytes(image)


def record(folder: Path, disk: Disk, said: list[int]) -> None:
    """Flush ten times, each time with some rows more; `said` holds how many rows each flush that returned left."""
    writer = TraceWriter.create(folder / "trace.h5", title="power", study=STUDY, git_commit="")
    writer.add_arm("baseline", {"state": "running", "parent": "", "fork_step": 0, "fork_time": 0.0})
    writer.add_probe("baseline", "loss", [Channel("train", long_name="loss", symbol="L", units="1")], {})
    for flush in range(10):
        for step in range(flush * 700, flush * 700 + 700):
            writer.append("baseline", "loss", step, step * 0.01, {"train": value_of(step)})
        writer.set_arm("baseline", note=f"after flush {flush}:" + "!" * 100 * flush)
        writer.flush()
        said.append(flush * 700 + 700)


def value_of(step: int) -> float:
    return float(np.sin(step))


@pytest.fixture
def powered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int | None, int], tuple[Path, list[int], int]]:
    """Record with the power failing at an operation; the folder as it is found, what was said, the operations."""

    def run(at: int | None, seed: int) -> tuple[Path, list[int], int]:
        folder = tmp_path / f"power-{at}-{seed}"
        folder.mkdir()
        disk, said = Disk(folder, random.Random(seed)), list[int]()
        with monkeypatch.context() as patch:
            disk.install(patch)
            disk.left = at
            try:
                record(folder, disk, said)
            except PowerFailure:
                disk.left = None
                disk.fail()
        return folder, said, disk.count

    return run


def assert_holds_a_flush(folder: Path, said: list[int]) -> None:
    """The trace is that of one flush, whole, and none older than the last that returned."""
    if not (folder / "trace.h5").exists():
        assert not said
        return
    run = open_run(folder)
    assert isinstance(run, Run)
    probe = run["baseline"]["loss"] if "baseline" in run.arms else None
    rows = len(probe.step) if probe is not None else 0
    assert rows % 700 == 0
    assert rows in (max(said, default=0), max(said, default=0) + 700)
    if probe is not None and rows:
        assert probe.step.tolist() == list(range(rows))
        assert probe["train"].values.tolist() == [value_of(step) for step in range(rows)]
        assert str(run["baseline"].attributes["note"]).startswith(f"after flush {rows // 700 - 1}:")
    TraceWriter.resume(folder / "trace.h5").close()
    assert len(open_run(folder)["baseline"]["loss"].step if rows else []) == rows


def test_whenever_the_power_fails_the_trace_is_that_of_a_whole_flush(powered) -> None:
    operations = powered(None, 0)[2]
    assert operations > 50
    for at in range(0, operations, 3):
        assert_holds_a_flush(*powered(at, at)[:2])


@pytest.mark.slow
def test_a_thousand_power_failures_lose_no_flush(powered) -> None:
    operations = powered(None, 0)[2]
    chance = random.Random(7)
    for trial in range(1_000):
        assert_holds_a_flush(*powered(chance.randrange(operations), 10_000 + trial)[:2])


def test_of_two_checkpoints_one_is_always_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the engine replaces them: the latest is set aside, and a new one takes its place."""
    for at in range(60):
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        disk, done = Disk(folder, random.Random(at)), 0
        latest, previous = folder / LATEST, folder / PREVIOUS
        with monkeypatch.context() as patch:
            disk.install(patch)
            disk.left = at
            try:
                for number in range(1, 6):
                    checkpoint.set_aside(latest, previous)
                    checkpoint.save(latest, {"number": number})
                    done = number
            except PowerFailure:
                disk.left = None
                disk.fail()
        if done == 0 and not latest.exists():
            with pytest.raises(RunFolderError, match="missing"):
                checkpoint.load_either(latest, previous)
            continue
        assert checkpoint.load_either(latest, previous)[0]["number"] in (done, done + 1)
