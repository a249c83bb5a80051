"""Numbers on logarithmic axes."""

from __future__ import annotations

import pytest

from studyrun.report.ticks import log_label, plain_ticks


@pytest.mark.parametrize(
    ("value", "label"),
    [(1.0, "1"), (0.02, "0.02"), (50000, "50000"), (1e-5, "10⁻⁵"), (2e-5, "2·10⁻⁵"), (1e6, "10⁶"), (0.001, "0.001"),
     (0, ""), (-1, "")],
)  # fmt: skip
def test_labels(value, label):
    assert log_label(value) == label


@pytest.mark.parametrize(("low", "high", "fewest"), [(0.9, 1.1, 2), (0.1, 0.9, 2), (1e-8, 1e3, 3), (3.0, 4.0, 1)])
def test_every_range_has_ticks(low, high, fewest):
    from matplotlib.figure import Figure

    panel = Figure().add_subplot()
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    plain_ticks(panel)
    shown = [tick for tick in panel.get_yticks() if low <= tick <= high]
    assert fewest <= len(shown) <= 10
