"""Any channel of any probe, and all of one by default."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.errors import TraceError


def test_draws_the_channels_asked_for(draw, ensemble):
    drawing = draw("channels", ensemble, probe="loss", channels=["train", "by_group"])
    np.testing.assert_array_equal(drawing.lines(0)["exit", ""].median, ensemble.run["exit"]["loss"]["train"].values)
    assert len(drawing.canvas.figure.axes) == 3  # one for train, one for each arm's groups
    assert drawing.caption == "train, by_group of the probe loss."


def test_draws_all_but_the_evidence_by_default(draw, ensemble):
    drawing = draw("channels", ensemble, probe="sharpness")
    assert drawing.caption == "eigenvalue of the probe sharpness."


def test_a_channel_that_is_not_there_is_named(draw, ensemble):
    with pytest.raises(TraceError, match="no probe 'loss' recorded nothing"):
        draw("channels", ensemble, probe="loss", channels=["nothing"])
