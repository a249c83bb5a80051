"""Which figures a run has, and drawing each so that one that breaks takes nothing else with it."""

from __future__ import annotations

import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast
from warnings import catch_warnings, simplefilter

from studyrun.code.drawing import drawing_alike
from studyrun.component import ComparingFigure, Figure
from studyrun.errors import NothingToDrawError, StudyrunError, TraceError
from studyrun.report.blocks import Block, blocks, build
from studyrun.report.canvas import ReportCanvas
from studyrun.report.channel_plot import X_LABELS
from studyrun.report.export import file_name, save_figure, save_tables
from studyrun.report.selection import shown, shown_conditions
from studyrun.report.style import house_style
from studyrun.report.warned import boxes, further
from studyrun.stopping import heed
from studyrun.trace.channel import EVIDENCE

if TYPE_CHECKING:
    from studyrun.report.style import Palette
    from studyrun.trace.ensemble import Ensemble

PIXELS_PER_INCH = 124  # on the page: a figure is as wide as the text
MOST_CHANNELS = 16  # of one probe, in one picture
LARGEST_SVG = 700_000  # bytes; a heavier drawing stands on the page as PNG


@dataclass(frozen=True, slots=True)
class Link:
    """A file beside the page."""

    name: str
    href: str


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """One figure of the page. Without `image` it could not be drawn: `caption` says why, `details` where it broke."""

    label: str
    name: str
    caption: str
    image: str = ""
    width: int = 0
    height: int = 0
    files: tuple[Link, ...] = ()
    details: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A figure that was left out, with the reason; `asked` is false for one that nobody wrote down."""

    label: str
    reason: str
    asked: bool = True


def planned(ensemble: Ensemble) -> Sequence[Block]:
    """The figures that the study lists, or by default those its probes name, each probe without any by its channels."""
    listed = ensemble.run.document.get("figures")
    return list(blocks(listed)) if isinstance(listed, list) else list(_defaults(ensemble))


def _defaults(ensemble: Ensemble) -> Iterator[Block]:
    probes = {
        probe.label: probe for arm in ensemble.arms for one in ensemble.started(arm) for probe in one.probes.values()
    }
    used: set[str] = set()
    for probe in probes.values():
        for name in probe.figures:
            # A second probe of the same kind, under another label, gets pictures of its own.
            options = {"probe": probe.label} if name in used else {}
            yield Block(name, f"{name}_{probe.label}" if options else name, options, asked=False)
            used.add(name)
        if not probe.figures:
            label = probe.label if probe.label not in used else f"{probe.label}_channels"
            yield Block("", label, {"probe": probe.label}, asked=False)
            used.add(label)


def draw_across(block: Block, ensembles: Sequence[Ensemble], palette: Palette, folder: Path) -> DrawnFigure | Skipped:
    """Draw a figure that compares conditions, from those it is about."""
    about = [ensemble for ensemble in ensembles if ensemble.says(block.where)]
    if not about:
        return Skipped(block.label, f"no run has {block.where}")

    def picture(canvas: ReportCanvas) -> str:
        figure = cast(ComparingFigure, build("figures", block, about[0].run))
        chosen, words = shown_conditions(about)
        canvas.say(words)
        return figure.draw_all([_shown(one, figure, canvas) for one in chosen], canvas)

    try:
        return draw_with(picture, palette, folder, block.label, block.label)
    except (NothingToDrawError, TraceError) as error:
        return Skipped(block.label, str(error))


def draw(block: Block, ensemble: Ensemble, palette: Palette, folder: Path, prefix: str) -> DrawnFigure | Skipped:
    """Draw one figure and write its files under `folder`, or say why there is nothing to draw."""
    label = f"{prefix}{block.label}"
    try:
        return draw_with(partial(_draw, block, ensemble), palette, folder, label, block.label)
    except (NothingToDrawError, TraceError) as error:
        return Skipped(label, str(error), block.asked)


def draw_with(
    picture: Callable[[ReportCanvas], str], palette: Palette, folder: Path, label: str, name: str
) -> DrawnFigure:
    """Draw with any function of a canvas that returns a caption. What breaks is put in words."""
    try:
        with house_style(), drawing_alike(), catch_warnings(record=True) as warned:
            simplefilter("default")
            canvas = ReportCanvas(palette)
            caption = picture(canvas)
            if not canvas.figure.axes:
                raise NothingToDrawError("the figure drew nothing")
            canvas.finish()
            drawn = _saved(canvas, folder, label, name)
        return replace(drawn, caption=" ".join([caption, *canvas.notes, *boxes(warned)]), warnings=further(warned))
    except (NothingToDrawError, TraceError):
        raise
    except StudyrunError as error:
        return DrawnFigure(file_name(label), name, f"could not be drawn: {error}")
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises, the rest of the report stands
        text = "".join(traceback.format_exception(error, limit=-4))
        why = f"could not be drawn: {type(error).__name__}: {error}"
        return DrawnFigure(file_name(label), name, why, details=text)
    finally:
        heed()


def _draw(block: Block, ensemble: Ensemble, canvas: ReportCanvas) -> str:
    if block.use:
        figure = cast(Figure, build("figures", block, ensemble.run))
        return figure.draw(_shown(ensemble, figure, canvas), canvas)
    return _draw_channels(str(block.options["probe"]), _shown(ensemble, None, canvas), canvas)


def _shown(ensemble: Ensemble, figure: Figure | None, canvas: ReportCanvas) -> Ensemble:
    some, words = shown(ensemble, figure)
    canvas.say(words)
    return some


def _draw_channels(label: str, ensemble: Ensemble, canvas: ReportCanvas) -> str:
    """Every channel of a probe by its dimensions, but the evidence beside an iterative result."""
    probe = next(one[label] for arm in ensemble.arms for one in ensemble.started(arm) if label in one)
    names = [name for name in probe if name not in EVIDENCE and ensemble.recording(label, name)]
    for name in canvas.some(names, MOST_CHANNELS, "channels"):
        canvas.draw_channel(ensemble, label, name)
    timed = [panel for panel in canvas.figure.axes if panel.get_xlabel() == X_LABELS["time"]]
    marks = canvas.mark_forks(timed, ensemble) if timed else ""
    return f"{probe.description} {marks}".strip()


def _saved(canvas: ReportCanvas, folder: Path, label: str, name: str) -> DrawnFigure:
    pictures = save_figure(canvas, folder / "figures", label)
    tables = save_tables(canvas, folder / "data", label)
    files = [Link(suffix.upper(), f"figures/{path.name}") for suffix, path in pictures.items()]
    files += [Link("CSV" if len(tables) == 1 else path.name, f"data/{path.name}") for path in tables]
    inches = canvas.figure.get_size_inches()
    width, height = (round(float(inch) * PIXELS_PER_INCH) for inch in inches)
    svg = pictures["svg"].read_bytes()
    kind, data = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", pictures["png"].read_bytes())
    image = f"data:image/{kind};base64,{b64encode(data).decode()}"
    return DrawnFigure(file_name(label), name, "", image, width, height, tuple(files))
