"""`studyrun new`: what it writes works as it stands, for every kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from oracles.effort import PATIENCE

from studyrun.cli import call
from studyrun.commands.kinds import singular
from studyrun.registry import Registry

KINDS = [singular(folder) for folder in Registry.kinds()]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDYRUN_PLUGINS", raising=False)


def test_every_kind_has_an_example() -> None:
    assert KINDS == ["claim", "dataset", "figure", "groups", "loss", "model", "optimizer", "probe", "trigger"]


def test_components_of_every_kind_are_listed_described_and_pass_their_own_tests(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for kind in KINDS:
        assert call(["new", kind, f"fresh_{kind}_2"]) == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == 2 * len(KINDS)
    assert all(Path(path).is_file() for path in written)
    texts = "".join(Path(path).read_text() for path in written)
    assert "my_" not in texts.replace("dummy_", "")
    assert "My" not in texts
    for kind in KINDS:
        assert call(["describe", kind, f"fresh_{kind}_2"]) == 0
    assert "[project: " not in capsys.readouterr().err
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "plugins/tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 3 * len(KINDS)


def test_a_component_that_is_there_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["new", "probe", "mine"]) == 0
    Path("plugins/probes/mine.py").write_text("changed")
    assert call(["new", "probe", "mine"]) == 2
    assert "there is a probe named 'mine' already: " in capsys.readouterr().err
    assert Path("plugins/probes/mine.py").read_text() == "changed"


def test_a_test_that_is_there_is_not_written_over_either(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plugins/tests/probes").mkdir(parents=True)
    Path("plugins/tests/probes/test_mine.py").write_text("kept")
    assert call(["new", "probe", "mine"]) == 2
    assert "test_mine.py exists already; nothing was written" in capsys.readouterr().err
    assert not Path("plugins/probes/mine.py").exists()


@pytest.mark.parametrize("name", ["Mine", "my-probe", "2nd", "class", "a b", "../mine", ""])
def test_a_name_that_yaml_or_python_could_not_hold_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["new", "probe", name]) == 2
    assert f"{name!r} cannot be a component's name; lower-case words such as my_probe can" in capsys.readouterr().err
    assert not Path("plugins").exists()


def test_the_name_of_a_built_in_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["new", "probe", "loss"]) == 2
    assert "there is a probe named 'loss' already: " in capsys.readouterr().err


def test_from_a_folder_inside_it_goes_into_the_projects_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("studies")
    assert call(["new", "losses", "mine"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "plugins" / "losses" / "mine.py")
