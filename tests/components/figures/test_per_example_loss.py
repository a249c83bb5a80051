"""The spread of losses over examples, against numpy's quantiles."""

from __future__ import annotations

import numpy as np


def test_quantiles_are_numpys(draw, ensemble):
    drawing = draw("per_example_loss", ensemble)
    for arm in ("baseline", "exit"):
        recorded = ensemble.run[arm]["per_example_loss"]["loss"]
        table = drawing.canvas.tables[f"{arm}_loss"]
        np.testing.assert_array_equal(table["time"], recorded.time)
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            truth = np.quantile(recorded.values.astype(float), share, axis=1)
            np.testing.assert_allclose(table[f"quantile_{share:g}"], truth, rtol=1e-12)


def test_bands_are_named_in_the_legend(draw, ensemble):
    assert draw("per_example_loss", ensemble).legend == ["5% to 95% of example", "25% to 75% of example", "median"]
