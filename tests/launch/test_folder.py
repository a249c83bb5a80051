"""Run folders are numbered, made once, and never taken over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from oracles.plain_study import PLAIN

from studyrun.cli import call
from studyrun.errors import RunFolderError, UsageError
from studyrun.launch.folder import check_place, data_folder, make_run_folder, outputs_folder


def test_folders_are_numbered_in_turn() -> None:
    assert [str(make_run_folder()) for _ in range(3)] == ["outputs/run1", "outputs/run2", "outputs/run3"]


def test_a_gap_stays_a_gap_and_other_names_do_not_count() -> None:
    for name in ("run2", "run10", "run007x", "old-run99", "running"):
        Path("outputs", name).mkdir(parents=True)
    assert make_run_folder().name == "run11"


def test_the_root_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_OUTPUTS", str(tmp_path / "elsewhere" / "deep"))
    assert make_run_folder() == tmp_path / "elsewhere" / "deep" / "run1"


def test_out_is_made_exactly(tmp_path: Path) -> None:
    assert make_run_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_out_is_refused_if_anything_stands_there(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "taken"
    {"folder": out.mkdir, "file": out.touch, "dangling link": lambda: out.symlink_to("nowhere")}[kind]()
    with pytest.raises(RunFolderError, match=r"taken exists already; a run folder is never overwritten"):
        check_place(out)
    with pytest.raises(RunFolderError, match=r"taken exists already; a run folder is never overwritten"):
        make_run_folder(out)


def test_processes_that_ask_at_once_get_folders_of_their_own() -> None:
    code = "from studyrun.launch.folder import make_run_folder as f; print(*(f().name for _ in range(40)))"
    asking = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    given = [name for process in asking for name in process.communicate()[0].split()]
    assert len(given) == 120
    assert sorted(given) == sorted(f"run{number}" for number in range(1, 121))


def test_a_file_in_the_way_is_named() -> None:
    Path("outputs").touch()
    with pytest.raises(RunFolderError, match=r"be made in outputs: .*outputs is not a folder; choose"):
        check_place(None)
    with pytest.raises(RunFolderError, match=r"no run folder can be made in outputs: .* --out or \$STUDYRUN_OUTPUTS"):
        make_run_folder()


def test_a_place_that_cannot_be_written_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunFolderError, match=r"no run folder can be made in outputs: .*here is not writable; choose"):
        check_place(None)


@pytest.mark.parametrize("out", [None, Path("mine")])
def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, out: Path | None) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(RunFolderError, match=r"no run folder can be made in .*: No space left on device; choose"):
        make_run_folder(out)


def test_the_data_folder_is_the_environments_or_lies_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_DATA", "~/sets")
    assert data_folder() == Path.home() / "sets"
    monkeypatch.delenv("STUDYRUN_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_folder() == Path.home() / ".cache" / "studyrun" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert data_folder() == Path("/var/cache/me/studyrun/data")


def test_outputs_lie_in_the_working_directory() -> None:
    assert outputs_folder() == Path("outputs")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user whom the system does not know, as in a container that is given a bare number."""

    def unknown(user: int | str) -> None:
        raise KeyError(f"{user} not found")

    for name in ("HOME", "STUDYRUN_DATA", "STUDYRUN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_whoever_has_no_home_has_the_cache_where_they_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert data_folder() == Path(".cache/studyrun/data")
    Path("study.yaml").write_text(PLAIN.replace("{use: chebyshev, degree: 3, points: 12}", "{use: dice, size: 40}"))
    assert call(["run", "study.yaml"]) == 0
    assert capsys.readouterr().out == "outputs/run1\n"
    assert {path.name for path in Path().iterdir()} == {"study.yaml", "outputs", ".cache"}


@pytest.mark.parametrize(("variable", "folder"), [("STUDYRUN_DATA", data_folder), ("STUDYRUN_OUTPUTS", outputs_folder)])
def test_a_home_that_nobody_has_is_said(
    monkeypatch: pytest.MonkeyPatch, variable: str, folder: Callable[[], Path]
) -> None:
    monkeypatch.setenv(variable, "~no-such-user/here")
    with pytest.raises(UsageError, match=rf"\${variable} is ~no-such-user/here, and no home directory is known"):
        folder()
