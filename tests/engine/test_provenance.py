"""What a resumed run says of everything that its bits depend on and that is not as it was."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from studyrun.engine.prepare import Prepared, prepare
from studyrun.engine.provenance import differences, provenance


@pytest.fixture
def prepared(tiny, data_folder: Path) -> Prepared:
    return prepare(tiny(), data_folder)


def test_a_run_that_goes_on_where_it_began_has_nothing_to_say(prepared: Prepared) -> None:
    assert differences(prepared.problem, provenance(prepared.problem, [])) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("packages", "torch"), r"the run began with torch other and goes on with .*: from here on it may differ in"),
        (("packages", "numpy"), r"the run began with numpy other"),
        (("studyrun",), r"the run began with studyrun other"),
        (("device",), r"the run began with the device other and goes on with cpu"),
    ],
)
def test_whatever_is_not_as_it_was_is_said(prepared: Prepared, path: tuple[str, ...], words: str) -> None:
    facts: dict[str, Any] = copy.deepcopy(provenance(prepared.problem, []))
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "other"
    (said,) = differences(prepared.problem, facts)
    assert re.match(words, said)


@pytest.mark.parametrize("facts", [{}, {"packages": {}}, {"device": None}])
def test_what_an_older_version_did_not_write_is_no_difference(prepared: Prepared, facts: dict[str, Any]) -> None:
    assert differences(prepared.problem, facts) == []
