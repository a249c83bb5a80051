"""Which figures a report has, and what becomes of those that cannot be drawn."""

from __future__ import annotations

import h5py
import pytest

from studyrun.report.blocks import Block
from studyrun.report.figures import DrawnFigure, Skipped, draw, planned
from studyrun.report.style import Palette
from studyrun.trace.ensemble import for_run
from studyrun.trace.layout import set_attributes
from studyrun.trace.reader import open_run

pytestmark = pytest.mark.usefixtures("house_style")

RAISES = '''
from studyrun.plugin import Figure

class Raises(Figure):
    """A figure that breaks."""

    def draw(self, ensemble, canvas):
        raise ZeroDivisionError("by <b>nothing</b>")
'''


def ensemble_of(folder):
    return for_run(open_run(folder))


def declare(ensemble, **figures):
    """Say which figures show which probe, as the engine records it."""
    for arm in ensemble.run.arms.values():
        for label, names in figures.items():
            if label in arm.probes:
                arm.probes[label].attributes["figures"] = "\n".join(names)


def test_the_study_decides_if_it_lists_figures(run_folder):
    ensemble = ensemble_of(
        run_folder(study={"figures": ["loss", {"use": "loss", "along": "step"}, {"use": "x", "as": "y"}]})
    )
    assert [(block.use, block.label) for block in planned(ensemble)] == [
        ("loss", "loss"),
        ("loss", "loss_2"),
        ("x", "y"),
    ]
    assert planned(ensemble)[1].options == {"along": "step"}


def test_an_empty_list_means_no_figures(run_folder):
    assert planned(ensemble_of(run_folder(study={"figures": []}))) == []


def test_by_default_each_probe_brings_its_own_once_in_the_order_of_the_trace(run_folder):
    ensemble = ensemble_of(run_folder())
    declare(ensemble, loss=("loss", "delta_loss"), sharpness=("sharpness", "loss"), alignment=())
    blocks = planned(ensemble)
    assert [block.label for block in blocks] == [
        "loss", "delta_loss", "sharpness", "loss_sharpness", "per_example_loss", "alignment", "group_data",
    ]  # fmt: skip
    assert blocks[3].options == {"probe": "sharpness"}
    assert not any(block.asked for block in blocks)


def test_a_probe_without_figures_is_drawn_by_its_channels_without_evidence(run_folder, tmp_path):
    ensemble = ensemble_of(run_folder())
    block = next(block for block in planned(ensemble) if block.label == "sharpness")
    drawn = draw(block, ensemble, Palette(ensemble.arms), tmp_path, "")
    assert drawn.caption.startswith("What sharpness measures, in one line. t*:")
    header = (tmp_path / "data" / "sharpness.csv").read_text(encoding="utf-8")
    assert "residual" not in header
    assert "k = 2" in header


def test_a_figure_with_nothing_to_draw_is_never_missing_in_silence(run_folder, tmp_path):
    ensemble = ensemble_of(run_folder(branches=False))
    palette = Palette(ensemble.arms)
    asked = draw(Block("delta_loss", "delta"), ensemble, palette, tmp_path, "a-")
    assert asked == Skipped("a-delta", "no branch started, so there is nothing to compare with its parent")
    default = draw(Block("delta_loss", "delta", asked=False), ensemble, palette, tmp_path, "")
    assert default == Skipped("delta", asked.reason, asked=False)
    missing = draw(Block("alignment", "alignment", {"probe": "loss"}), ensemble, palette, tmp_path, "")
    assert "no probe 'loss' recorded cos2" in missing.reason


def test_the_page_lists_a_default_figure_that_has_nothing_to_draw(run_folder):
    from studyrun.report import build_report

    folder = run_folder(branches=False)
    with h5py.File(folder / "trace.h5", "r+") as trace:
        set_attributes(trace["baseline/loss"], {"figures": "delta_loss"})
    result = build_report(folder)
    assert [one.label for one in result.skipped] == ["delta_loss"]
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert '<span class="mono">delta_loss</span>: no branch started, so there is nothing to compare' in page
    assert "Warnings" not in page


def own_figure(name, source, tmp_path, monkeypatch):
    (tmp_path / "own" / "figures").mkdir(parents=True)
    (tmp_path / "own" / "figures" / f"{name}.py").write_text(source)
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(tmp_path / "own"))


def test_a_figure_that_breaks_is_shown_as_broken_and_the_rest_stands(run_folder, tmp_path, monkeypatch):
    from studyrun.report import build_report

    folder = run_folder(study={"figures": ["raises", "loss"]})
    own_figure("raises", RAISES, tmp_path, monkeypatch)
    result = build_report(folder)
    assert (result.figures, result.broken) == (("loss",), ("raises",))
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "could not be drawn: ZeroDivisionError: by &lt;b&gt;nothing&lt;/b&gt;" in page
    assert "figures/raises.py" in page


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block("los", "x"), "did you mean 'loss'?"),
        (Block("loss", "x", {"alon": "step"}), "figures 'loss': alon: Extra inputs are not permitted"),
        (Block("loss", "x", {"along": "seconds"}), "along: Input should be 'time' or 'step'"),
    ],
)
def test_a_block_that_is_wrong_is_explained(run_folder, tmp_path, block, words):
    ensemble = ensemble_of(run_folder())
    drawn = draw(block, ensemble, Palette(ensemble.arms), tmp_path, "")
    assert isinstance(drawn, DrawnFigure)
    assert not drawn.image
    assert words in drawn.caption


def test_a_figure_that_draws_nothing_is_not_shown(run_folder, tmp_path, monkeypatch):
    folder = run_folder()
    source = RAISES.replace("Raises", "Empty").replace(
        'raise ZeroDivisionError("by <b>nothing</b>")', 'return "nothing"'
    )
    own_figure("empty", source, tmp_path, monkeypatch)
    ensemble = ensemble_of(folder)
    skipped = draw(Block("empty", "empty"), ensemble, Palette(ensemble.arms), tmp_path, "")
    assert skipped == Skipped("empty", "the figure drew nothing")


def test_a_figure_of_the_project_around_a_run_is_found_too(run_folder, tmp_path):
    (tmp_path / "plugins" / "figures").mkdir(parents=True)
    (tmp_path / "plugins" / "figures" / "raises.py").write_text(RAISES)
    folder = run_folder()
    (folder / "plugins").mkdir()
    ensemble = ensemble_of(folder)
    drawn = draw(Block("raises", "raises"), ensemble, Palette(ensemble.arms), tmp_path, "")
    assert "ZeroDivisionError" in drawn.caption


def test_heavy_drawings_stand_on_the_page_as_png(run_folder, tmp_path, monkeypatch):
    ensemble = ensemble_of(run_folder())
    monkeypatch.setattr("studyrun.report.figures.LARGEST_SVG", 10)
    drawn = draw(Block("loss", "loss"), ensemble, Palette(ensemble.arms), tmp_path, "")
    assert drawn.image.startswith("data:image/png;base64,")
