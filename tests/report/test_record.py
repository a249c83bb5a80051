"""What a run folder says of itself."""

from __future__ import annotations

import json

import pytest
from oracles.synthetic_run import make_run

from studyrun.report.record import MOST_WARNINGS, note_on, state_of, warnings_of
from studyrun.trace.reader import open_run


def opened(tmp_path, *, state="complete", status=None, events=""):
    make_run(tmp_path / "run", steps=10, branches=False, groups=(), state=state)
    if status is not None:
        (tmp_path / "run" / "status.json").write_text(json.dumps(status))
    (tmp_path / "run" / "events.jsonl").write_text(events)
    return open_run(tmp_path / "run")


def test_a_complete_run_needs_no_note(tmp_path):
    run = opened(tmp_path)
    assert (state_of(run), note_on(run)) == ("complete", "")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"state": "running", "step": 1234}, "This run is still going on, at step 1,234"),
        ({"state": "interrupted", "step": 5}, "`studyrun resume run` goes on from its last checkpoint"),
        ({"state": "failed", "error": "probe 'x' raised"}, "This run failed: this page shows"),
        ({"state": "failed", "error": "probe 'x' raised"}, "probe 'x' raised"),
    ],
)
def test_any_other_run_says_how_far_it_got(tmp_path, status, words):
    assert words in note_on(opened(tmp_path, status=status))


def test_without_status_the_trunk_speaks(tmp_path):
    run = opened(tmp_path, state="diverged", status={})
    assert state_of(run) == "diverged"


def test_warnings_are_told_once_with_their_number(tmp_path):
    lines = [
        {"level": "warning", "message": "a"},
        {"level": "info", "message": "no"},
        {"level": "warning", "message": "a"},
    ]
    lines += [{"level": "error", "event": "broke"}]
    run = opened(tmp_path, events="\n".join(map(json.dumps, lines)) + '\n[1]\n{"level": "warn')
    assert list(warnings_of(run)) == ["a (2 times)", "broke"]


def test_a_flood_of_warnings_is_cut(tmp_path):
    lines = [json.dumps({"level": "warning", "message": f"w{n}"}) for n in range(MOST_WARNINGS + 7)]
    found = warnings_of(opened(tmp_path, events="\n".join(lines)))
    assert len(found) == MOST_WARNINGS + 1
    assert found[-1] == "and 7 more, in events.jsonl"
