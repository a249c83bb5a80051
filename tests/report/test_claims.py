"""Verdicts in one sentence and in JSON, and claims that break."""

from __future__ import annotations

import json
from math import inf, nan

import pytest

from studyrun.component import Verdict
from studyrun.report.claims import DecidedClaim, decide_all, summary, to_json
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run

BREAKS = '''
from studyrun.plugin import Claim

class Breaks(Claim):
    """A claim that breaks."""

    value: int = 0
    """What it returns, or 0 to raise."""

    def decide(self, ensemble):
        return self.value or 1 / 0
'''


def decided(*holds, runs=7):
    return [DecidedClaim(f"c{n}", "use", "", Verdict(one, 1.0, None, "s", runs)) for n, one in enumerate(holds)]


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ((), ""),
        ((True,), "The one claim of this study holds."),
        ((False,), "The one claim of this study does not hold."),
        ((None,), "The one claim of this study cannot be decided."),
        ((True, True), "All 2 claims hold."),
        ((True, False, None), "Of 3 claims 1 holds, 1 does not hold, 1 cannot be decided."),
        ((False, False, True, True), "Of 4 claims 2 hold, 2 do not hold."),
    ],
)
def test_summary(holds, words):
    assert summary(decided(*holds)) == words


def test_what_one_run_shows_was_seen_once():
    assert summary(decided(True, runs=1)) == "The one claim of this study was seen once."
    assert summary(decided(True, True, runs=1)) == "All 2 claims were seen once."
    mixed = [*decided(True, True), *decided(True, True, False, runs=1)]
    assert summary(mixed) == "Of 5 claims 2 hold, 2 were seen once, 1 does not hold."
    assert [(claim.mark, claim.word) for claim in mixed[2::2]] == [("✓", "seen once"), ("✗", "does not hold")]
    (one,) = json.loads(to_json(decided(True, runs=1)))["claims"]
    assert (one["holds"], one["verdict"], one["runs"], one["interval"], one["coverage"]) == (
        True,
        "seen once",
        1,
        None,
        None,
    )


def test_json_has_no_number_that_json_cannot_hold():
    claim = DecidedClaim("c", "u", "x=1", Verdict(None, nan, (-inf, 2.0), "s", 2))
    (one,) = json.loads(to_json([claim]), parse_constant=pytest.fail)["claims"]
    assert (one["statistic"], one["interval"], one["condition"]) == (None, [None, 2.0], "x=1")


def test_a_claim_that_breaks_is_undecided_and_says_why(run_folder, tmp_path, monkeypatch):
    claims = [{"use": "breaks"}, {"use": "breaks", "as": "odd", "value": 3}, {"use": "brakes"}, {"use": "reaches"}]
    folder = run_folder(study={"claims": claims})
    (tmp_path / "own" / "claims").mkdir(parents=True)
    (tmp_path / "own" / "claims" / "breaks.py").write_text(BREAKS)
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(tmp_path / "own"))
    raised, odd, unknown, fine = decide_all([for_run(open_run(folder))])
    assert raised.verdict.sentence == "cannot be decided: ZeroDivisionError: division by zero"
    assert odd.verdict.sentence == "cannot be decided: decide() returned 3, which is no Verdict"
    assert "did you mean 'breaks'?" in unknown.verdict.sentence
    assert [claim.verdict.holds for claim in (raised, odd, unknown, fine)] == [None, None, None, True]
