"""From a run folder, or a sweep's, to `report/`: figures, numbers, verdicts and the page, in place of the last one."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from studyrun import __version__
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.report.arms import arm_facts, fork_marks
from studyrun.report.blocks import Block, registry_of
from studyrun.report.claims import DecidedClaim, decide_all, summary, to_json
from studyrun.report.comparison import draw_comparison, numeric_parameters
from studyrun.report.cost import cost_of
from studyrun.report.export import file_name
from studyrun.report.figures import DrawnFigure, Skipped, draw, draw_with, planned
from studyrun.report.page import Page, Section, render
from studyrun.report.record import note_on, state_of, warnings_of
from studyrun.report.sources import Source, bibliography
from studyrun.report.style import Palette, settings
from studyrun.report.tables import arm_table, member_rows, swept_keys
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import Run, Sweep, open_run

if TYPE_CHECKING:
    from studyrun.component import Verdict

MOST_NAMES = 8  # labels along a dimension, up to which each has a colour of its own


class UnmetClaimError(StudyrunError):
    """Under `strict`: a claim does not hold or cannot be decided, or a figure broke."""


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What was made. `broken` are the figures that could not be drawn, `skipped` those with nothing to draw."""

    path: Path
    figures: tuple[str, ...]
    claims: tuple[tuple[str, Verdict], ...]
    skipped: tuple[Skipped, ...]
    broken: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `UnmetClaimError` unless every claim holds and every figure was drawn."""
        faults = [f"claim {label}: {verdict.sentence}" for label, verdict in self.claims if verdict.holds is not True]
        faults += [f"figure {label} could not be drawn" for label in self.broken]
        if faults:
            raise UnmetClaimError("\n".join([f"{self.path}: not everything the study asserts holds", *faults]))


@dataclass
class _Made:
    """What is collected on the way to a page."""

    folder: Path
    palette: Palette
    figures: list[DrawnFigure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    claims: list[DecidedClaim] = field(default_factory=list)


def build_report(path: Path, *, strict: bool = False) -> ReportResult:
    """Make `report/` in a run folder, or in a sweep's, and return what it holds.

    The new report takes the place of the old one at once, when it is complete. Under `strict` an error is raised
    after that, unless every claim holds and every figure was drawn. Raises `RunFolderError` where `path` is no run
    folder or cannot be written.
    """
    opened = open_run(path)
    with _replacing(Path(path) / "report") as folder, _house_style():
        ensembles = opened.ensembles() if isinstance(opened, Sweep) else (for_run(opened),)
        made = _Made(folder, _palette(ensembles))
        sections = [_section(ensemble, made, alone=len(ensembles) == 1) for ensemble in ensembles]
        page = _page(opened, ensembles, sections, made)
        (folder / "claims.json").write_text(to_json(made.claims), encoding="utf-8")
        (folder / "index.html").write_text(render(page), encoding="utf-8")
    result = _result(Path(path) / "report" / "index.html", made)
    if strict:
        result.check()
    return result


# --- content --------------------------------------------------------------------------------------------------------


def _palette(ensembles: Sequence[Ensemble]) -> Palette:
    """Colours for every arm, and for the names along every short dimension, fixed before the first figure."""
    runs = [run for ensemble in ensembles for run in ensemble.runs]
    arms = [arm for run in runs for arm in run.arms.values()]
    dimensions = (
        labels
        for arm in arms
        for probe in arm.probes.values()
        for channel in probe.channels.values()
        for labels in channel.labels.values()
        if len(labels) <= MOST_NAMES and isinstance(labels[0], str)
    )
    return Palette((arm.name for arm in arms), (str(label) for labels in dimensions for label in labels))


def _section(ensemble: Ensemble, made: _Made, *, alone: bool) -> Section:
    """Decide the claims and draw the figures of one condition."""
    made.claims += decide_all(ensemble)
    prefix = "" if alone else f"{ensemble.name}-"
    drawn = _draw_all(planned(ensemble), ensemble, prefix, made)
    return Section("Figures" if alone else ensemble.name, file_name(f"figures-{ensemble.name}"), drawn)


def _draw_all(blocks: Sequence[Block], ensemble: Ensemble, prefix: str, made: _Made) -> Sequence[DrawnFigure]:
    results = [draw(block, ensemble, made.palette, made.folder, prefix) for block in blocks]
    made.skipped += [result for result in results if isinstance(result, Skipped)]
    drawn = [result for result in results if isinstance(result, DrawnFigure)]
    made.figures += drawn
    return drawn


def _comparisons(ensembles: Sequence[Ensemble], made: _Made) -> Iterator[Section]:
    """A section with one figure for each number that a sweep varies."""
    for parameter in numeric_parameters(ensembles):
        picture = partial(draw_comparison, ensembles, parameter)
        drawn = draw_with(picture, made.palette, made.folder, f"across-{parameter}", f"across {parameter}")
        made.figures.append(drawn)
        yield Section(f"Across {parameter}", file_name(f"across-{parameter}"), [drawn])


def _page(opened: Run | Sweep, ensembles: Sequence[Ensemble], sections: Sequence[Section], made: _Made) -> Page:
    runs = [run for ensemble in ensembles for run in ensemble.runs]
    sweep = opened if isinstance(opened, Sweep) else None
    return Page(
        title=opened.title or opened.path.name,
        name=opened.path.resolve().name,
        state=", ".join(f"{n} × {state}" if sweep else state for state, n in Counter(map(state_of, runs)).items()),
        summary=list(_summary(ensembles, made)),
        notes=list(_notes(opened)),
        claims=made.claims,
        arms=[arm_table(ensemble, made.palette) for ensemble in ensembles],
        sections=[*_comparisons(ensembles, made), *sections],
        cost=cost_of(runs),
        study=_study_text(opened),
        provenance=runs[0].provenance if runs else {},
        warnings=list(_warnings(opened, made)),
        sources=list(_sources(runs)),
        version=__version__,
        members=member_rows(sweep) if sweep else (),
        swept=swept_keys(sweep) if sweep else (),
        conditions=len(ensembles) > 1,
    )


def _summary(ensembles: Sequence[Ensemble], made: _Made) -> Iterator[str]:
    """The verdicts, and the moments that a lone condition turns on."""
    if made.claims:
        yield summary(made.claims)
    if len(ensembles) == 1:
        if words := " ".join(mark.words for mark in fork_marks(ensembles[0], "time")):
            yield words
        idle = [fact for fact in arm_facts(ensembles[0]) if not fact.started]
        yield from (
            f"The branch {fact.name} did not start: {fact.endings or 'no reason was recorded'}." for fact in idle
        )


def _runs(opened: Run | Sweep) -> tuple[Run, ...]:
    return opened.members if isinstance(opened, Sweep) else (opened,)


def _notes(opened: Run | Sweep) -> Iterator[str]:
    for run in _runs(opened):
        if note := note_on(run):
            yield f"{run.name}: {note}" if isinstance(opened, Sweep) else note
    if isinstance(opened, Sweep) and opened.missing:
        yield f"Members without a trace: {', '.join(opened.missing)}."


def _warnings(opened: Run | Sweep, made: _Made) -> Iterator[str]:
    """What the runs warned of, and what was asked of this report and could not be given."""
    for run in _runs(opened):
        for text in warnings_of(run):
            yield f"{run.name}: {text}" if isinstance(opened, Sweep) else text
    yield from (f"figure {skipped.label} was not drawn: {skipped.reason}" for skipped in made.skipped)
    yield from (f"figure {figure.label} {figure.caption}" for figure in made.figures if not figure.image)


def _study_text(opened: Run | Sweep) -> str:
    """A sweep's own study where its folder holds one, else its first member's."""
    own = opened.path / "study.yaml"
    if own.is_file():
        return own.read_text(encoding="utf-8", errors="replace")
    return next((run.study_text for run in _runs(opened)), "")


def _sources(runs: Sequence[Run]) -> Iterable[Source]:
    return bibliography(runs[0], registry_of(runs[0])) if runs else ()


def _result(path: Path, made: _Made) -> ReportResult:
    names = tuple(figure.label for figure in made.figures if figure.image)
    broken = tuple(figure.label for figure in made.figures if not figure.image)
    claims = tuple(
        (f"{claim.condition}: {claim.label}" if claim.condition else claim.label, claim.verdict)
        for claim in made.claims
    )
    return ReportResult(path, names, claims, tuple(made.skipped), broken)


# --- files ----------------------------------------------------------------------------------------------------------


@contextmanager
def _house_style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(settings()):
        yield


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; at the end it takes its place, or vanishes if anything went wrong."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise RunFolderError(f"cannot write a report into {target.parent}: {error.strerror or error}") from error
    try:
        yield folder
        folder.chmod(0o755)
        _swap(folder, target)
    except OSError as error:
        raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`, and drop what was there."""
    old = folder.with_name(f"{folder.name}-old")
    if target.exists():
        target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)
