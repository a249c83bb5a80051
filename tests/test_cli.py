"""The command line in this process: exit codes, words, and what goes to stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
import yaml
from oracles.plain_study import PLAIN

from studyrun import __version__, open_run
from studyrun.cli import call
from studyrun.errors import StudyrunError

BROKEN = sorted((Path(__file__).parent / "study" / "broken").glob("*.yaml"))
STUDY = (
    PLAIN
    + """\
profiles:
  short: {stop: {steps: 2}}
  wrong: {optimizer: {lr: -1}}
"""
)
BRANCH = "branches: {exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.01}}}\n"
SWEEP = "sweep: {seed: [0, 1]}\n"


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


Studyrun = Callable[..., Result]


@pytest.fixture
def studyrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Studyrun:
    """Call the command line in an empty folder, without the user's settings."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("STUDYRUN_OUTPUTS", "STUDYRUN_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STUDYRUN_DEBUG", "")  # so that --debug is undone, too
    monkeypatch.setenv("STUDYRUN_DATA", str(tmp_path / "no-data"))

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = call([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


# --- run, resume, report --------------------------------------------------------------------------------------------


def test_run_prints_the_folder_alone_on_stdout_and_what_comes_next_on_stderr(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("run", study)
    assert (result.code, result.out) == (0, "outputs/run1\n")
    assert result.err.endswith("outputs/run1: complete\nnext: studyrun report outputs/run1\n")
    assert all(character.isprintable() or character == "\n" for character in result.out + result.err)
    assert studyrun("run", study).out == "outputs/run2\n"


def test_profiles_overrides_and_out_are_taken(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("run", study, "--profile", "short", "--set", "optimizer.lr=0.02", "--out", "mine", "--json")
    assert result.json == {
        "folder": "mine",
        "state": "complete",
        "already_finished": False,
        "arms": {"baseline": "complete"},
    }
    run = open_run("mine")
    assert run["baseline"].learning_rate == 0.02
    assert run["baseline"]["loss"].step.tolist() == [0, 1, 2]
    assert run.provenance["command"][0] == Path(sys.argv[0]).name


def test_an_existing_out_is_refused(studyrun: Studyrun, study: Path) -> None:
    Path("mine").mkdir()
    result = studyrun("run", study, "--out", "mine")
    assert result.code == 1
    assert result.err == "error: mine exists already; a run folder is never overwritten, so give --out a new path\n"


def test_a_run_resumed_when_it_is_finished_says_so(studyrun: Studyrun, study: Path) -> None:
    studyrun("run", study)
    result = studyrun("resume", "outputs/run1")
    assert result.code == 0
    assert "complete already; there is nothing to resume" in result.err
    assert studyrun("resume", "outputs/run1", "--json").json["already_finished"] is True


def test_report_follows_a_run_on_request(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("run", study, "--report")
    assert result.out == "outputs/run1/report/index.html\n"
    assert Path("outputs/run1/report/index.html").is_file()
    assert "next:" not in result.err


def test_report_gives_each_verdict_and_strict_gives_it_an_exit_code(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + "claims:\n  - {use: reaches, channel: train, value: 1.0e-9, direction: below, as: tiny}\n")
    studyrun("run", study)
    relaxed, strict = studyrun("report", "outputs/run1"), studyrun("report", "outputs/run1", "--strict")
    assert (relaxed.code, strict.code) == (0, 1)
    assert relaxed.out == strict.out == "outputs/run1/report/index.html\n"
    assert "claim tiny does not hold: baseline did not reach" in relaxed.err
    assert "error: outputs/run1/report/index.html: not everything the study asserts holds" in strict.err
    (claim,) = studyrun("report", "outputs/run1", "--json").json["claims"]
    assert (claim["label"], claim["holds"], claim["runs"]) == ("tiny", False, 1)


def test_check_says_in_a_line_what_is_sound_and_what_was_not_looked_at(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + BRANCH)
    studyrun("run", study)
    result = studyrun("check", "outputs/run1")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("outputs/run1: trace, forks")
    assert " are sound; complete, 2 arms, 1 probe, " in result.out
    assert " rows, all checksums hold; not looked at: " in result.out
    assert result.out.count("\n") == 1
    assert "data and initial parameters (`--data` does)" in result.out
    assert "initial parameters" not in studyrun("check", "outputs/run1", "--data").out.partition("not looked at")[2]
    Path("outputs/run1/provenance.json").write_text("{}")
    result = studyrun("check", "outputs/run1")
    assert (result.code, result.err) == (1, "")
    verdict, *faults = result.out.splitlines()
    assert verdict == "outputs/run1 cannot be trusted: 2 faults"
    assert all(fault.startswith("  provenance.json: ") for fault in faults)
    found = studyrun("check", "outputs/run1", "--json").json
    assert (found["sound"], found["trusted"], found["sentence"]) == (False, False, verdict)
    assert found["faults"][0]["where"] == "provenance.json"
    assert studyrun("check", "nowhere") == Result(1, "", "error: nowhere does not exist\n")


def test_check_looks_at_every_member_of_a_sweep(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + SWEEP)
    studyrun("run", study)
    result = studyrun("check", "outputs/run1")
    assert result.code == 0
    assert " are sound; 2 members (2 complete), " in result.out
    Path("outputs/run1/seed=1/trace.h5").write_bytes(b"gone")
    result = studyrun("check", "outputs/run1")
    assert result.code == 1
    assert result.out.startswith("outputs/run1 cannot be trusted: ")
    assert "outputs/run1/seed=1 cannot be trusted: " in result.out
    assert "\n  trace.h5: " in result.out
    assert studyrun("check", "outputs/run1", "--json").json["members"][1]["sound"] is False


def test_a_report_on_no_run_is_refused(studyrun: Studyrun) -> None:
    result = studyrun("report", "nowhere")
    assert (result.code, result.out, result.err) == (1, "", "error: nowhere does not exist\n")


def test_a_diverged_run_is_a_result_with_a_warning(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("run", study, "--set", "optimizer.lr=1e6", "--set", "stop.steps=200")
    assert result.code == 0
    assert "warning: baseline diverged: the training loss is" in result.err
    assert "outputs/run1: diverged" in result.err


def test_a_sweep_counts_its_members(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + SWEEP)
    result = studyrun("run", study, "--json")
    assert [(one["name"], one["state"], one["error"]) for one in result.json["members"]] == [
        ("seed=0", "complete", None),
        ("seed=1", "complete", None),
    ]
    assert "outputs/run1: 2 members, one after another, 1 torch thread each" in result.err
    assert "seed=1: baseline complete: step 6 was reached" in result.err
    assert "outputs/run1: complete; members: 2 complete" in result.err


def test_a_sweep_with_a_failing_member_fails_with_the_reason_and_the_way_on(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + "sweep: {dataset: [{use: chebyshev, degree: 3, points: 9}, cifar10]}\n")
    study.write_text(study.read_text().replace("hidden: [4]", "hidden: [1]"))
    result = studyrun("run", study)
    assert (result.code, result.out) == (1, "outputs/run1\n")
    assert "error: cifar10 failed (2 of 2): dataset cifar10:" in result.err.replace("dataset=", "")
    assert "outputs/run1: failed; members: 1 complete, 1 failed\nnext: studyrun resume outputs/run1" in result.err


def test_missing_data_say_how_to_get_them_and_leave_no_folder(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("run", study, "--set", "dataset={use: cifar10, size: 10}")
    assert result.code == 1
    assert result.err.startswith("error: dataset cifar10: ")
    assert "`studyrun data fetch cifar10`" in result.err
    assert not Path("outputs").exists()


def test_an_output_folder_that_cannot_be_written_is_said(studyrun: Studyrun, study: Path) -> None:
    Path("outputs").write_text("a file")
    result = studyrun("run", study)
    assert result.code == 1
    assert result.err.startswith("error: no run folder can be made in outputs: ")
    assert result.err.count("\n") == 1


def test_a_branch_that_never_starts_is_reported_and_why(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + "branches: {late: {at: {use: step, step: 99}}}\n")
    result = studyrun("run", study, "--json")
    assert result.code == 0
    assert result.json["arms"] == {"baseline": "complete", "late": "not started"}
    assert "warning: branch 'late' was not started: step did not fire" in result.err


def test_a_full_disk_is_one_message_and_leaves_what_was_recorded(
    studyrun: Studyrun, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studyrun.errors import RunFolderError
    from studyrun.trace.writer import TraceWriter

    flush, count = TraceWriter.flush, iter(range(100))

    def full_at_last(self: TraceWriter) -> None:
        if next(count) >= 2:
            raise RunFolderError("cannot write outputs/run1/trace.h5: No space left on device")
        flush(self)

    study.write_text(STUDY + "checkpoints: {every: 2}\n")
    with monkeypatch.context() as filling:
        filling.setattr(TraceWriter, "flush", full_at_last)
        result = studyrun("run", study)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: outputs/run1: cannot write outputs/run1/trace.h5: No space")
    assert len(open_run("outputs/run1")["baseline"]["loss"].step) > 0
    assert studyrun("resume", "outputs/run1").code == 0
    assert open_run("outputs/run1")["baseline"]["loss"].step.tolist() == list(range(7))


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BROKEN[::4], ids=lambda path: path.stem)
def test_broken_studies_exit_with_3_name_the_line_and_leave_nothing_behind(studyrun: Studyrun, path: Path) -> None:
    options: list[str] = []
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        for name in ("profile", "set"):
            if line.startswith(f"# {name} "):
                options += [f"--{name}", line.removeprefix(f"# {name} ")]
    result = studyrun("run", path, *options)
    assert (result.code, result.out) == (3, "")
    assert f"{path.name}:" in result.err or result.err.startswith("--")
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1].startswith("error: the study has ")
    assert list(Path.cwd().iterdir()) == []


def test_every_fault_stands_on_its_own_line(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY.replace("hidden", "hiden").replace("lr: 0.05", "lr: fast"))
    result = studyrun("run", study)
    assert result.code == 3
    first, second, last = result.err.splitlines()
    assert first.startswith(f"{study}:2:19: model.hiden: ")
    assert "did you mean 'hidden'?" in first
    assert second.startswith(f"{study}:5:26: optimizer.lr: ")
    assert last == "error: the study has 2 faults; nothing was run"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["walk"], "No such command 'walk'"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "nowhere.yaml"], "error: there is no study file nowhere.yaml"),
        (["run", "a.yaml", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "a.yaml", "--fats"], "No such option"),
        (["list", "prob"], "error: there is no kind of component named 'prob'; did you mean 'probe'? kinds: claims,"),
        (
            ["describe", "probe", "sharpnes"],
            "error: there is no 'sharpnes' among the probes; did you mean 'sharpness'?",
        ),
        (["describe", "sharpnes"], "error: no component of any kind is named 'sharpnes'; did you mean 'sharpness'?"),
        (["describe", "a", "b", "c"], "error: describe takes a kind and a name, or a name alone"),
        (["data", "fetch", "cifar"], "error: there is no 'cifar' among the datasets; did you mean 'cifar10'?"),
        (["ls", "nowhere"], "error: nowhere is no folder"),
    ],
)
def test_a_wrong_command_exits_with_2(studyrun: Studyrun, arguments: list[str], words: str) -> None:
    result = studyrun(*arguments)
    assert result.code == 2
    assert words in result.err
    assert result.out == ""


def test_the_traceback_is_shown_on_request_alone(
    studyrun: Studyrun, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("studyrun.commands.run.launch", broken)
    plain, debug = studyrun("run", study), studyrun("--debug", "run", study)
    assert plain.code == debug.code == 1
    assert "error: KeyError: 'a fault of ours' (" in plain.err
    assert "STUDYRUN_DEBUG=1" in plain.err
    assert "Traceback" not in plain.err
    assert "Traceback (most recent call last)" in debug.err


def test_ctrl_c_before_the_run_begins_leaves_nothing(
    studyrun: Studyrun, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("studyrun.launch.one.prepare", interrupted)
    result = studyrun("run", study)
    assert (result.code, result.err) == (130, "error: interrupted before the run began; nothing was written\n")
    assert not Path("outputs").exists()


def test_ctrl_c_once_a_run_has_ended_is_late(studyrun: Studyrun, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studyrun.commands import run as command

    def pressed(text: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sys.stderr.write(f"{text}\n")

    monkeypatch.setattr(command, "note", pressed)
    result = studyrun("run", study)
    assert (result.code, result.out) == (0, "outputs/run1\n")
    assert result.err.endswith("outputs/run1: complete\nnext: studyrun report outputs/run1\n")


def test_every_error_of_the_project_has_an_exit_code() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind, *(deeper for one in kind.__subclasses__() for deeper in below(one))}

    assert {kind.exit_code for kind in below(StudyrunError)} == {1, 2, 3, 130}


# --- studies --------------------------------------------------------------------------------------------------------


def test_dry_run_prints_the_plan_and_writes_nothing(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + BRANCH + SWEEP)
    result = studyrun("run", study, "--dry-run")
    assert result.code == 0
    for words in (
        "mlp, 13 parameters",
        "chebyshev, 12 train",
        "gd, lr 0.05, edge of stability 40",
        "from baseline at step (step 3): optimizer.lr = 0.01",
        "at most 6 steps",
        "members (2)",
        "seed=1",
        "nothing was run, and nothing was written",
    ):
        assert words in result.out
    assert list(Path.cwd().iterdir()) == []


def test_the_plan_as_json_has_arms_probes_and_members(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY.replace("  - loss", "  - {use: sharpness, every: {log: 5}, k: 2, as: top}") + BRANCH + SWEEP)
    plan = studyrun("run", study, "--dry-run", "--json").json
    assert [(arm["name"], arm["parent"], arm["steps"]) for arm in plan["arms"]] == [
        ("baseline", None, 6),
        ("exit", "baseline", 6),
    ]
    (probe,) = plan["probes"]
    assert (probe["label"], probe["use"], probe["due"]) == ("top", "sharpness", "at 5 steps a decade")
    assert probe["channels"]["eigenvalue"] == {"k": 2}
    assert plan["members"][1] == {"name": "seed=1", "overrides": {"seed": 1}}


def test_dry_run_finds_what_only_data_can_tell(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + "groups: prototypes\n")
    result = studyrun("run", study, "--dry-run")
    assert result.code != 0
    assert "groups prototypes: needs exactly two classes" in result.err


def test_validate_says_what_a_study_holds(studyrun: Studyrun, study: Path) -> None:
    study.write_text(STUDY + BRANCH + SWEEP)
    result = studyrun("validate", study)
    assert (result.code, result.out) == (0, f"{study}: valid (2 arms, 1 probe, 2 members)\n")


def test_validate_goes_through_all_profiles(studyrun: Studyrun, study: Path) -> None:
    result = studyrun("validate", study, "--all-profiles")
    assert result.code == 3
    assert result.out.splitlines() == [
        f"{study}: valid (1 arm, 1 probe)",
        f"{study} --profile short: valid (1 arm, 1 probe)",
    ]
    assert f"{study}:11:27: optimizer.lr: " in result.err
    assert f"error: {study} --profile wrong: 1 fault" in result.err


def test_validate_checks_every_file_and_fails_if_one_is_broken(studyrun: Studyrun, study: Path) -> None:
    other = study.with_name("other.yaml")
    other.write_text(STUDY.replace("gd", "gdd"))
    result = studyrun("validate", other, study, "--json")
    assert result.code == 3
    assert [one["valid"] for one in result.json] == [False, True]
    (fault,) = result.json[0]["faults"]
    assert (fault["line"], fault["path"]) == (5, "optimizer.use" if fault["path"].endswith("use") else "optimizer")
    assert "did you mean 'gd'?" in fault["message"]


def test_show_prints_a_study_that_is_itself_resolved(studyrun: Studyrun, study: Path) -> None:
    shown = studyrun("show", study, "--profile", "short", "--set", "optimizer.momentum=0.9")
    document = yaml.safe_load(shown.out)
    assert document["optimizer"] == {"use": "gd", "lr": 0.05, "momentum": 0.9, "nesterov": False}
    assert document["stop"]["steps"] == 2
    study.write_text(shown.out)
    assert studyrun("show", study).out == shown.out
    assert studyrun("show", study, "--json").json == document


def test_the_schema_accepts_this_study(studyrun: Studyrun, study: Path) -> None:
    printed = studyrun("schema").json
    assert studyrun("schema", "--out", "schema.json").code == 0
    assert json.loads(Path("schema.json").read_text()) == printed
    jsonschema.validate(yaml.safe_load(STUDY) | {"profiles": {}}, printed)


def test_a_schema_that_cannot_be_written_is_said(studyrun: Studyrun) -> None:
    result = studyrun("schema", "--out", "no/such/folder.json")
    assert (result.code, result.err) == (1, "error: cannot write no/such/folder.json: No such file or directory\n")


# --- components -----------------------------------------------------------------------------------------------------


def test_list_shows_kinds_names_and_first_lines(studyrun: Studyrun) -> None:
    result = studyrun("list")
    assert result.code == 0
    assert "\nprobes\n" in result.out
    assert "  sharpness " in result.out
    only = studyrun("list", "optimizer")
    assert only.out.startswith("optimizers\n  adam ")
    assert "sharpness" not in only.out


def test_list_as_json_names_each_file(studyrun: Studyrun) -> None:
    listed = studyrun("list", "losses", "--json").json
    assert {"cross_entropy", "squared_error"} <= {one["name"] for one in listed}
    assert all(Path(one["path"]).is_file() and one["summary"] and one["origin"] == "built-in" for one in listed)


def test_list_shows_where_a_component_of_the_project_comes_from(studyrun: Studyrun) -> None:
    Path("plugins/probes").mkdir(parents=True)
    Path("plugins/probes/own.py").write_text('"""No class yet."""\nraise ImportError("never imported by list")\n')
    assert f"[project: {Path.cwd()}/plugins/probes/own.py]" in studyrun("list", "probes").out


def test_describe_gives_docstring_options_and_schedule(studyrun: Studyrun) -> None:
    result = studyrun("describe", "probe", "sharpness")
    assert result.out.startswith("sharpness (probe, built-in)\n")
    assert "  k: whole number ≥ 1" in result.out
    assert "Source: Cohen et al. 2021" in result.out
    assert "Due by default: every 10" in result.out


def test_describe_goes_into_blocks_of_options(studyrun: Studyrun) -> None:
    (described,) = studyrun("describe", "mlp", "--json").json
    options = {option["name"]: option for option in described["options"]}
    assert "kaiming_normal" in options["init.scheme"]["type"]
    assert options["hidden"]["default"] == [512, 512]
    assert not options["hidden"]["required"]


def test_describe_by_name_alone_shows_all_of_that_name(studyrun: Studyrun) -> None:
    assert {one["kind"] for one in studyrun("describe", "loss", "--json").json} == {"figures", "probes"}


def test_every_built_in_component_can_be_described(studyrun: Studyrun) -> None:
    for one in studyrun("list", "--json").json:
        result = studyrun("describe", one["kind"], one["name"])
        assert result.code == 0, one["name"]
        assert all(f"{kind}" not in result.out for kind in ("$ref", "anything")), result.out


def test_a_broken_plugin_is_named_when_it_is_described(studyrun: Studyrun) -> None:
    Path("plugins/probes").mkdir(parents=True)
    Path("plugins/probes/own.py").write_text("import nothing_of_that_name\n")
    result = studyrun("describe", "probe", "own")
    assert result.code == 3
    assert "plugins/probes/own.py:1: importing 'own' (probes) raised ModuleNotFoundError" in result.err


# --- folders, data, machine -----------------------------------------------------------------------------------------


def test_ls_shows_runs_in_the_order_of_their_numbers(studyrun: Studyrun, study: Path) -> None:
    assert studyrun("ls") == Result(0, "", "no runs in outputs\n")
    assert studyrun("ls", "--json").json == []
    for out in ("outputs/run10", "outputs/run9"):
        studyrun("run", study, "--out", out)
    study.write_text(STUDY + SWEEP)
    studyrun("run", study)
    rows = studyrun("ls").out.splitlines()
    assert [row.split()[0] for row in rows] == ["outputs/run9", "outputs/run10", "outputs/run11"]
    assert all("complete" in row and row.endswith("a plain study") for row in rows)
    assert "2 members: 2 complete" in rows[2]
    assert studyrun("ls", "--json").json[2]["members"] == {"seed=0": "complete", "seed=1": "complete"}
    assert [row.split()[0] for row in studyrun("ls", "outputs/run11").out.splitlines()] == [
        "outputs/run11/seed=0",
        "outputs/run11/seed=1",
    ]


def test_ls_passes_over_what_is_no_run_and_shows_a_damaged_one(studyrun: Studyrun) -> None:
    Path("outputs/notes").mkdir(parents=True)
    Path("outputs/run1").mkdir()
    Path("outputs/run1/study.yaml").write_text("title: [")
    result = studyrun("ls")
    assert result.out.split() == ["outputs/run1", "not", "started"]


def test_a_generated_data_set_needs_no_fetching(studyrun: Studyrun) -> None:
    result = studyrun("data", "fetch", "dice")
    assert (result.code, result.out) == (0, "nothing to download: this data set is generated\n")


def test_doctor_finds_this_machine_fit(studyrun: Studyrun) -> None:
    Path("plugins/probes").mkdir(parents=True)
    Path("plugins/probes/broken.py").write_text("import nothing_of_that_name\n")
    result = studyrun("doctor", "--json")
    checks = {check["name"]: check for check in result.json}
    assert result.code == 0, result.out
    assert checks["torch"]["state"] == checks["torchvision"]["state"] == checks["outputs"]["state"] == "ok"
    assert checks["probe broken"]["state"] == "warning"
    assert "ModuleNotFoundError" in checks["probe broken"]["detail"]
    assert "GiB free" in checks["outputs"]["detail"]
    assert "data fetch" in checks["data"]["detail"]


def test_doctor_fails_where_nothing_can_be_written(studyrun: Studyrun) -> None:
    Path("outputs").touch()
    result = studyrun("doctor")
    assert result.code == 1
    (line,) = [line for line in result.out.splitlines() if line.startswith("ERROR")]
    assert line.split(maxsplit=1)[1].startswith("outputs      no run folder can be made in outputs: ")


def test_doctor_explains_a_cpu_torch_beside_another_torchvision() -> None:
    from studyrun.commands.doctor import explain_pair

    error = RuntimeError("operator torchvision::nms does not exist")
    words = explain_pair("2.9.0+cpu", "0.24.0", error)
    assert "torch is the cpu build and torchvision PyPI's; both must be of one build" in words
    assert (
        "pip install --force-reinstall --no-deps torchvision --index-url https://download.pytorch.org/whl/cpu" in words
    )
    assert "install a pair of one release" in explain_pair("2.9.0", "0.20.0", error)
    assert "pip install torchvision" in explain_pair("2.9.0", "not installed", ImportError("no module"))


def test_version(studyrun: Studyrun) -> None:
    assert studyrun("--version") == Result(0, f"studyrun {__version__}\n", "")


def test_help_names_every_command_and_the_exit_codes(studyrun: Studyrun) -> None:
    result = studyrun("--help")
    assert result.code == 0
    names = [
        "run",
        "resume",
        "report",
        "check",
        "validate",
        "show",
        "list",
        "describe",
        "schema",
        "new",
        "ls",
        "data",
        "doctor",
    ]
    assert all(f"\n  {name} " in result.out for name in names)
    assert "Exit codes: 0 all well" in result.out
    for name in names:
        assert studyrun(name, "--help").code == 0
