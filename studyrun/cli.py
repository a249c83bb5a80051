"""The command line: argv to one call each. Nothing heavy is imported before a command is known."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from studyrun.backend import NAME
from studyrun.commands.streams import end_streams, open_streams
from studyrun.stopping import heed

app = typer.Typer(
    name="studyrun",
    help="Studies of training dynamics from one YAML file: train, measure, fork, report.",
    epilog="Exit codes: 0 all well, 1 a run failed or a claim does not hold under --strict, 2 usage, 3 invalid study, "
    "130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
data = typer.Typer(help="Data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a sweep's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set one value, such as optimizer.lr=0.1; repeatable."),
]
Profiles = Annotated[
    list[str] | None, typer.Option("--profile", metavar="NAME", help="Merge a profile of the study; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop the sweep at its first member that fails.")]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Make the report when the run has ended.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from studyrun import __version__

        typer.echo(f"studyrun {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["STUDYRUN_DEBUG"] = "1"


@app.command()
def run(
    study: StudyFile,
    set_: Overrides = None,
    profile: Profiles = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make; by default outputs/run1, run2, ...")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, write nothing.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="How many members of a sweep run at a time.")] = 1,
    fail_fast: FailFast = False,
    report: Report = False,
    json: AsJson = False,
) -> int:
    """Carry out a study, or every member of its sweep, in a new run folder."""
    from studyrun.commands.run import run as call

    return call(
        study,
        overrides=set_ or (),
        profiles=profile or (),
        out=out,
        dry_run=dry_run,
        workers=workers,
        fail_fast=fail_fast,
        report=report,
        as_json=json,
    )


@app.command()
def resume(
    folder: RunFolder,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="Go on beyond the end, as with stop.time=20, or with a new branch."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many members at a time; by default as many as before.")
    ] = None,
    fail_fast: FailFast = False,
    report: Report = False,
    json: AsJson = False,
) -> int:
    """Carry on with an interrupted run or sweep, or take a finished one further."""
    from studyrun.commands.run import resume as call

    return call(folder, overrides=set_ or (), workers=workers, fail_fast=fail_fast, report=report, as_json=json)


@app.command()
def report(
    folder: RunFolder,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 unless every claim holds.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json: AsJson = False,
) -> int:
    """Make a run's report: figures, a page, and a verdict on each claim."""
    from studyrun.commands.report import report as call

    return call(folder, strict=strict, show=show, as_json=json)


@app.command()
def check(
    folder: RunFolder,
    data: Annotated[
        bool,
        typer.Option("--data", help="Load the data and build the model again too: this runs the run's components."),
    ] = False,
    json: AsJson = False,
) -> int:
    """Look through a run, or every member of a sweep, and say in one line what is sound and what was not looked at."""
    from studyrun.commands.check import check as call

    return call(folder, data, as_json=json)


@app.command()
def validate(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Study files.")],
    set_: Overrides = None,
    profile: Profiles = None,
    all_profiles: Annotated[
        bool, typer.Option("--all-profiles", help="Check each study as it is and under each of its profiles.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Check study files and print every fault at once."""
    from studyrun.commands.study import validate as call

    return call(studies, overrides=set_ or (), profiles=profile or (), all_profiles=all_profiles, as_json=json)


@app.command()
def show(study: StudyFile, set_: Overrides = None, profile: Profiles = None, json: AsJson = False) -> None:
    """Print a study with its profiles, overrides and defaults applied."""
    from studyrun.commands.study import show as call

    call(study, overrides=set_ or (), profiles=profile or (), as_json=json)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind alone, such as probes.")] = None,
    json: AsJson = False,
) -> None:
    """List the components within reach, each with its first line."""
    from studyrun.commands.catalogue import list_components as call

    call(kind, json)


@app.command()
def describe(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME", help="A component, as in: probe sharpness.")],
    json: AsJson = False,
) -> None:
    """Describe a component: what it does, its options, its source."""
    from studyrun.commands.describe import describe as call

    call(words, json)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
) -> None:
    """Print the JSON Schema of study files, with every component's options, for editors."""
    from studyrun.commands.study import schema as call

    call(out)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="model, dataset, groups, loss, optimizer, probe, ...")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in YAML, such as my_probe.")],
) -> None:
    """Write a component of your own, with a test, into the project's plugins folder."""
    from studyrun.commands.new import new as call

    call(kind, name)


@app.command()
def ls(
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="By default outputs.")] = None,
    json: AsJson = False,
) -> None:
    """List runs, or the members of a sweep, with how they stand."""
    from studyrun.commands.folders import list_runs as call

    call(folder, json)


@data.command()
def fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, such as cifar10.")]) -> None:
    """Download what a data set needs into the data folder ($STUDYRUN_DATA)."""
    from studyrun.commands.data import fetch as call

    call(name)


@app.command()
def doctor(json: AsJson = False) -> int:
    """Look at the installation, the data, the plugins and the disk, and say what is wrong."""
    from studyrun.commands.doctor import doctor as call

    return call(json)


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, whatever it raises."""
    try:
        try:
            code = int(app(list(arguments), prog_name="studyrun", standalone_mode=False) or 0)
            heed()
            return code
        except Exception as error:  # noqa: BLE001  this is where every error ends
            heed()
            from studyrun.commands.failure import report_failure

            return report_failure(error)
    except KeyboardInterrupt:
        return 130


def main() -> None:
    """The console command. SIGTERM and SIGUSR1 outside a run are a Ctrl-C, and several at once are one."""
    from studyrun.engine.signals import StopRequest

    open_streams()
    os.environ[NAME] = "Agg"  # a command opens no window, and a notebook's own backend may not be installed here
    stop = StopRequest()
    stop.listen(begun=False)
    code = 130
    with stop.last():
        code = call(sys.argv[1:])
    sys.exit(end_streams(code))
