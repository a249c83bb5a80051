"""Every figure over every awkward trace: one that a person can read, or a line that says why there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from oracles.awkward import ODD, Awkward, declared, everything, many, write

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.registry import Registry
from studyrun.report.blocks import Block
from studyrun.report.canvas import TALLEST, ReportCanvas
from studyrun.report.figures import _draw
from studyrun.report.grid import WIDTH
from studyrun.report.style import Palette
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run

pytestmark = pytest.mark.usefixtures("house_style")
FIGURES = [listing.name for listing in Registry().names("figures")]
OPTIONS = {"channels": {"probe": "loss"}}
CROWDED = Awkward(rows=4, groups=(*ODD, *many(91)), branches=12)
QUICK = {"a crowd": CROWDED, "one reading": Awkward(rows=1), "all nan": Awkward(fill="nan", rows=4)}
SLOW = {**dict(everything()), "190 branches": Awkward(branches=190, rows=6)}
LEAST = 0.25  # of what axes were given, in either direction


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ensemble]:
    """The awkward traces, each made once."""
    folder, made = tmp_path_factory.mktemp("awkward"), dict[str, Ensemble]()
    channels = declared(folder)

    def trace(name: str) -> Ensemble:
        if name not in made:
            made[name] = for_run(open_run(write(folder / name, channels, (QUICK | SLOW)[name])))
        return made[name]

    return trace


def drawn(figure: str, ensemble: Ensemble, *, whole: bool) -> tuple[ReportCanvas, str]:
    """The finished canvas, or the `whole` picture, and its caption; whatever is warned of is an error."""
    canvas = ReportCanvas(Palette(ensemble.arms))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # which the caption says
        caption = _draw(Block(figure, figure, OPTIONS.get(figure, {})), ensemble, canvas)
        canvas.finish()
        if whole:
            canvas.figure.canvas.draw()
    return canvas, " ".join([caption, *canvas.notes])


def assert_readable(canvas: ReportCanvas) -> None:
    """Axes have the room that they were given, touch neither one another nor a legend, and all lies in the figure."""
    width, height = canvas.figure.get_size_inches()
    assert height < TALLEST + 10
    standing = {panel: block for block in canvas._blocks for panel in block.panels if panel.figure is not None}
    assert standing
    for panel, block in standing.items():
        place = panel.get_position(original=True)
        assert np.isfinite(place.bounds).all()
        assert place.height * height > LEAST * block.height, (panel.get_title(loc="left"), place.height * height)
        assert place.width * width > LEAST * WIDTH / block.columns
        assert np.isfinite([*panel.get_xlim(), *panel.get_ylim()]).all()
    boxes = [panel.get_window_extent() for panel in standing]
    boxes += [legend.get_window_extent() for legend in canvas.figure.legends]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].padded(-1).overlaps(pair[1].padded(-1))]
    assert all(box.x0 >= -1 and box.y0 >= -1 and box.y1 <= height * canvas.figure.dpi + 1 for box in boxes)


def check(figure: str, ensemble: Ensemble, *, whole: bool = False) -> str:
    """Draw it and have it be readable, or hold the line that says why not; return caption or reason."""
    try:
        canvas, caption = drawn(figure, ensemble, whole=whole)
    except (NothingToDrawError, TraceError) as error:
        caption = f"not drawn: {error}"
    else:
        assert_readable(canvas)
    assert len(caption.split()) > 6
    return caption


@pytest.mark.parametrize("figure", FIGURES)
def test_a_hundred_groups_with_odd_names_and_a_dozen_branches_are_drawn(figure: str, traces) -> None:
    caption = check(figure, traces("a crowd"))
    assert not caption.startswith("not drawn")
    if figure != "dose_response" and "member" not in caption and figure != "selectivity":
        assert "of 13 arms" in caption


@pytest.mark.parametrize("trace", ["one reading", "all nan"])
@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_hardly_there_is_drawn_or_the_reason_is_given(figure: str, trace: str, traces) -> None:
    caption = check(figure, traces(trace))
    if trace == "all nan" and not caption.startswith("not drawn"):
        assert figure in ("fork_gradients", "group_images", "group_geometry")


@pytest.mark.parametrize("figure", ["group_distances", "group_images", "fork_gradients"])
def test_odd_names_stand_along_axes_and_in_tables(figure: str, traces) -> None:
    assert not check(figure, traces("odd names"), whole=True).startswith("not drawn")


@pytest.mark.slow
@pytest.mark.parametrize("trace", SLOW)
@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_over_every_awkward_trace(figure: str, trace: str, traces) -> None:
    check(figure, traces(trace), whole=True)
