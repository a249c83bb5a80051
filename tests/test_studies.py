"""Every shipped study validates under each profile, its smoke profile runs, and the small ones show what they claim."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import yaml

from studyrun.engine.run import prepare
from studyrun.study import load_study

STUDIES = Path(__file__).resolve().parents[1] / "studies"
FILES = sorted(STUDIES.rglob("*.yaml"))
PROFILES = [(path, name) for path in FILES for name in yaml.safe_load(path.read_text()).get("profiles", {})]


def named(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("path", "profile"), [(path, None) for path in FILES] + PROFILES, ids=named)
def test_it_validates(path: Path, profile: str | None) -> None:
    study = load_study(path, profile=[profile] if profile else [])
    assert study.cites, "a study names the papers it is about"
    assert {branch.name for branch in study.branches} == set(study.document.get("branches", {}))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_it_carries_the_editors_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.split("=", 1)[1]).resolve() == STUDIES / "study.schema.json"


def test_the_schema_beside_them_is_the_current_one() -> None:
    import json

    from studyrun.study.editor_schema import json_schema

    assert json.loads((STUDIES / "study.schema.json").read_text()) == json_schema(), (
        "run: studyrun schema --out studies/study.schema.json"
    )


@pytest.mark.parametrize("path", FILES, ids=named)
def test_its_smoke_profile_runs_every_arm(path: Path, carry_out) -> None:
    run = carry_out(load_study(path, profile=["smoke"]))
    assert {arm.state for arm in run.arms.values()} <= {"complete", "not started"}
    assert run.arms["baseline"].state == "complete"


@pytest.mark.parametrize("profile", ["cifar10", "paper"])
def test_eos_branching_starts_on_real_images(profile: str, carry_out, data_folder: Path) -> None:
    if not (data_folder / "cifar10").exists():
        pytest.skip("STUDYRUN_DATA has no cifar10")
    overrides = [
        "sweep=null",
        "stop={time: null, steps: 1}",
        "precision=float32",
        "dataset.size=120",
        "dataset.test_size=20",
        "groups.per_class=3",
    ]
    run = carry_out(load_study(STUDIES / "eos_branching.yaml", profile=[profile], overrides=overrides))
    assert np.isfinite(run["baseline"]["sharpness"]["eigenvalue"].values).all()


SELECTIVE = STUDIES / "papers" / "selective_eos"


@pytest.mark.parametrize(
    ("path", "settings"),
    [*((path, []) for path in sorted(SELECTIVE.glob("*.yaml"))), (SELECTIVE / "losses.yaml", ["loss=cross_entropy"])],
    ids=named,
)
def test_the_papers_networks_start_on_real_images(
    path: Path, settings: list[str], carry_out, data_folder: Path
) -> None:
    """The profile `paper` with its own network, loss and optimizer, on few images and for one step."""
    if not (data_folder / "cifar10").exists():
        pytest.skip("STUDYRUN_DATA has no cifar10")
    overrides = ["sweep=null", "stop={time: null, steps: 1}", "dataset.size=60", "dataset.test_size=10"]
    study = load_study(path, profile=["paper"], overrides=[*overrides, *settings, "groups.per_class=3"])
    arm = carry_out(study)["baseline"]
    sizes = {"mlp": 1_837_058, "cnn": 2_473_410, "resnet_cifar": 171_058}
    init = study.document["model"]["init"]
    assert (init["scheme"], init["scale"]) == ("kaiming_normal", 0.2)
    assert prepare(study, data_folder).problem.parameters == sizes[study.names["model"]]
    assert arm.state == "complete"
    assert all(len(arm[label].step) for label in arm.probes)


@pytest.mark.slow
def test_the_papers_size_starts(carry_out, data_folder: Path) -> None:
    if not (data_folder / "cifar10").exists():
        pytest.skip("STUDYRUN_DATA has no cifar10")
    overrides = ["sweep=null", "stop={time: null, steps: 2}"]
    study = load_study(STUDIES / "eos_branching.yaml", profile=["paper"], overrides=overrides)
    problem = prepare(study, data_folder).problem
    assert (problem.parameters, len(problem.data.train)) == (1_837_058, 10_000)
    assert carry_out(study).arms["baseline"].state == "complete"


def test_two_layer_linear_follows_the_theorems(carry_out) -> None:
    """Rosenfeld and Risteski 2023, Theorems 3.1 and 3.2, with α = 100, ‖β‖ = 5, at a step that follows the flow."""
    alpha, beta = 100.0, 5.0
    study = load_study(STUDIES / "two_layer_linear.yaml", overrides=["stop.time=0.7", "probes.loss.every=20"])
    sharpness = carry_out(study)["baseline"]["sharpness"]
    time, value = sharpness.time, sharpness["eigenvalue"].values[:, 0]
    t1 = log(beta / 2) / (2 * beta)
    assert alpha < value[0] < 3 * alpha
    lowest = value.argmin()
    assert time[lowest] <= t1, "the initial decrease is over by t1"
    assert (np.diff(value[: lowest + 1]) < 0).all()
    assert (np.diff(value[lowest:]) > 0).all(), "from then on it rises"
    assert value[lowest] < value[0] / 3
    assert value[-1] >= 5 / 8 * beta * alpha


def test_two_layer_linear_large_step_oscillates_at_its_edge(carry_out) -> None:
    run = carry_out(load_study(STUDIES / "two_layer_linear.yaml", overrides=["probes.loss.every=20"]))
    branch, trunk = run.arms["large_step"], run.arms["baseline"]
    assert branch.learning_rate > 16 / (5 * 5 * 100)
    crossing = branch.crossing()
    assert crossing is not None
    assert crossing.value >= branch.threshold
    assert trunk["sharpness"]["eigenvalue"].values[-1, 0] == pytest.approx(500, rel=0.01), "the flow goes on to ‖β‖α"
    assert branch["sharpness"]["eigenvalue"].values[-1, 0] <= branch.threshold, "gradient descent comes back below 2/η"


def test_chebyshev_reaches_both_edges(carry_out) -> None:
    run = carry_out(load_study(STUDIES / "chebyshev.yaml", overrides=["probes.loss.every=20", "stop.time=600"]))
    trunk, half = run.arms["baseline"], run.arms["half"]
    assert half.threshold == 2 * trunk.threshold
    for arm in (trunk, half):
        crossing = arm.crossing()
        assert crossing is not None
        after = arm["sharpness"]["eigenvalue"].values[arm["sharpness"].time > crossing.time, 0]
        assert 0.8 * arm.threshold < np.median(after) < 1.2 * arm.threshold
