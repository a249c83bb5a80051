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


EVERY_PROBE = """\
  - {use: sharpness, k: 2, every: 1}
  - {use: gauss_newton, every: 1, smallest: true}
  - {use: group_alignment, every: 1}
  - {use: per_example_alignment, every: 1}
  - {use: per_example_curvature, every: 1, eigenvalues_of: 2}
  - {use: sharpness_coupling, every: 1}
  - {use: curvature_by_layer, every: 1}
  - {use: curvature_by_layer, every: 1, of: gradient_square, as: squares}
  - {use: preconditioned_sharpness, every: 1}
  - {use: iterate_projection, every: 1}
  - {use: group_gradients, every: 1, directions: 4}
  - {use: batch_sharpness, every: 1, batches: 3, batch_size: 4}
  - {use: batch_sharpness, every: 1, batches: 3, batch_size: 4, estimator: ratio_of_means, as: ratio}
  - {use: adversarial_accuracy, every: 1, steps: 4}
  - {use: adversarial_accuracy, every: 1, steps: 4, norm: l2, objective: loss, as: euclidean}
  - {use: hessian_trace, every: 1, products: 12}
  - {use: input_output_jacobian, every: 1, examples: 3}
  - {use: spectral_density, every: 1, depth: 8, random_vectors: 2, points: 201}
  - {use: displaced_loss, every: 1}
  - {use: gradient_norm, every: 1, by_layer: true}
  - {use: parameters, every: 1}
  - {use: per_example_loss, every: 1}
"""

HINGE = '''\
"""A loss that is zero as long as the outputs are small."""

from studyrun.plugin import Loss


class Hinge(Loss):
    """max(0, f − 10), summed over outputs."""

    def per_example(self, outputs, targets):
        return (outputs - 10).relu().sum(1)
'''


def undeclared(run: Run) -> list[str]:
    """The channels with a value that is no number, for which no reason was declared."""
    return [
        f"{label}.{name}"
        for label, probe in run["baseline"].probes.items()
        for name, channel in probe.channels.items()
        if channel.values.dtype.kind == "f"
        and (np.isinf(channel.values).any() or (np.isnan(channel.values).any() and "comment" not in channel.attributes))
    ]


def test_without_any_gradient_every_number_is_the_right_one_or_none_for_a_reason(loudly: CarryOut, tmp_path) -> None:
    """A loss that is zero for all examples: gradient and Hessian are zero, and nothing has a direction."""
    (tmp_path / "plugins" / "losses").mkdir(parents=True)
    (tmp_path / "plugins" / "losses" / "hinge.py").write_text(HINGE)
    run, warnings = loudly(EVERY_PROBE, *SMALL, "loss=hinge", "stop.steps=3")
    assert run["baseline"].state == "complete"
    assert len(warnings) == 1
    assert warnings[0].endswith("the first gradient, over 8 examples, is zero in every parameter: nothing would move")
    assert undeclared(run) == []
    zeros = """loss.train sharpness.eigenvalue gauss_newton.curvature group_alignment.gradient_norm hessian_trace.trace
        per_example_alignment.gradient_norm per_example_curvature.curvature per_example_curvature.eigenvalue
        preconditioned_sharpness.eigenvalue group_gradients.norm hessian_trace.standard_error spectral_density.nodes
        gradient_norm.norm gradient_norm.by_layer parameters.distance sharpness.residual euclidean.loss"""
    without = """group_alignment.cos2 per_example_alignment.cos2 sharpness_coupling.coupling sharpness_coupling.gap
        sharpness_coupling.influence curvature_by_layer.share squares.share group_gradients.cosine batch_sharpness.value
        group_gradients.cosine_to_whole group_gradients.sketch ratio.value iterate_projection.projection"""

    def of(name: str) -> np.ndarray:
        label, channel = name.split(".")
        return run["baseline"][label][channel].values

    assert [name for name in zeros.split() if (of(name) != 0).any()] == []
    assert [name for name in without.split() if not np.isnan(of(name)).all()] == []
    assert run["baseline"]["sharpness"]["converged"].values.all()
    attack = run["baseline"]["euclidean"]
    assert (attack["accuracy"].values <= attack["clean_accuracy"].values).all()


def test_a_preconditioner_of_zero_is_none(loudly: CarryOut, tmp_path: Path) -> None:
    """Adam that has seen no gradient, with an ε that float32 takes for zero, divides by zero."""
    (tmp_path / "plugins" / "losses").mkdir(parents=True)
    (tmp_path / "plugins" / "losses" / "hinge.py").write_text(HINGE)
    adam = "optimizer={use: adam, lr: 1.0e-3, eps: 1.0e-50}"
    run, _ = loudly("  - {use: preconditioned_sharpness, every: 1}\n", *SMALL, "loss=hinge", adam, "stop.steps=3")
    probe = run["baseline"]["preconditioned_sharpness"]
    assert run["baseline"].state == "diverged", "0 / 0"
    assert np.isnan(probe["eigenvalue"].values).all()
    assert not probe["converged"].values.any()


def test_of_a_dead_network_only_the_last_bias_counts(loudly: CarryOut, monkeypatch) -> None:
    """No ReLU is on: H = 2 · 1 on the two output biases, and zero elsewhere."""
    import torch

    from studyrun.engine import arms

    genuine = arms.RunInProgress._arm

    def dead(self, name, study):
        with torch.no_grad():
            self.problem.named_tensors["layers.0.bias"].fill_(-100)
        return genuine(self, name, study)

    monkeypatch.setattr(arms.RunInProgress, "_arm", dead)
    run, warnings = loudly(EVERY_PROBE, *SMALL, "model.activation=relu", "stop.steps=2")
    assert warnings == []
    assert undeclared(run) == []
    arm = run["baseline"]
    np.testing.assert_allclose(arm["sharpness"]["eigenvalue"].values, 2, rtol=1e-5)
    np.testing.assert_allclose(arm["gauss_newton"]["curvature"].values[:, 0], 2, rtol=1e-5)
    np.testing.assert_allclose(arm["batch_sharpness"]["value"].values, 2, rtol=1e-5)
    np.testing.assert_allclose(arm["hessian_trace"]["trace"].values, 4, rtol=1e-5)
    assert (arm["gradient_norm"]["by_layer"].values[:, :3] == 0).all()
    assert (arm["input_output_jacobian"]["spectral"].values == 0).all()
    assert np.isnan(arm["sharpness_coupling"]["coupling"].values).all()


@pytest.mark.parametrize("scale", ["1.0e-25", "1.0e+25"])
def test_what_does_not_depend_on_the_size_of_the_loss_does_not(loudly: CarryOut, scale: str) -> None:
    """A loss in other units: cosines and shares stay, curvatures and norms go with it, though their squares vanish."""
    plain, scaled = (
        loudly(EVERY_PROBE, *SMALL, f"loss.scale={factor}", "optimizer.lr=1.0e-40", "stop.steps=1")[0]["baseline"]
        for factor in ("1", scale)
    )
    same = """group_alignment.cos2 per_example_alignment.cos2 curvature_by_layer.share group_gradients.cosine
        group_gradients.cosine_to_whole group_gradients.sketch euclidean.accuracy adversarial_accuracy.accuracy"""
    scaling = """sharpness.eigenvalue gauss_newton.curvature batch_sharpness.value ratio.value gradient_norm.norm
        per_example_curvature.curvature per_example_curvature.gradient_norm per_example_curvature.eigenvalue
        group_gradients.norm group_alignment.gradient_norm hessian_trace.trace preconditioned_sharpness.eigenvalue"""
    for names, factor in ((same, 1.0), (scaling, float(scale))):
        for name in names.split():
            label, channel = name.split(".")
            values, exact = (arm[label][channel].values[:2].astype(float) for arm in (scaled, plain))
            size = np.abs(exact).max()
            np.testing.assert_allclose(values / factor, exact, rtol=2e-3, atol=1e-3 * size, err_msg=name)


@pytest.mark.parametrize("flush", [False, True], ids=["denormal", "flushed"])
def test_denormal_losses_and_gradients_give_no_number_that_is_not_one(loudly: CarryOut, flush: bool) -> None:
    import torch

    torch.set_flush_denormal(flush)
    try:
        run, warnings = loudly(EVERY_PROBE, *SMALL, "loss.scale=1.0e-40", "stop.steps=2")
    finally:
        torch.set_flush_denormal(False)
    arm = run["baseline"]
    assert arm.state == "complete"
    assert undeclared(run) == []
    said = ("did not converge", "beyond the range of float32", "nothing would move")
    assert all(any(words in line for words in said) for line in warnings), warnings
    for label, channel in (("group_alignment", "cos2"), ("per_example_alignment", "cos2")):
        values = arm[label][channel].values
        assert (np.isnan(values) | ((values >= 0) & (values <= 1 + 1e-6))).all()
    value = arm["sharpness"]["eigenvalue"].values
    assert (np.isnan(value) | (value < 1e-38)).all()


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_a_saturated_softmax_is_measured_as_in_double_precision(loudly: CarryOut, monkeypatch, scale: float) -> None:
    import torch

    from studyrun.engine import arms

    genuine = arms.RunInProgress._arm

    def saturated(self, name, study):
        with torch.no_grad():
            self.problem.named_tensors["layers.1.weight"].mul_(scale)
        return genuine(self, name, study)

    monkeypatch.setattr(arms.RunInProgress, "_arm", saturated)
    probes = """\
  - {use: per_example_loss, every: 1}
  - {use: gradient_norm, every: 1}
  - {use: per_example_alignment, every: 1}
  - {use: sharpness, every: 1}
  - {use: gauss_newton, every: 1}
  - {use: hessian_trace, every: 1, products: 12}
"""
    options = (*SMALL, "loss=cross_entropy", "optimizer.lr=1.0e-30", "stop.steps=0")
    (single, said), (double, _) = (loudly(probes, *options, f"precision={name}") for name in ("float32", "float64"))
    assert undeclared(single) == []
    assert all("did not converge" in line for line in said), said
    losses = single["baseline"]["per_example_loss"]["loss"].values
    assert losses.max() > scale / 20
    for name in ("per_example_loss.loss", "gradient_norm.norm", "per_example_alignment.gradient_norm"):
        label, channel = name.split(".")
        values, exact = (run["baseline"][label][channel].values for run in (single, double))
        np.testing.assert_allclose(values, exact, rtol=1e-3, atol=1e-4 * float(np.abs(exact).max()), err_msg=name)


BLIND = '''\
"""A loss that is a number, with a gradient, and now and then no curvature."""

import torch

from studyrun.plugin import Loss


class Bent(torch.autograd.Function):
    """The identity, whose second derivative is NaN while `Blind.broken` says so."""

    @staticmethod
    def forward(context, values):
        return values.clone()

    @staticmethod
    def backward(context, gradient):
        return Slope.apply(gradient)


class Slope(torch.autograd.Function):
    @staticmethod
    def forward(context, gradient):
        return gradient.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * (torch.nan if Blind.broken else 1)


class Blind(Loss):
    """A squared error through `Bent`."""

    def per_example(self, outputs, targets):
        target = torch.nn.functional.one_hot(targets, outputs.shape[1]).to(outputs)
        return (Bent.apply(outputs) - target).square().sum(1)


Blind.broken = False
'''


def test_a_nan_in_probes_alone_is_recorded_said_once_and_over_at_the_next_measurement(
    tiny, data_folder, tmp_path: Path, carry_out
) -> None:
    """The second derivatives of steps 2 and 3 are NaN. Training, and every row from step 4 on, know nothing of it."""
    (tmp_path / "plugins" / "losses").mkdir(parents=True)
    (tmp_path / "plugins" / "losses" / "blind.py").write_text(BLIND)
    probes = "  - {use: sharpness, k: 2, every: 1, tolerance: 1.0e-6}\n  - {use: gauss_newton, every: 1}\n"
    probes += "  - {use: group_alignment, every: 1, tolerance: 1.0e-6}\n"
    probes += "  - {use: hessian_trace, every: 1, products: 12}\n"
    probes += "  - {use: iterate_projection, every: 1, freeze: {use: step, step: 2}}\n  - {use: parameters, every: 1}\n"
    probes += "  - {use: spectral_density, every: 1, depth: 6, random_vectors: 1}\n"
    options = (*SMALL, "loss=blind", "precision=float64", "stop.steps=7")
    prepared = prepare(tiny(probes, *options), data_folder)
    blind, said = type(prepared.study.loss), []

    class Breaking(Silent):
        def update(self, arm: str, step: int, fraction: float, note: str) -> None:
            blind.broken = step + 1 in (2, 3)

        def say(self, text: str, level: str = "info") -> None:
            said.extend([text] if level == "warning" else [])

    (tmp_path / "broken").mkdir()
    execute(prepared, tmp_path / "broken", [], Breaking())
    whole, broken = carry_out(tiny(probes, *options)), open_run(tmp_path / "broken")
    for probe in ("loss", "parameters"):
        for name, channel in whole["baseline"][probe].channels.items():
            assert channel.values.tobytes() == broken["baseline"][probe][name].values.tobytes()
    values, exact = (run["baseline"]["sharpness"]["eigenvalue"].values for run in (broken, whole))
    assert np.isnan(values[2:4]).all()
    np.testing.assert_allclose(np.delete(values, [2, 3], 0), np.delete(exact, [2, 3], 0), rtol=1e-9)
    traces = broken["baseline"]["hessian_trace"]["trace"].values
    assert np.isnan(traces[2:4]).all()
    assert np.isfinite(np.delete(traces, [2, 3])).all()
    cosines, exact = (run["baseline"]["group_alignment"]["cos2"].values for run in (broken, whole))
    np.testing.assert_allclose(cosines[4:], exact[4:], rtol=1e-4, atol=1e-8)
    assert broken["baseline"]["iterate_projection"]["frozen_step"].values.tolist() == [-1] * 4 + [4] * 4
    assert any("probe 'sharpness' recorded NaN in 'residual' at step 2" in line for line in said)
    assert len(said) == len(set(said))
    assert all("at step 2" in line for line in said), said
