"""What a report says: the figures and verdicts of every condition, gathered into one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from studyrun import __version__
from studyrun.report.arms import arm_facts, fork_marks
from studyrun.report.blocks import compares, registry_of
from studyrun.report.claims import DecidedClaim, decide_all, summary
from studyrun.report.comparison import draw_comparison, numeric_parameters
from studyrun.report.cost import cost_of
from studyrun.report.export import file_name
from studyrun.report.figures import DrawnFigure, Skipped, draw, draw_across, draw_with, planned
from studyrun.report.page import Page, Section
from studyrun.report.record import note_on, state_of, warnings_of
from studyrun.report.selection import shown
from studyrun.report.sources import Source, bibliography
from studyrun.report.style import Palette
from studyrun.report.tables import arm_table, member_rows, swept_keys
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import Run, Sweep

MOST_IDLE = 5  # branches that did not start, each with its reason at the top
MOST_NAMES = 8  # labels along a dimension, up to which each has a colour of its own


@dataclass
class Made:
    """What is collected on the way to a page."""

    folder: Path
    palette: Palette
    figures: list[DrawnFigure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    claims: list[DecidedClaim] = field(default_factory=list)


def gather(opened: Run | Sweep, folder: Path) -> tuple[Page, Made]:
    """Decide every claim and draw every figure, into `folder`; return the page, and what it was made of."""
    ensembles = opened.ensembles() if isinstance(opened, Sweep) else (for_run(opened),)
    made = Made(folder, _palette(ensembles))
    made.claims += decide_all(ensembles)
    sections = [_section(ensemble, made, alone=len(ensembles) == 1) for ensemble in ensembles]
    return _page(opened, ensembles, sections, made), made


def _palette(ensembles: Sequence[Ensemble]) -> Palette:
    """Colours for every arm, and for the names along every short dimension, fixed before the first figure."""
    runs = [run for ensemble in ensembles for run in ensemble.runs]
    arms = [arm for run in runs for arm in run.arms.values()]
    first = [
        name for ensemble in ensembles for name in shown(ensemble)[0].arms
    ]  # of very many, those have colours apart
    dimensions = (
        labels
        for arm in arms
        for probe in arm.probes.values()
        for channel in probe.channels.values()
        for labels in channel.labels.values()
        if len(labels) <= MOST_NAMES and isinstance(labels[0], str)
    )
    return Palette((*first, *(arm.name for arm in arms)), (str(label) for labels in dimensions for label in labels))


def _section(ensemble: Ensemble, made: Made, *, alone: bool) -> Section:
    """Draw the figures of one condition."""
    prefix = "" if alone else f"{ensemble.name}-"
    blocks = [block for block in planned(ensemble) if ensemble.says(block.where)]
    own = [block for block in blocks if alone or not compares("figures", block, ensemble.run)]
    results = [draw(block, ensemble, made.palette, made.folder, prefix) for block in own]
    missing = [result for result in results if isinstance(result, Skipped)]
    title = "Figures" if alone else ensemble.name
    return Section(title, file_name(f"figures-{ensemble.name}"), _sorted_in(results, made), missing)


def _sorted_in(results: Sequence[DrawnFigure | Skipped], made: Made) -> Sequence[DrawnFigure]:
    made.skipped += [result for result in results if isinstance(result, Skipped)]
    drawn = [result for result in results if isinstance(result, DrawnFigure)]
    made.figures += drawn
    return drawn


def _comparisons(ensembles: Sequence[Ensemble], made: Made) -> Iterator[Section]:
    """A section with the figures that compare conditions, and one for each number that a sweep varies."""
    if len(ensembles) > 1:
        yield from _asked_comparisons(ensembles, made)
    for parameter in numeric_parameters(ensembles):
        picture = partial(draw_comparison, ensembles, parameter)
        drawn = draw_with(picture, made.palette, made.folder, f"across-{parameter}", f"across {parameter}")
        made.figures.append(drawn)
        yield Section(f"Across {parameter}", file_name(f"across-{parameter}"), [drawn])


def _asked_comparisons(ensembles: Sequence[Ensemble], made: Made) -> Iterator[Section]:
    asked = [block for block in planned(ensembles[0]) if compares("figures", block, ensembles[0].run)]
    results = [draw_across(block, ensembles, made.palette, made.folder) for block in asked]
    drawn = _sorted_in(results, made)
    if drawn:
        yield Section("The conditions compared", file_name("conditions-compared"), drawn)


def _page(opened: Run | Sweep, ensembles: Sequence[Ensemble], sections: Sequence[Section], made: Made) -> Page:
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


def _summary(ensembles: Sequence[Ensemble], made: Made) -> Iterator[str]:
    """The verdicts, and the moments that a lone condition turns on."""
    if made.claims:
        yield summary(made.claims)
    if len(ensembles) == 1:
        some, words = shown(ensembles[0])
        if moments := " ".join(mark.words for mark in fork_marks(some, "time")):
            yield f"{moments} {words}".strip()
        idle = [fact for fact in arm_facts(ensembles[0]) if not fact.started]
        for fact in idle[:MOST_IDLE]:
            yield f"The branch {fact.name} did not start: {fact.endings or 'no reason was recorded'}."
        if len(idle) > MOST_IDLE:
            yield f"{len(idle) - MOST_IDLE} further branches did not start: see the table of arms."


def _runs(opened: Run | Sweep) -> tuple[Run, ...]:
    return opened.members if isinstance(opened, Sweep) else (opened,)


def _notes(opened: Run | Sweep) -> Iterator[str]:
    for run in _runs(opened):
        if note := note_on(run):
            yield f"{run.name}: {note}" if isinstance(opened, Sweep) else note
    if isinstance(opened, Sweep) and opened.missing:
        yield f"Members without a trace: {', '.join(opened.missing)}."


def _warnings(opened: Run | Sweep, made: Made) -> Iterator[str]:
    """What the runs warned of, and what was asked of this report and could not be given."""
    for run in _runs(opened):
        for text in warnings_of(run):
            yield f"{run.name}: {text}" if isinstance(opened, Sweep) else text
    for skipped in made.skipped:
        if skipped.asked:
            yield f"figure {skipped.label} was not drawn: {skipped.reason}"
    yield from (f"figure {figure.label} {figure.caption}" for figure in made.figures if not figure.image)
    yield from (f"figure {figure.label}: {text}" for figure in made.figures for text in figure.warnings)


def _study_text(opened: Run | Sweep) -> str:
    """A sweep's own study where its folder holds one, else its first member's."""
    own = opened.path / "study.yaml"
    if own.is_file():
        return own.read_text(encoding="utf-8", errors="replace")
    return next((run.study_text for run in _runs(opened)), "")


def _sources(runs: Sequence[Run]) -> Iterable[Source]:
    return bibliography(runs[0], registry_of(runs[0])) if runs else ()
