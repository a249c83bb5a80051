"""Components that misbehave only once a study uses them: each is a fault of that study, at the line that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from studyrun.study import Study

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]
HEAD = """from typing import Any, ClassVar
from pydantic import field_serializer
from studyrun.plugin import Probe, Trigger
"""
PROBE = '''class Odd(Probe):
    """Odd."""
{body}
    def channels(self, context): ...
    def measure(self, snapshot, carry): ...
'''
TRIGGER = '''class Odd(Trigger):
    """Odd."""
    def watches(self):
        {body}
    def check(self, moment, carry): ...
'''


def write(folder: Path, kind: str, source: str, name: str = "odd") -> None:
    path = folder / "plugins" / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + source)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            '    default_schedule: ClassVar[Any] = {"every": 0}',
            "probes.1.default_schedule.every: the number 0 is wrong",
        ),
        ("    x: Any = object()", "the options cannot be written down so that the study runs again"),
        ("    x: float = float('inf')", "the options cannot be written down so that the study runs again"),
        (
            "    x: int = 1\n    @field_serializer('x')\n    def more(self, x: int) -> int:\n        return x + 1\n",
            "so that the study runs again; they read back as Odd(x=2)",
        ),
        ("    x: tuple[int, ...] = [1]", "the options cannot be written down so that the study runs again"),
    ],
)
def test_what_a_probe_declares_wrongly_is_a_fault_where_it_is_used(
    faults_of: FaultsOf, folder: Path, body: str, words: str
) -> None:
    write(folder, "probes", PROBE.format(body=body))
    (fault,) = faults_of("", "probes=[level, odd]")
    assert words in fault


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x')", "asking this trigger what it watches raised KeyError: 'x'"),
        ("return 3", "asking this trigger what it watches raised TypeError"),
        ("return 'levle'", "watches a probe labelled 'levle', and there is none; did you mean 'level'?"),
    ],
)
def test_a_trigger_that_cannot_say_what_it_watches(faults_of: FaultsOf, folder: Path, body: str, words: str) -> None:
    write(folder, "triggers", TRIGGER.format(body=body))
    (fault,) = faults_of("branches: {exit: {at: odd}}\n")
    assert fault.startswith("study.yaml:7:23: branches.exit.at: ")
    assert words in fault


def test_a_single_label_is_one_label(load: Load, folder: Path) -> None:
    write(folder, "triggers", TRIGGER.format(body="return 'level'"))
    assert load("branches: {exit: {at: odd}}\n").branches[0].use == "odd"


def test_two_of_one_name_are_a_fault_of_the_study_that_uses_them(load: Load, faults_of: FaultsOf, folder: Path) -> None:
    write(folder, "probes", PROBE.format(body=""), name="level")
    (fault,) = faults_of()
    assert fault.startswith("study.yaml:6:10: probes.0: two probes are named 'level': ")
    assert load("", "probes=[]").probes == ()


def test_only_what_the_study_names_is_imported(load: Load, folder: Path) -> None:
    write(folder, "probes", "raise SystemExit('imported')\n")
    study = load()
    assert {component.name for component in study.components} == {"net", "toy", "square", "descent", "level"}


def test_a_component_of_the_project_is_told_from_one_of_the_environment(load: Load, folder: Path) -> None:
    write(folder, "probes", PROBE.format(body="    k: int = 2"))
    study = load("", "probes=[level, odd]")
    assert {one.name: one.origin for one in study.components if one.kind == "probes"} == {
        "level": "environment",
        "odd": "project",
    }
    assert study.document["probes"][1] == {"use": "odd", "k": 2, "every": 1}
