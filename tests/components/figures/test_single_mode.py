"""The scatter of Q_k² against C_k on planted pairs, whose ratio and correlations are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.planted import Planted, plant, together

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.trace.channel import Channel, Dimension

GROUPS = ("inlier", "boundary")
DIMS = (Dimension("group", GROUPS),)
CHANNELS = [
    Channel("coupling_squared", "squared coupling", DIMS, "Q_k²", nan="together"),
    Channel("influence", "curvature influence", DIMS, "C_k"),
    Channel("gradient_norm", "norm of the gradient", DIMS, "‖∇ℓ_k‖"),
]
ALPHA = 400.0


def readings(seed: int, steps: int = 8, spread: float = 0.0, aligned: bool = True):
    """Q² = α C e^noise, and C of a gradient of changing norm; not aligned: both are the squared norm and noise."""
    random = np.random.default_rng(seed)
    rows = {}
    for step in range(steps):
        norm = np.exp(random.normal(size=2) * 3)
        cosine = random.uniform(0.1, 1, size=2)
        other = cosine if aligned else random.uniform(0.1, 1, size=2)
        coupling = ALPHA * (norm * other) ** 2 * np.exp(spread * random.normal(size=2))
        rows[step] = {"coupling_squared": coupling, "influence": (norm * cosine) ** 2, "gradient_norm": norm}
    return {"sharpness_coupling": rows}


def run(folder: Path, **arms):
    planted = {name: one if isinstance(one, Planted) else Planted(one) for name, one in arms.items()}
    return plant(folder, {"sharpness_coupling": CHANNELS}, planted)


def clouds(drawing):
    (panel,) = drawing.canvas.figure.axes
    return [np.asarray(cloud.get_offsets()) for cloud in panel.collections]


def test_points_line_and_caption_are_those_of_the_pairs(draw, tmp_path) -> None:
    rows = readings(0)
    drawing = draw("single_mode", together(run(tmp_path / "run", baseline=rows)))
    for place, cloud in enumerate(clouds(drawing)):
        expected = [
            (row["influence"][place], row["coupling_squared"][place]) for row in rows["sharpness_coupling"].values()
        ]
        np.testing.assert_allclose(cloud, expected)
    (panel,) = drawing.canvas.figure.axes
    (line,) = panel.get_lines()
    np.testing.assert_allclose(line.get_ydata() / line.get_xdata(), ALPHA)
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    assert "for 16 pairs of group and step; dashed: the median ratio α = 4e+02" in drawing.caption
    assert "Correlation of the logarithms 1.00, and 1.00 once" in drawing.caption
    assert drawing.legend == ["inlier", "boundary", "median ratio α"]
    table = drawing.canvas.tables["pairs"]
    assert list(table["group"]) == ["inlier"] * 8 + ["boundary"] * 8
    assert list(table["step"]) == [*range(8)] * 2
    np.testing.assert_allclose(table["coupling_squared"] / table["influence"], ALPHA)


def test_what_only_the_gradients_norm_makes_alike_is_told_apart(draw, tmp_path) -> None:
    drawing = draw("single_mode", together(run(tmp_path / "run", baseline=readings(1, 200, aligned=False))))
    table = drawing.canvas.tables["pairs"]
    plain = np.corrcoef(np.log(table["influence"]), np.log(table["coupling_squared"]))[0, 1]
    assert plain > 0.9
    words = drawing.caption.replace("−", "-").split("Correlation of the logarithms ")[1]
    assert float(words.split(",")[0]) == pytest.approx(plain, abs=0.006)
    assert abs(float(words.split("and ")[1].split()[0])) < 0.2


def test_arms_have_markers_and_runs_are_pooled(draw, tmp_path) -> None:
    runs = [
        run(tmp_path / f"seed-{seed}", baseline=readings(seed, 4), exit=Planted(readings(9 + seed, 3), "baseline"))
        for seed in (0, 1)
    ]
    drawing = draw("single_mode", together(*runs))
    assert [len(cloud) for cloud in clouds(drawing)][:4] == [8, 8, 6, 6]
    assert drawing.legend == ["inlier", "boundary", "baseline", "exit", "median ratio α"]
    assert "28 pairs of group and step of 2 runs" in drawing.caption
    only = draw("single_mode", together(*runs), arms=["exit"])
    assert [len(cloud) for cloud in clouds(only)] == [6, 6]


def test_zeros_and_nans_are_left_out_and_counted(draw, tmp_path) -> None:
    rows = readings(0)
    first, second, *_ = rows["sharpness_coupling"].values()
    first["coupling_squared"] = np.array([np.nan, 0.0])
    second["influence"] = np.array([0.0, 3.0])
    drawing = draw("single_mode", together(run(tmp_path / "run", baseline=rows)))
    assert "for 13 pairs" in drawing.caption
    assert "3 further pairs are left out" in drawing.caption


def test_nothing_positive_is_nothing_to_draw_and_a_missing_probe_is_named(draw, tmp_path, ensemble) -> None:
    rows = readings(0, 2)
    for row in rows["sharpness_coupling"].values():
        row["coupling_squared"] = np.full(2, np.nan)
    with pytest.raises(NothingToDrawError, match=r"no pair of positive Q_k² and C_k \(4 others\)"):
        draw("single_mode", together(run(tmp_path / "run", baseline=rows)))
    with pytest.raises(TraceError, match="no probe recorded coupling_squared and influence and gradient_norm"):
        draw("single_mode", ensemble)
