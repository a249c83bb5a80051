"""A request to stop arrives, whatever it is turned into on the way, and every handler is held to that."""

from __future__ import annotations

import ast
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from oracles.effort import PATIENCE

import studyrun
from studyrun.engine.signals import StopRequest
from studyrun.stopping import heed, heeding, python_heard, taken

ROOT = Path(studyrun.__file__).parent
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
BROAD = {"Exception", "BaseException"}


def press() -> None:
    """Ctrl-C, and the line at which it arrives."""
    os.kill(os.getpid(), signal.SIGINT)
    sleep(0)


def disguise() -> None:
    """As matplotlib's text does: its C++ makes a RuntimeError of whatever Python raises inside."""
    try:
        press()
    except BaseException as error:
        raise RuntimeError("In FT2Font: a glyph could not be loaded") from error


def swallow() -> None:
    """As a bare `except:` does, or a comparison inside a dict."""
    with suppress(BaseException):
        press()


@pytest.fixture
def listening() -> Iterator[None]:
    """Signals go where a command has them go."""
    StopRequest._interrupted = float("-inf")
    with StopRequest().listening(begun=False):
        yield


@pytest.mark.parametrize("lose", [disguise, swallow, press])
@pytest.mark.usefixtures("listening")
def test_whatever_becomes_of_it_the_block_ends_with_it(lose: Callable[[], None]) -> None:
    with pytest.raises(KeyboardInterrupt), heeding():
        lose()
    with pytest.raises(KeyboardInterrupt):
        heed()  # it stands, until
    taken()
    heed()


@pytest.mark.parametrize("lose", [disguise, swallow])
def test_the_last_block_ends_with_it_and_nothing_comes_after(lose: Callable[[], None]) -> None:
    StopRequest._interrupted, stop, reached = float("-inf"), StopRequest(), []
    with stop.listening(begun=False):
        with stop.last():
            lose()
            heed()
            reached.append("the next step")
        heed()
    assert reached == []


def test_what_was_asked_of_one_block_is_not_asked_of_the_next() -> None:
    for _ in range(2):
        StopRequest._interrupted = float("-inf")
        with StopRequest().listening(begun=False):
            heed()
            swallow()
    heed()


def test_where_no_command_listens_pythons_own_interrupt_stands_as_well() -> None:
    with python_heard(), pytest.raises(KeyboardInterrupt), heeding():
        disguise()
    heed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_makes_a_request_again_that_came_into_a_finalizer() -> None:
    class Thing:
        def __del__(self) -> None:
            press()

    StopRequest._interrupted = float("-inf")
    put_back = StopRequest().listen(begun=False)
    try:
        things, until = [Thing()], monotonic() + PATIENCE
        with pytest.raises(KeyboardInterrupt):
            _drop(things, until)
    finally:
        put_back()
        taken()


def _drop(things: list[object], until: float) -> None:
    things.clear()
    while monotonic() < until:
        sleep(0.001)


# --- the rule -------------------------------------------------------------------------------------------------------


def _names(node: ast.expr | None) -> set[str]:
    if node is None:
        return {"BaseException"}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _calls(statement: ast.stmt) -> str:
    """The name of the function that a statement is a bare call of."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""


def _heeds(block: ast.Try, handler: ast.ExceptHandler) -> bool:
    """Heeds first of all, or hands on what it got, or guards a block that heeds, or ends in one."""
    raised = handler.body[-1]
    hands_on = isinstance(raised, ast.Raise) and raised.exc is None and not _branches(handler)
    first = block.body[0]
    guards = isinstance(first, ast.With) and len(block.body) <= 2 and "heeding()" in ast.unparse(first).split("\n")[0]
    return (
        _calls(handler.body[0]) == "heed"
        or hands_on
        or guards
        or any(_calls(statement) == "heed" for statement in block.finalbody)
    )


def _branches(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Return | ast.If) for node in ast.walk(handler))


def faults(source: str) -> list[int]:
    """The lines of the handlers through which a request to stop could be lost."""
    found = []
    for block in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Try)):
        for handler in block.handlers:
            if _names(handler.type) & BROAD and not _heeds(block, handler):
                found.append(handler.lineno)
            if "KeyboardInterrupt" in _names(handler.type):
                ends = [*handler.body, *block.finalbody]
                if not any(_calls(statement) == "taken" for statement in ends):
                    found.append(handler.lineno)
    for block in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.With)):
        items = [ast.unparse(item.context_expr) for item in block.items]
        if any(re.match(r"suppress\(.*\b(Base)?Exception\b", item) for item in items) and "heeding()" not in items:
            found.append(block.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_handler_loses_it(path: Path) -> None:
    known = {"launch/worker.py": 2, "cli.py": 1, "engine/signals.py": 1}  # of another process, at the end, made again
    assert len(faults(path.read_text())) == known.get(str(path.relative_to(ROOT)), 0), faults(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception as error:\n    raise ValueError from error",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept (OSError, BaseException):\n    if x:\n        raise\n    raise",
        "try:\n    f()\nexcept KeyboardInterrupt:\n    pass",
        "\n\nwith suppress(OSError, Exception):\n    f()",
    ],
)
def test_the_rule_sees_a_handler_that_does(source: str) -> None:
    assert faults(source) == [3]
