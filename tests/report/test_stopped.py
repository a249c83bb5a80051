"""A report that is stopped while it draws or decides: the request arrives, and the older report stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib.lines
import matplotlib.text
import pytest

import studyrun.report.claims
import studyrun.report.contents
import studyrun.report.export
from studyrun.commands.report import interruptible
from studyrun.engine.signals import StopRequest
from studyrun.errors import InterruptedRunError
from studyrun.report import build_report
from studyrun.trace.channel_trace import ChannelTrace

CLAIM = {"use": "sign", "channel": "by_group", "arm": "exit", "sign": "positive", "select": {"group": "inlier"}}
PLACES: tuple[tuple[Any, str], ...] = (
    (matplotlib.text.Text, "get_window_extent"),
    (matplotlib.text.Text, "draw"),
    (matplotlib.lines.Line2D, "draw"),
    (ChannelTrace, "select"),
    (studyrun.report.claims, "build"),
    (studyrun.report.contents, "planned"),
    (studyrun.report.export, "_lines"),
)


def disguised(error: BaseException) -> None:
    """Make another error of it, as code in C++ does."""
    raise RuntimeError("a glyph could not be loaded") from error


def dropped(error: BaseException) -> None:
    """Go on as if nothing were."""


def through(function: Callable[..., Any], call: int, lose: Callable[[BaseException], None]) -> Callable[..., Any]:
    """The function, with a Ctrl-C at one of its calls, which `lose` sees to."""
    calls = iter(range(10**6))

    @wraps(function)
    def calling(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException as error:  # noqa: BLE001
                lose(error)
        return function(*arguments, **named)

    return calling


@pytest.mark.parametrize(("lose", "who"), [(disguised, "a command"), (dropped, "a command"), (disguised, "Python")])
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=lambda place: getattr(place, "__name__", place))
def test_a_request_that_a_library_loses_stops_the_report_and_leaves_the_older_one(
    run_folder, monkeypatch, owner, name, lose, who
) -> None:
    folder = run_folder(study={"figures": ["loss"], "claims": [CLAIM]}, branches=False, steps=20)
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("the older one")
    call = 0 if name in ("build", "planned", "_lines") else 1
    monkeypatch.setattr(owner, name, through(getattr(owner, name), call, lose))
    StopRequest._interrupted = float("-inf")
    with (
        StopRequest().listening(begun=False) if who == "a command" else nullcontext(),
        pytest.raises(InterruptedRunError, match="report is as it was before, and the run is not touched"),
    ):
        interruptible(folder)
    assert (folder / "report" / "index.html").read_text() == "the older one"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("at", ["rename", "rmtree"])
def test_stopped_while_the_new_one_takes_its_place_one_of_both_is_there(run_folder, monkeypatch, at) -> None:
    folder = run_folder(study={"figures": []})
    build_report(folder)
    (folder / "report" / "mark").touch()
    owner = Path if at == "rename" else studyrun.report.folder.shutil
    original = getattr(owner, at)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        monkeypatch.setattr(owner, at, original)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, at, interrupted)
    words = "as it was before" if at == "rename" else "the new one"
    with pytest.raises(InterruptedRunError, match=f"report is {words}"):
        interruptible(folder)
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "report" / "mark").exists() == (at == "rename")
