"""Faults of the machine, injected for real: full and read-only disks, damaged files, clocks that jump, two at once."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.harness import COMMON, PARTS, STUDIES, Server, assert_same_runs
from crash.test_kill import next_command
from oracles.effort import PATIENCE

from studyrun.engine import checkpoint
from studyrun.errors import RunFolderError
from studyrun.trace.reader import open_run

SHORT = COMMON.replace("steps: 60", "steps: 24").replace("step: 33", "step: 12").replace("step: 40", "step: 22")


@pytest.fixture(scope="module")
def short(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study of a second or two, and what it leaves when nothing happens."""
    folder = tmp_path_factory.mktemp("short")
    study = folder / "short.yaml"
    study.write_text(SHORT + STUDIES["momentum"])
    assert server.carry_out("run", str(study), "--out", str(folder / "whole"))["code"] == 0, server.said
    return study, folder / "whole"


@pytest.fixture(scope="module")
def stopped(server: Server, short, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, killed as its third arm ends, so that there are forks, one still to be run, and two checkpoints."""
    study, _ = short
    folder = tmp_path_factory.mktemp("stopped") / "run"
    marker = str(folder / "checkpoints" / "exit-step-24.pt")
    study.write_text(study.read_text().replace("keep: 30", "keep: 12"))
    ended = server.carry_out("run", str(study), "--out", str(folder), signals=[(signal.SIGKILL, marker)])
    assert ended["code"] == -9, server.said
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A place to mount a file system on."""
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    while subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
        pass


def mount(disk: Path, options: str) -> None:
    """Mount memory there as a file system. That takes root."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here (that takes root)")


def fill_and_make_room(server: Server, study: Path, whole: Path, disk: Path, size: int) -> int:
    """Run on a disk of this size, make it larger, resume; the exit code of the first."""
    mount(disk, f"size={size}k")
    folder = disk / "run"
    ended = server.carry_out("run", str(study), "--out", str(folder))
    assert ended["code"] in (0, 1), server.said
    if ended["code"] == 1:
        assert "Traceback" not in server.said
        assert "No space left on device" in server.said or "the disk is full" in server.said
        if (folder / "trace.h5").exists():
            open_run(folder)
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    if ended["code"] == 1:
        assert server.carry_out(*next_command(study, folder))["code"] == 0, server.said
    assert_same_runs(whole, folder)
    subprocess.run(["umount", str(disk)], check=True)
    return int(ended["code"])


def test_a_disk_that_fills_up_loses_nothing_that_was_recorded(server: Server, short, disk: Path) -> None:
    codes = [fill_and_make_room(server, *short, disk, size) for size in (4, 60, 250)]
    assert codes == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_disk_that_is_full_at_any_size_loses_nothing(server: Server, short, disk: Path, part: int) -> None:
    """A hundred sizes, up to one that holds the whole run."""
    taken = sum(path.stat().st_blocks for path in short[1].rglob("*")) // 2
    codes = [
        fill_and_make_room(server, *short, disk, 4 + taken * share // 90) for share in range(part, 100, len(PARTS))
    ]
    assert 1 in codes
    assert codes[-1] == 0


@pytest.mark.parametrize("largest", [2_000, 20_000, 60_000])
def test_a_quota_that_cuts_writes_short_loses_nothing(server: Server, short, tmp_path: Path, largest: int) -> None:
    """Beyond the limit the system takes a part of a write, and refuses the next (EFBIG)."""
    study, whole = short
    folder = tmp_path / "run"
    assert server.carry_out("run", str(study), "--out", str(folder), largest=largest)["code"] == 1
    assert "File too large" in server.said
    assert "Traceback" not in server.said
    assert server.carry_out(*next_command(study, folder))["code"] == 0, server.said
    assert_same_runs(whole, folder)


def test_a_read_only_disk_is_said_and_left_as_it_is(server: Server, short, stopped: Path, disk: Path) -> None:
    study, _ = short
    mount(disk, "size=16m")
    shutil.copytree(stopped, disk / "run")
    before = _hashes(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in (
        ("run", str(study), "--out", str(disk / "new")),
        ("resume", str(disk / "run")),
        ("report", str(disk / "run")),
    ):
        assert server.carry_out(*arguments)["code"] == 1, server.said
        assert "Read-only file system" in server.said or "not writable" in server.said
        assert "Traceback" not in server.said
    assert server.carry_out("ls", str(disk))["code"] == 0
    assert _hashes(disk) == before


def _hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- damaged files ---------------------------------------------------------------------------------------------------


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["latest.pt", "fork-exit.pt", "fork-again.pt"])
@pytest.mark.parametrize("damage", ["cut off", "flipped", "empty", "gone"])
def test_a_damaged_checkpoint_is_told_and_the_other_one_taken(
    server: Server, short, stopped: Path, tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    path, chance = folder / "checkpoints" / name, random.Random(name + damage)
    if damage == "flipped":
        flip(path, chance.randrange(path.stat().st_size * 8))
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size) if damage == "cut off" else 0])
    assert server.carry_out("resume", str(folder))["code"] == 0, server.said
    if name != "fork-exit.pt":  # whose arm has begun already
        assert name in server.said
        assert "instead" in server.said
    assert_same_runs(short[1], folder)


def test_with_both_checkpoints_damaged_it_says_what_to_do_and_touches_nothing(
    server: Server, stopped: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    for name in ("latest.pt", "previous.pt"):
        flip(folder / "checkpoints" / name, 4321)
    before = _hashes(folder)
    assert server.carry_out("resume", str(folder))["code"] == 1
    assert f"studyrun run {folder}/study.yaml" in server.said
    assert "latest.pt is damaged: its content does not have the checksum" in server.said
    assert _hashes(folder) == {path: digest for path, digest in before.items() if not path.endswith("run.lock")}


def test_no_flipped_bit_and_no_cut_of_a_checkpoint_is_ever_read(stopped: Path, tmp_path: Path) -> None:
    whole, path, chance = (stopped / "checkpoints" / "latest.pt").read_bytes(), tmp_path / "it.pt", random.Random(5)
    path.write_bytes(whole)
    checkpoint.load(path)
    header = whole.index(b"\n") + 1
    for bit in [*range(header * 8), *(chance.randrange(len(whole) * 8) for _ in range(300))]:
        path.write_bytes(whole)
        flip(path, bit)
        with pytest.raises(RunFolderError, match=r"it\.pt"):
            checkpoint.load(path)
    for length in [*range(header + 2), *(chance.randrange(len(whole)) for _ in range(100))]:
        path.write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match=r"it\.pt"):
            checkpoint.load(path)


def test_a_trace_that_was_cut_off_is_refused_and_kept(server: Server, stopped: Path, tmp_path: Path) -> None:
    folder, chance = tmp_path / "run", random.Random(6)
    shutil.copytree(stopped, folder)
    trace = folder / "trace.h5"
    whole = trace.read_bytes()
    for length in [0, 7, 100, *(chance.randrange(len(whole)) for _ in range(5))]:
        trace.write_bytes(whole[:length])
        assert server.carry_out("resume", str(folder))["code"] == 1, (length, server.said)
        assert "Traceback" not in server.said
        assert "trace.h5" in server.said
        assert trace.read_bytes() == whole[:length]
    trace.write_bytes(whole)
    assert server.carry_out("resume", str(folder))["code"] == 0, server.said


def test_an_older_trace_beside_a_newer_checkpoint_is_refused(
    server: Server, short, stopped: Path, tmp_path: Path
) -> None:
    """As after copying a folder's parts at different times: rows would be missing between."""
    study, _ = short
    early, folder = tmp_path / "early", tmp_path / "run"
    marker = str(early / "checkpoints" / "fork-exit.pt")
    assert server.carry_out("run", str(study), "--out", str(early), signals=[(signal.SIGKILL, marker)])["code"] == -9
    shutil.copytree(stopped, folder)
    shutil.copy(early / "trace.h5", folder / "trace.h5")
    assert server.carry_out("resume", str(folder))["code"] == 1
    assert "trace.h5 is older than the checkpoint, by which arm 'baseline' had come to its end" in server.said


@pytest.mark.parametrize("name", ["status.json", "provenance.json", "events.jsonl", "run.lock"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff{", b"[]"])
def test_a_damaged_note_beside_the_trace_is_no_hindrance(
    server: Server, short, stopped: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / name).write_bytes(content)
    assert server.carry_out("resume", str(folder))["code"] == 0, server.said
    assert_same_runs(short[1], folder)


# --- clocks and company ----------------------------------------------------------------------------------------------


def test_clocks_that_jump_a_day_forth_and_back_change_nothing(server: Server, short, tmp_path: Path) -> None:
    study, whole = short
    folder = tmp_path / "run"
    kill = [(signal.SIGKILL, str(folder / "checkpoints" / "fork-exit.pt"))]
    assert server.carry_out("run", str(study), "--out", str(folder), clock=86_400.0, signals=kill)["code"] == -9
    assert server.carry_out("resume", str(folder), clock=-86_400.0)["code"] == 0, server.said
    assert_same_runs(whole, folder)
    assert 0 < open_run(folder).status["seconds"] < 3_600


def test_of_two_processes_that_resume_one_folder_one_does(short, stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    command = [sys.executable, "-m", "studyrun", "resume", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = [one.communicate(timeout=PATIENCE)[1] for one in both]
    assert sorted(one.returncode for one in both) in ([0, 0], [0, 1])
    for one, text in zip(both, said, strict=True):
        assert one.returncode == 0 or "is being filled by process" in text
    assert (folder / "events.jsonl").read_text().count('"run resumed"') == 1
    assert_same_runs(short[1], folder)
