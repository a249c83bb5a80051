"""What only `sharpness` has to say of a study."""

from __future__ import annotations

import pytest

from studyrun.engine.run import prepare
from studyrun.errors import ProbeError


def test_more_eigenvalues_than_parameters_are_refused_before_anything_runs(tiny, data_folder) -> None:
    study = tiny("  - {use: sharpness, k: 60}\n", "model.hidden=[1]", "dataset.pixels=6")
    with pytest.raises(ProbeError, match="sharpness cannot give k = 60 eigenvalues of 41 parameters"):
        prepare(study, data_folder)
