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


SINGULAR = '''\
"""Losses that stay finite where something else does not."""

from typing import Literal

import torch

from studyrun.plugin import Loss


class Singular(Loss):
    """A squared error, and beside it something whose derivative or parameters overflow."""

    way: Literal["infinite", "nan", "flat", "sum"]

    def per_example(self, outputs, targets):
        error = (outputs - torch.eye(outputs.shape[1], dtype=outputs.dtype)[targets]).square().sum(1)
        match self.way:
            case "infinite":  # √ of a zero: its slope is infinite
                return error + (outputs.sum(1) - outputs.sum(1).detach()).sqrt()
            case "nan":  # 0 · ∞
                return error + (outputs.sum(1) * 0) ** 0.5
            case "flat":  # saturated: whatever the outputs are, finite
                return outputs.nan_to_num().tanh().sum(1) * 1000
            case "sum":  # each loss fits in float32, their sum does not
                return error * 0 + 3e38 + outputs.sum(1) * 1e30
'''


class TestDivergence:
    @pytest.fixture(autouse=True)
    def _losses(self, tmp_path: Path) -> None:
        (tmp_path / "plugins" / "losses").mkdir(parents=True)
        (tmp_path / "plugins" / "losses" / "singular.py").write_text(SINGULAR)

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize("rate", ["30", "1.0e+8", "1.0e+30", "1.0e+100"])
    def test_a_branch_with_a_huge_learning_rate_ends_alone(self, loudly: CarryOut, rate: str, precision: str) -> None:
        """Every row that was recorded is finite, and the trunk's are what they are without the branch."""
        probes = "  - {use: parameters, every: 1}\n  - {use: sharpness, every: 2}\n  - {use: gradient_norm, every: 1}\n"
        branch = f"branches: {{wild: {{at: {{use: step, step: 3}}, set: {{optimizer.lr: {rate}}}}}}}"
        options = (*SMALL, "model.activation=relu", "stop.steps=60", f"precision={precision}")
        calm, _ = loudly(probes, *options)
        run, warnings = loudly(probes + branch, *options)
        assert [run[name].state for name in ("baseline", "wild")] == ["complete", "diverged"]
        assert run.status["state"] == "diverged"
        assert f"at step {run['wild'].attributes['steps']}" in run["wild"].end_reason
        assert np.isfinite(run["wild"]["loss"]["train"].values).all()
        assert np.isfinite(run["wild"]["parameters"]["norm"].values).all()
        for probe in ("loss", "sharpness", "parameters"):
            for name, channel in calm["baseline"][probe].channels.items():
                assert channel.values.tobytes() == run["baseline"][probe][name].values.tobytes(), (probe, name)
        assert any("wild diverged" in line for line in warnings)

    @pytest.mark.parametrize("way", ["infinite", "nan"])
    def test_a_gradient_that_is_no_number_ends_an_arm_whose_loss_is_one(self, loudly: CarryOut, way: str) -> None:
        run, _ = loudly("  - {use: parameters, every: 1}\n", *SMALL, f"loss={{use: singular, way: {way}}}")
        arm = run["baseline"]
        assert arm.state == "diverged"
        assert arm.end_reason.startswith("the gradient of layers.0.weight holds ")
        assert arm.end_reason.endswith(" at step 0")
        assert len(arm["loss"].step) == 0

    @pytest.mark.parametrize("optimizer", ["{use: gd, lr: 3.0e+38}", "{use: sgd, lr: 3.0e+38, batch_size: 7}"])
    def test_parameters_that_overflow_end_an_arm_whose_loss_stays_finite(
        self, loudly: CarryOut, optimizer: str
    ) -> None:
        branch = f"branches: {{wild: {{at: {{use: step, step: 2}}, set: {{optimizer: {optimizer}}}}}}}"
        loss = "loss={use: singular, way: flat}"
        run, _ = loudly("  - {use: parameters, every: 1}\n" + branch, *SMALL, loss, "optimizer.lr=1.0e-6")
        assert [run[name].state for name in ("baseline", "wild")] == ["complete", "diverged"]
        assert "parameter layers." in run["wild"].end_reason
        assert "holds " in run["wild"].end_reason
        assert np.isfinite(run["wild"]["loss"]["train"].values).all()
        assert np.isfinite(run["wild"]["parameters"]["norm"].values).all()

    def test_losses_whose_sum_overflows_in_float32_have_a_mean_all_the_same(self, loudly: CarryOut) -> None:
        options = (*SMALL, "loss={use: singular, way: sum}", "optimizer.lr=1.0e-34", "stop.steps=3")
        probes = "  - {use: gradient_norm, every: 1}\n"
        single, double = (
            loudly(probes, *options, f"precision={name}")[0]["baseline"] for name in ("float32", "float64")
        )
        assert single.state == double.state == "complete"
        for probe, name in (("loss", "train"), ("loss", "by_group"), ("gradient_norm", "norm")):
            values, exact = (arm[probe][name].values for arm in (single, double))
            np.testing.assert_allclose(values, exact, rtol=1e-5)
        assert (single["loss"]["train"].values * 48 > np.finfo("float32").max).all()
