"""The diff in provenance: of code below the project, bounded, without data and secrets, and only where it is wanted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from studyrun.engine.git import LONGEST_DIFF, MOST_NAMES, git_state


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("_dot_", ".").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project inside a larger repository, all of it committed."""
    project = tmp_path / "team" / "edge of stability"
    put(tmp_path, other__big_dot_py="a = 0\n", data_dot_csv="1,2\n")
    put(project, plugins__probes__mine_dot_py="a = 0\n", studies__a_dot_yaml="title: a\n", table_dot_csv="1,2\n")
    put(project, gone_dot_py="b = 0\n", _dot_env="KEY=0\n", secrets_dot_yaml="key: 0\n", numbers_dot_json="{}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", ".")
    git(tmp_path, "commit", "-q", "-m", "all")
    return project


def state(folder: Path) -> dict:
    found = git_state(folder)
    assert found is not None
    return found


def test_what_is_as_committed_has_nothing_to_say(project: Path) -> None:
    found = state(project)
    assert len(found.pop("commit")) == 40
    assert found == {"dirty": False, "diff": "", "untracked": [], "left_out": ""}


def test_only_code_below_the_project_is_shown(project: Path, tmp_path: Path) -> None:
    put(tmp_path, other__big_dot_py="foreign\n" * 1000, data_dot_csv="3,4\n", other__new_dot_py="foreign")
    put(project, plugins__probes__mine_dot_py="a = 1\n", table_dot_csv="datum\n", numbers_dot_json='{"datum": 1}\n')
    put(project, _dot_env="KEY=hush\n", secrets_dot_yaml="key: hush\n", new_dot_py="c = 0\n", new_dot_csv="datum\n")
    put(
        project, _dot_hidden__deploy_dot_toml="key = hush\n", my_dot_tokens_dot_cfg="hush\n", tokenizer_dot_py="d = 0\n"
    )
    (project / "gone.py").unlink()
    found = state(project)
    assert "-a = 0\n+a = 1\n" in found["diff"]
    assert "a/plugins/probes/mine.py" in found["diff"]
    assert "deleted file" in found["diff"]
    assert not [word for word in ("foreign", "datum", "hush") if word in str(found)]
    assert found["untracked"] == ["new.py", "tokenizer.py"]
    assert found["left_out"] == "3 files that are hidden or whose names speak of secrets"
    assert found["dirty"]


def test_data_that_changed_are_no_change_of_code(project: Path) -> None:
    put(project, table_dot_csv="datum\n", new_dot_npy="datum\n")
    assert not state(project)["dirty"]


def test_it_is_bounded_at_the_end_of_a_file(project: Path) -> None:
    put(
        project,
        plugins__probes__mine_dot_py="a = 2\n" * 40_000,
        gone_dot_py="b = 1\n",
        studies__a_dot_yaml="title: b\n",
    )
    found = state(project)
    assert len(found["diff"].encode()) < 1000
    assert "+b = 1" in found["diff"]
    assert "+title: b" in found["diff"]
    assert "a = 2" not in found["diff"]
    assert found["left_out"].startswith("the diff of one file, 280,")
    assert found["left_out"].endswith(f"bytes beyond {LONGEST_DIFF:,} (plugins/probes/mine.py)")


def test_a_huge_file_is_told_in_a_line(project: Path) -> None:
    put(project, plugins__probes__mine_dot_py=f"a = '{'x' * 1_100_000}'\n")
    assert "Binary files" in state(project)["diff"]


def test_untracked_files_are_named_up_to_a_number_and_none_of_what_is_installed(project: Path) -> None:
    put(project, **{f"many__{number:03}_dot_py": "" for number in range(MOST_NAMES + 7)})
    put(project, venv__lib__site_packages__x_dot_py="", node_modules__y__z_dot_py="")
    (project / "venv/lib/site_packages").rename(project / "venv/lib/site-packages")
    found = state(project)
    assert found["untracked"] == [f"many/{number:03}.py" for number in range(MOST_NAMES)]
    assert found["left_out"] == "the names of 7 more untracked files"


@pytest.mark.parametrize("off", ["0", "off", "No", "false"])
def test_it_can_be_switched_off(project: Path, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    put(project, plugins__probes__mine_dot_py="a = 1\n", new_dot_py="")
    monkeypatch.setenv("STUDYRUN_GIT_DIFF", off)
    found = state(project)
    assert (found["dirty"], found["diff"], found["untracked"]) == (True, "", [])
    assert found["left_out"] == f"the diff is switched off by STUDYRUN_GIT_DIFF={off}"


def test_no_program_of_the_repository_is_run(project: Path) -> None:
    """An external diff or a text conversion, which settings may name."""
    put(project, _dot_gitattributes="*.py diff=odd\n", plugins__probes__mine_dot_py="a = 1\n")
    for key in ("diff.external", "diff.odd.textconv", "diff.odd.command"):
        git(project, "config", key, "echo something-else")
    assert "something-else" not in state(project)["diff"]
    assert "+a = 1" in state(project)["diff"]


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
