"""What a resumed run says of everything that its bits depend on and that is not as it was."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from studyrun.engine.prepare import Prepared, prepare
from studyrun.engine.provenance import differences, provenance
from studyrun.study import load_study

PROBE = '''\
"""One."""

from studyrun.plugin import Channel, Probe


class One(Probe):
    """The number one."""

    def channels(self, context):
        """One number."""
        return (Channel("one", long_name="one", symbol="1", units="1"),)

    def measure(self, snapshot, carry):
        """One."""
        return {"one": 1.0}, carry
'''


@pytest.fixture
def prepared(tiny, data_folder: Path, tmp_path: Path) -> Prepared:
    path = tmp_path / "plugins" / "probes" / "one.py"
    path.parent.mkdir(parents=True)
    path.write_text(PROBE)
    return prepare(tiny("  - one\n"), data_folder)


def test_a_run_that_goes_on_where_it_began_has_nothing_to_say(prepared: Prepared) -> None:
    assert differences(prepared.problem, provenance(prepared.problem, [])) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("packages", "torch"), r"the run began with torch other and goes on with .*: from here on it may differ in"),
        (("packages", "numpy"), r"the run began with numpy other"),
        (("studyrun",), r"the run began with studyrun other"),
        (("device",), r"the run began with the device other and goes on with cpu"),
        (("plugins", "probes/one", "sha256"), r"probes/one in .*one\.py is not the component that the run began with"),
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


@pytest.mark.parametrize("facts", [{}, {"packages": {}}, {"plugins": {}, "device": None}])
def test_what_an_older_version_did_not_write_is_no_difference(prepared: Prepared, facts: dict[str, Any]) -> None:
    assert differences(prepared.problem, facts) == []


def test_a_changed_source_is_seen_from_the_file(prepared: Prepared, tmp_path: Path) -> None:
    facts = provenance(prepared.problem, [])
    path = tmp_path / "plugins" / "probes" / "one.py"
    path.write_text(PROBE.replace("1.0", "2.0"))
    again = prepare(load_study(prepared.study.source), tmp_path)
    assert "its source has changed" in differences(again.problem, facts)[0]
