"""Norms of input-output Jacobians against central differences of the outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studyrun.components.probes.input_output_jacobian import _spectral_norms
from studyrun.engine.run import prepare
from studyrun.errors import InvalidStudyError, ProbeError


def differences(problem, inputs: torch.Tensor) -> np.ndarray:
    """The Jacobian of each example, (n, outputs, inputs), by central differences: error about 1e-10."""
    step, flat = 1e-5, inputs.flatten(1)
    shifts = step * torch.eye(flat.shape[1], dtype=flat.dtype)
    problem.model.eval()
    with torch.no_grad():
        ahead, behind = (
            problem.model((flat[:, None, :] + sign * shifts).reshape(-1, *inputs.shape[1:])) for sign in (1, -1)
        )
    return ((ahead - behind) / (2 * step)).view(len(flat), flat.shape[1], -1).transpose(1, 2).numpy()


def test_norms_are_those_of_finite_differences(keep) -> None:
    probes = "  - {use: input_output_jacobian, examples: 5, at: [3]}\n"
    kept = keep(probes, "stop.steps=3", "chunk_size=2", "dataset.classes=[one, two, five]", "groups=classes")
    (_, reading, _) = next(kept.rows("input_output_jacobian"))
    found = differences(kept.problem, kept.problem.data.train.inputs[:5])
    spectral = np.linalg.svd(found, compute_uv=False)[:, 0]
    np.testing.assert_allclose(reading["spectral"], spectral, rtol=1e-7)
    np.testing.assert_allclose(reading["frobenius"], np.sqrt((found**2).sum((1, 2))), rtol=1e-7)
    assert reading["mean"] == pytest.approx(spectral.mean(), rel=1e-7)
    assert reading["maximum"] == pytest.approx(spectral.max(), rel=1e-7)


def test_chosen_examples_are_labelled_by_their_places(keep) -> None:
    probes = "".join(
        f"  - {{use: input_output_jacobian, examples: {chosen}, at: [0], as: {label}}}\n"
        for label, chosen in (("first", 8), ("chosen", "[7, 2]"))
    )
    arm = keep(probes, "stop.steps=1").run["baseline"]
    assert list(arm["chosen"]["spectral"].labels["example"]) == [7, 2]
    np.testing.assert_allclose(
        arm["chosen"]["spectral"].values[0], arm["first"]["spectral"].values[0, [7, 2]], rtol=1e-12
    )


def test_batch_normalisation_is_taken_in_evaluation_mode_where_examples_do_not_mix(keep) -> None:
    probes = "  - {use: input_output_jacobian, examples: 3, at: [2]}\n"
    model = "model={use: resnet18, width: 2}"
    kept = keep(probes, model, "dataset.pixels=8", "dataset.size=12", "groups=null", "stop.steps=2")
    (_, reading, _) = next(kept.rows("input_output_jacobian"))
    found = differences(kept.problem, kept.problem.data.train.inputs[:3])
    np.testing.assert_allclose(reading["spectral"], np.linalg.svd(found, compute_uv=False)[:, 0], rtol=1e-5)


def test_examples_that_are_not_there_are_refused(tiny, data_folder) -> None:
    study = tiny("  - {use: input_output_jacobian, examples: [1, 99]}\n")
    with pytest.raises(ProbeError, match="there is no training example 99: they are numbered from 0 to 47"):
        prepare(study, data_folder)
    with pytest.raises(InvalidStudyError, match="give at least one example"):
        tiny("  - {use: input_output_jacobian, examples: []}\n")


def test_a_jacobian_with_an_entry_that_is_no_number_spoils_its_own_norm_alone() -> None:
    matrices = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    matrices[1, 0, 2], matrices[2, 1, 1] = torch.nan, torch.inf
    norms = _spectral_norms(matrices)
    assert norms[[0, 3]].tolist() == [1, 1]
    assert norms[1:3].isnan().all()
