"""Numbers that go wrong: arms that diverge, solves that do not converge, gradients of zero, the ends of a type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare
from studyrun.trace.reader import Run, open_run

SMALL = ("dataset.pixels=6", "model.hidden=[4]")
CarryOut = Callable[..., tuple[Run, list[str]]]


@pytest.fixture
def loudly(tiny, data_folder, tmp_path: Path) -> CarryOut:
    """Carry out the tiny study, and return the run with what it warned of."""
    count = iter(range(100))

    class Loud(Silent):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def say(self, text: str, level: str = "info") -> None:
            self.warnings += [text] if level == "warning" else []

    def run(text: str, *overrides: str, **options: str) -> tuple[Run, list[str]]:
        folder, loud = tmp_path / f"loud{next(count)}", Loud()
        folder.mkdir()
        execute(prepare(tiny(text, *overrides, **options), data_folder), folder, [], loud)
        return open_run(folder), loud.warnings

    return run


class TestSolvesThatDoNotConverge:
    """In float32 no residual comes down to 10⁻⁹ of an eigenvalue: that tolerance is out of reach."""

    PROBES = """\
  - {use: sharpness, k: 2, every: 2, tolerance: TOLERANCE}
  - {use: gauss_newton, every: 2, tolerance: TOLERANCE}
  - {use: group_alignment, every: 2, tolerance: TOLERANCE}
  - {use: per_example_alignment, every: 2, tolerance: TOLERANCE}
  - {use: per_example_curvature, every: 2, tolerance: TOLERANCE, eigenvalues_of: 2}
  - {use: sharpness_coupling, every: 2, tolerance: TOLERANCE}
  - {use: curvature_by_layer, every: 2, tolerance: TOLERANCE}
  - {use: preconditioned_sharpness, every: 2, tolerance: TOLERANCE}
  - {use: iterate_projection, every: 2, tolerance: TOLERANCE}
"""
    VALUES: ClassVar = {
        "sharpness": ("eigenvalue",),
        "gauss_newton": ("curvature",),
        "group_alignment": ("cos2", "influence"),
        "per_example_alignment": ("cos2",),
        "per_example_curvature": ("slope", "curvature", "eigenvalue"),
        "sharpness_coupling": ("coupling", "coupling_squared", "influence", "gap", "sharpness_gradient_norm"),
        "curvature_by_layer": ("share",),
        "preconditioned_sharpness": ("eigenvalue",),
        "iterate_projection": ("eigenvalue_then", "projection"),
    }

    def test_nothing_that_records_an_eigenvalue_records_one_that_did_not_converge(self, loudly: CarryOut) -> None:
        tight, warnings = loudly(self.PROBES.replace("TOLERANCE", "1.0e-9"), *SMALL, "stop.steps=4")
        loose, calm = loudly(self.PROBES.replace("TOLERANCE", "1.0e-3"), *SMALL, "stop.steps=4")
        assert calm == []
        for label, names in self.VALUES.items():
            probe, other = tight["baseline"][label], loose["baseline"][label]
            assert not probe["converged"].values.any(), label
            assert other["converged"].values.all(), label
            for name in names:
                assert np.isnan(probe[name].values).all(), (label, name)
                assert np.isfinite(other[name].values).all(), (label, name)
                assert probe[name].attributes["comment"], (label, name)
        for label, name in (("sharpness", "eigenvalue"), ("gauss_newton", "curvature")):
            estimates = tight["baseline"][label]["unconverged"].values
            np.testing.assert_allclose(estimates, loose["baseline"][label][name].values, rtol=1e-2, err_msg=label)
            assert np.isnan(loose["baseline"][label]["unconverged"].values).all()
        said = {
            label: [line for line in warnings if f"probe {label!r}: a solve did not" in line] for label in self.VALUES
        }
        assert {label: len(lines) for label, lines in said.items()} == {
            label: 1 + (label == "per_example_curvature") - (label == "iterate_projection") for label in self.VALUES
        }

    def test_a_trigger_passes_over_it_and_t_star_and_claims_do_too(self, loudly: CarryOut) -> None:
        probes = "  - {use: sharpness, every: 1, tolerance: 1.0e-9}\n"
        branch = "branches: {exit: {at: {use: edge_of_stability, after_step: 0}}}"
        run, warnings = loudly(probes + branch, *SMALL, "optimizer.lr=0.8", "stop.steps=3")
        assert (run["baseline"]["sharpness"]["unconverged"].values > run["baseline"].threshold).any()
        assert not run["exit"].started
        assert "no converged curvature was recorded after step 0" in run["exit"].end_reason
        assert run["baseline"].crossing() is None
        assert any("branch 'exit' was not started" in line for line in warnings)

    def test_estimates_that_an_older_run_holds_among_its_values_are_no_crossing(self, loudly: CarryOut) -> None:
        run, _ = loudly("  - {use: sharpness, every: 1}\n", *SMALL, "optimizer.lr=0.8", "stop.steps=3")
        crossing, channels = run["baseline"].crossing(), run["baseline"]["sharpness"].channels
        assert crossing is not None
        channels["converged"].__dict__["values"] = channels["converged"].values.copy()
        channels["converged"].values[crossing.step] = False
        later = run["baseline"].crossing()
        assert later is None or later.step > crossing.step

    def test_the_next_solve_goes_on_from_the_estimate(self, tiny, data_folder) -> None:
        """What a solve at its limit leaves is worth its products: the next needs fewer than a cold one."""
        import torch

        from studyrun.curvature import DenseOperator, top_eigenpairs

        torch.manual_seed(0)
        basis = torch.linalg.qr(torch.randn(80, 80, dtype=torch.float64)).Q
        matrix = basis * torch.linspace(0.1, 5, 80, dtype=torch.float64) @ basis.T

        def solve(start, most, seed):
            generator = torch.Generator().manual_seed(seed)
            options = {"tolerance": 1e-8, "start": start, "generator": generator, "max_products": most}
            return top_eigenpairs(DenseOperator(matrix), 2, exploration=0.0, **options)

        cold = solve(None, None, 1)
        limited = solve(None, 20, 1)
        assert not limited.converged.any()
        assert limited.known_values.isnan().all()
        assert limited.known_vectors.isnan().all()
        assert limited.warm["vectors"].isfinite().all()
        warm = solve(limited.warm, None, 2)
        assert warm.converged.all()
        assert warm.products < cold.products
        np.testing.assert_allclose(warm.known_values, torch.linalg.eigvalsh(matrix).flip(0)[:2], rtol=1e-12)

    def test_a_frozen_direction_waits_for_a_solve_that_converges(self, loudly: CarryOut, monkeypatch) -> None:
        from studyrun.engine import snapshot

        genuine = snapshot.top_eigenpairs

        def limited(operator, k, **options):
            return genuine(operator, k, **options, **({"max_products": 2} if self.solves() < 3 else {}))

        self.count = 0
        monkeypatch.setattr(snapshot, "top_eigenpairs", limited)
        probe = "  - {use: iterate_projection, every: 1, tolerance: 1.0e-6, freeze: {use: step, step: 2}}\n"
        run, _ = loudly(probe, *SMALL, "precision=float64", "stop.steps=6")
        probe = run["baseline"]["iterate_projection"]
        assert probe["frozen_step"].values.tolist() == [-1, -1, -1, -1, 4, 4, 4]
        assert np.isnan(probe["eigenvalue_then"].values[:4]).all()
        assert probe["converged"].values.tolist() == [False] * 4 + [True] * 3

    def solves(self) -> int:
        self.count += 1
        return self.count
