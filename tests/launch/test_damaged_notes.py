"""Notes beside the trace say things that no run writes: a sweep goes on, and every folder is listed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from oracles.plain_study import PLAIN

from studyrun.cli import call
from studyrun.engine.events import Journal, Silent
from studyrun.launch.follow import Follower
from studyrun.launch.start import launch, resume
from studyrun.launch.state import read_status
from studyrun.study import load_study

DEEP = '{"a":' * 100_000


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose members have ended."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "study.yaml").write_text(PLAIN + "sweep: {seed: [0, 1]}\n")
    return launch(load_study(folder / "study.yaml"), out=folder / "ended").folder


@pytest.fixture
def sweep(ended: Path, tmp_path: Path) -> Path:
    """A copy of it, which does not say that it has ended."""
    folder = shutil.copytree(ended, tmp_path / "sweep")
    change(folder / "status.json", state="interrupted")
    return folder


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("content", ["{", '{"command": 3}', '{"command": [3]}', DEEP, "[]"])
def test_a_sweep_goes_on_whatever_became_of_its_first_members_provenance(sweep: Path, content: str) -> None:
    (sweep / "seed=0" / "provenance.json").write_text(content)
    assert resume(sweep).state == "complete"


@pytest.mark.parametrize(
    "said",
    [
        *({"workers": workers} for workers in ("x", None, 0, -1, True, 2.5, [])),
        *({"threads": threads} for threads in ("a", None, 0, -1, True, 10**30)),
        {"seconds": "x"},
        {"seconds": 10**400},
        {"members": [1]},
        {"state": ["complete"]},
    ],
    ids=str,
)
def test_a_sweep_goes_on_whatever_its_status_says(sweep: Path, said: dict[str, Any]) -> None:
    change(sweep / "status.json", **said)
    assert resume(sweep).state == "complete"
    status = json.loads((sweep / "status.json").read_text())
    assert status["workers"] == status["threads"] == 1


@pytest.mark.parametrize("content", ['{"state": "complete", "arms": 3}', '{"state": "complete", "arms": [1]}'])
def test_a_member_that_has_ended_is_left_alone_whatever_it_says_of_its_arms(sweep: Path, content: str) -> None:
    (sweep / "seed=0" / "status.json").write_text(content)
    assert resume(sweep).state == "complete"
    assert resume(sweep / "seed=0").arms == {}


def test_a_status_nested_beyond_all_measure_is_none(sweep: Path) -> None:
    (sweep / "status.json").write_text(DEEP)
    assert read_status(sweep) == {}
    assert resume(sweep).state == "complete"


def test_one_folder_with_an_odd_status_hides_no_other(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = sweep.parent / "runs"
    odd = [{"seconds": "x"}, {"seconds": 10**400}, {"arms": 3}, {"arms": [1]}, {"state": 3}, {"arms": {"a": {}}}]
    for number, said in enumerate(odd):
        change(shutil.copytree(sweep / "seed=0", place / f"run{number}") / "status.json", **said)
    for number, members in enumerate([[1], {"seed=0": 3}, {"seed=0": {}}, 3], start=len(odd)):
        change(shutil.copytree(sweep, place / f"run{number}") / "status.json", members=members)
        (place / f"run{number}" / "seed=0" / "status.json").unlink()
    (place / "²").mkdir()
    (place / "²" / "status.json").write_text(DEEP)
    for arguments in ([], ["--json"]):
        assert call(["ls", str(place), *arguments]) == 0
        out = capsys.readouterr().out
        assert all(f"run{number}" in out for number in range(10))
        assert "²" in out


def test_a_pipe_in_place_of_a_status_holds_nobody_up(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "seed=0" / "status.json").unlink()
    os.mkfifo(sweep / "seed=0" / "status.json")
    assert call(["ls", str(sweep)]) == 0
    rows = [" ".join(row.split()[1:3]) for row in capsys.readouterr().out.splitlines()]
    assert rows[0] == "not started"
    assert rows[1].startswith("complete")


def test_a_member_is_followed_whatever_it_says(sweep: Path) -> None:
    member = sweep / "seed=0"
    follower = Follower(member)
    with (member / "events.jsonl").open("a") as events:
        events.write(f'{DEEP}\n{{"message": 3}}\n3\n')
    for said in ({"arm": 3}, {"arm": "baseline", "step": "x", "fraction": None}):
        change(member / "status.json", state="running", **said)
        follower.poll(Silent())


def test_time_that_nobody_can_have_run_for_is_not_counted(sweep: Path) -> None:
    change(sweep / "status.json", seconds=10**400)
    Journal(sweep, Silent()).set_status(state="running")
    assert json.loads((sweep / "status.json").read_text())["seconds"] < 60
