"""Deciding what a study asserts, and writing it down for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, cast

from studyrun.code.drawing import drawing_alike
from studyrun.component import Claim, ComparingClaim, Verdict
from studyrun.errors import StudyrunError
from studyrun.report.blocks import Block, blocks, build, compares
from studyrun.report.record import state_of
from studyrun.stopping import heed

if TYPE_CHECKING:
    from studyrun.trace.ensemble import Ensemble

FORMAT = 1
UNFINISHED = ("running", "interrupted")
MARKS = {True: "✓", False: "✗", None: "?"}
PHRASES = {
    "holds": ("holds", "hold"),
    "seen once": ("was seen once", "were seen once"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("cannot be decided", "cannot be decided"),
}


@dataclass(frozen=True, slots=True)
class DecidedClaim:
    """A claim with its verdict. `condition` names the point of a sweep, without its seeds."""

    label: str
    use: str
    condition: str
    verdict: Verdict

    @property
    def mark(self) -> str:
        """The verdict as a sign."""
        return MARKS[self.verdict.holds]

    @property
    def word(self) -> str:
        """The verdict in words."""
        return self.verdict.word


def decide_all(ensembles: Sequence[Ensemble]) -> Iterator[DecidedClaim]:
    """Decide every claim of the study, in each condition that it is about, or over all of these where it compares them.

    One that cannot be decided, for whatever reason, says so in its sentence.
    """
    for block in blocks(ensembles[0].run.document.get("claims") or ()):
        about = [ensemble for ensemble in ensembles if ensemble.says(block.where)]
        if not about:
            reason = f"no run has {', '.join(f'{path} = {value}' for path, value in block.where.items())}"
            yield DecidedClaim(block.label, block.use, "", Verdict.undecided(reason))
        elif compares("claims", block, about[0].run):
            yield DecidedClaim(block.label, block.use, "", _decide(block, about))
        else:
            yield from (DecidedClaim(block.label, block.use, one.name, _decide(block, [one])) for one in about)


def _decide(block: Block, ensembles: Sequence[Ensemble]) -> Verdict:
    try:
        claim = cast(Claim, build("claims", block, ensembles[0].run))
        with drawing_alike():
            verdict = claim.decide_all(ensembles) if isinstance(claim, ComparingClaim) else claim.decide(ensembles[0])
    except StudyrunError as error:
        return Verdict.undecided(str(error))
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises, the other claims are decided
        return Verdict.undecided(f"{type(error).__name__}: {error}")
    finally:
        heed()
    if not isinstance(verdict, Verdict):
        return Verdict.undecided(f"decide() returned {verdict!r}, which is no Verdict")
    unfinished = sum(state_of(run) in UNFINISHED for ensemble in ensembles for run in ensemble.runs)
    return _provisional(verdict, unfinished) if unfinished and verdict.holds is not None else verdict


def _provisional(verdict: Verdict, unfinished: int) -> Verdict:
    """A claim about a study is decided when its runs are over; until then the page says how it stands."""
    which = "the run is not over" if verdict.runs == 1 else f"{unfinished} of the runs are not over"
    return replace(verdict, holds=None, sentence=f"{which}; so far, it {PHRASES[verdict.word][0]}: {verdict.sentence}")


def summary(claims: Sequence[DecidedClaim]) -> str:
    """How many claims hold, in one sentence; empty where nothing is claimed."""
    if not claims:
        return ""
    counts = Counter(claim.word for claim in claims)
    parts = [f"{counts[word]} {phrase[counts[word] > 1]}" for word, phrase in PHRASES.items() if counts[word]]
    if len(claims) == 1:
        return f"The one claim of this study {PHRASES[claims[0].word][0]}."
    if len(counts) == 1 and claims[0].verdict.holds:
        return f"All {len(claims)} claims {PHRASES[claims[0].word][1]}."
    return f"Of {len(claims)} claims {', '.join(parts)}."


def to_json(claims: Sequence[DecidedClaim]) -> str:
    """The content of claims.json. Numbers that JSON cannot hold are null."""
    entries = [
        {
            "label": claim.label,
            "use": claim.use,
            "condition": claim.condition,
            "holds": claim.verdict.holds,
            "statistic": _finite(claim.verdict.statistic),
            "interval": [_finite(end) for end in claim.verdict.interval] if claim.verdict.interval else None,
            "coverage": claim.verdict.coverage,
            "runs": claim.verdict.runs,
            "verdict": claim.word,
            "sentence": claim.verdict.sentence,
        }
        for claim in claims
    ]
    return json.dumps({"format": FORMAT, "claims": entries}, indent=2, ensure_ascii=False, default=float) + "\n"


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
