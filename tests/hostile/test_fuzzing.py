"""Loading under the coverage-guided fuzzer: a short campaign here, ten minutes among the slow tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile.fuzzing import WHOLE, campaign


def test_loading_survives_fuzzing_guided_by_coverage(folder: Path) -> None:
    found = campaign(folder, executions=200, seed=5, patterns=[])
    assert [text for _, text in found.crashes] == []
    assert WHOLE in found.valid, "the seed that reaches furthest is a study"
    assert len(found.corpus) > 20, "many of the changed inputs went new ways"


@pytest.mark.slow
def test_loading_survives_ten_minutes_of_fuzzing(folder: Path) -> None:
    found = campaign(folder, seconds=600, seed=2)
    assert [text for _, text in found.crashes] == []


def test_the_fuzzer_finds_what_is_planted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that only changed inputs meet, so that a fuzzer that changes nothing would not see it.

    Which inputs are kept depends on what the process has in its caches already; 100 inputs meet it every other time.
    """
    from studyrun.study import load

    honest = load.put

    def planted(tree: Any, setting: Any, faults: Any) -> Any:
        assert "1" not in setting.where, "planted"
        return honest(tree, setting, faults)

    monkeypatch.setattr(load, "put", planted)
    found = campaign(folder, executions=3000, faults=1, seed=11, patterns=[])
    assert found.crashes
    assert all("planted" in text for _, text in found.crashes)
