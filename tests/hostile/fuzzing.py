"""Coverage-guided fuzzing of everything that reads a study: file, extended file, profiles and settings.

An input that makes `studyrun/study` go from one line to another for the first time is kept, and inputs are made by
changing those that were kept. Whatever is no study must be a `StudyrunError`, in good time; whatever is one, and was
kept, must be written out and load again to an equal one.

    python tests/hostile/fuzzing.py --seconds 600 --seed 1 --crashes /tmp/crashes
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from types import CodeType, FrameType
from typing import Any

import studyrun.study
from studyrun.errors import StudyrunError
from studyrun.study import load_study
from studyrun.study.sections import FILE_KEYS

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # for `oracles`, where this is run by itself
WATCHED = str(Path(studyrun.study.__file__).parent)
SLOW, SUSPECT = 45.0, 2.0
"""What counts as a fault, in the units of `assert_effort`, and the seconds from which it is asked."""
LARGEST = 150_000
Step = tuple[CodeType, int, int]
"""From one line of a function to another."""

WORDS = [
    *(word.encode() for word in FILE_KEYS),
    *b"use as every at from set zip where log level net toy square descent above holds panel steps lr k null".split(),
    *b"init order subset probe mlp dice gd sgd adam loss sharpness edge_of_stability threshold baseline smoke".split(),
    *(b": ", b"- ", b"\n", b"\n  ", b"[", b"]", b"{", b"}", b", ", b"? ", b"#", b"'", b'"', b"|", b">", b"%YAML 1.1"),
    *(b"&a ", b"*a", b"<<: *a", b"!!python/object:os.system ", b"!!str ", b"---\n", b"...\n", b"\t", b"\r\n", b"\x00"),
    *(b"1e999999", b"9" * 30, b"9" * 5000, b"-0.0", b".nan", b".inf", b"1_0", b"1e3", b"0x1f", b"1e-400", b"~", b"''"),
    *(
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\U00110000",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\\x00",
    ),
    *(
        b"[" * 60,
        b"{a: " * 60,
        b"- " * 60,
        b"a." * 60 + b"a: 1",
        b"../../evil",
        b"/etc/passwd",
        b".",
        b"..",
        b"a" * 300,
    ),
]


@dataclass(frozen=True)
class Case:
    """One input: the study file, the file it may extend, and what the command line gives."""

    study: bytes
    base: bytes = b""
    profiles: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


WHOLE = Case(
    b"""extends: base.yaml
title: "no"
seed: {init: 3, probe: 1_000}
model: {hidden: [8, 4], activation: tanh, init: {scheme: uniform, scale: 1e-05}, limit: null}
stop: {when: {use: above, probe: dense, value: 1e16}}
branches:
  late: {at: above, from: exit, set: {optimizer: drift}}
  exit: {at: {use: above, probe: sparse}, set: {optimizer.lr: 1e-2, stop: {steps: 1e2}}}
sweep: {seed.init: [0, 1], zip: {optimizer.lr: [1e-05, 0.1], model.hidden: [[8], [9, 9]]}}
figures: [panel, {use: panel, as: second, rows: 2, where: {loss: square}}]
claims: [{use: holds, as: it_holds, above: -1.5}]
checkpoints: {seconds: 5, keep: 10}
""",
    b"""model: net
dataset: {use: toy, classes: [on, off], note: "a: b"}
groups: halves
loss: square
optimizer: {use: descent, lr: 1e-3}
stop: {steps: 100, time: 3, loss_below: 1e-6}
probes: [{use: level, as: dense}, {use: level, as: sparse, every: {log: 20}}, {use: level, at: [0, 5]}]
profiles: {smoke: {stop: {steps: 1}, probes: [{use: level, as: dense}, {use: level, as: sparse}, level]}}
""",
    ("smoke",),
    ("seed=1", "probes.dense.k=2"),
)
"""Every section at once, over the small components of tests/study/plugins."""


@dataclass
class Findings:
    """What a campaign came to."""

    executions: int = 0
    studies: int = 0
    steps: set[Step] = field(default_factory=set)
    corpus: list[Case] = field(default_factory=list)
    valid: list[Case] = field(default_factory=list)
    crashes: list[tuple[Case, str]] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = {text.strip().rsplit("\n", 1)[-1] for _, text in self.crashes}
        lines = len({(code, line) for code, _, line in self.steps})
        return (
            f"{self.executions} executions, {self.studies} of them studies, {len(self.corpus)} inputs kept, "
            f"{lines} lines reached, {len(self.crashes)} faults of {len(kinds)} kinds"
        )


BROKEN = "tests/study/broken/*.yaml"
EVERY_STUDY = ("studies/**/*.yaml", BROKEN)


def seeds(patterns: Sequence[str] = EVERY_STUDY) -> list[Case]:
    """The repository's own studies, and its collection of broken ones with their profiles and settings."""
    found = [WHOLE]
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        raw = path.read_bytes()
        text = raw.decode("utf-8", "replace")
        profiles = re.findall(r"^# profile (.*)$", text, re.MULTILINE)
        settings = re.findall(r"^# set (.*)$", text, re.MULTILINE)
        found.append(Case(raw[:LARGEST], b"", tuple(profiles), tuple(settings)))
    return found


def campaign(
    folder: Path,
    *,
    seconds: float = float("inf"),
    executions: int = sys.maxsize,
    seed: int = 0,
    faults: int = sys.maxsize,
    patterns: Sequence[str] = EVERY_STUDY,
) -> Findings:
    """Fuzz in `folder`, from the files of `patterns` on, until CPU time, executions or `faults` found are enough."""
    chance, found, ends = random.Random(seed), Findings(), process_time() + seconds
    for case in seeds(patterns):
        _try(case, folder, found, seed=True)
    executions += found.executions
    while found.executions < executions and process_time() < ends and len(found.crashes) < faults:
        pool = found.valid if chance.random() < 0.6 else found.corpus
        parent = pool[-1 - int(len(pool) * chance.random() ** 2)]  # the latest ones more often
        _try(changed(parent, found.corpus, chance), folder, found)
    return found


def _try(case: Case, folder: Path, found: Findings, *, seed: bool = False) -> None:
    """Load one input, and keep it if it is a seed or went a new way. A fault goes to the findings."""
    found.executions += 1
    study = None
    path = _written(case, folder)
    before = len(found.steps)
    began = process_time()
    try:
        with _watching(found.steps):
            study = _load(path, case)
        if study is not None:
            found.studies += 1
        if len(found.steps) > before and study is not None:
            again = folder / "again.yaml"
            again.write_text(study.to_yaml(), encoding="utf-8")
            assert load_study(again) == study, "what was written out loads to another study"
        if process_time() - began > SUSPECT:
            from oracles.effort import assert_effort

            assert_effort(lambda: _load(path, case), SLOW)
    except Exception:  # noqa: BLE001  that is what is looked for
        found.crashes.append((case, traceback.format_exc()))
    if seed or len(found.steps) > before:
        found.corpus.append(case)
        found.valid += [case] if study is not None else []


def _load(path: Path, case: Case) -> Any:
    try:
        return load_study(path, profile=case.profiles, overrides=case.settings)
    except StudyrunError as error:
        str(error).encode("utf-8", "backslashreplace")
        return None


def _written(case: Case, folder: Path) -> Path:
    (folder / "base.yaml").write_bytes(case.base)
    (folder / "study.yaml").write_bytes(case.study)
    return folder / "study.yaml"


@contextmanager
def _watching(steps: set[Step]) -> Iterator[None]:
    """Collect the steps from line to line that are taken in `studyrun/study` meanwhile."""
    watched: dict[CodeType, bool] = {}

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        code, last = frame.f_code, 0
        if code not in watched:
            watched[code] = code.co_filename.startswith(WATCHED)

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line if watched[code] else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def changed(case: Case, corpus: Sequence[Case], chance: random.Random) -> Case:
    """The input with a few changes, in one or two of its parts."""
    for _ in range(chance.choice((1, 1, 1, 2))):
        part = chance.choice(("study",) * 6 + ("base", "profiles", "settings", "settings"))
        other = chance.choice(corpus)
        if part in ("study", "base"):
            raw = _changed_bytes(getattr(case, part), getattr(other, part) or other.study, chance)
            case = replace(case, **{part: raw[:LARGEST]})
        elif part == "profiles":
            names = [name.decode() for name in re.findall(rb"^  (\w+):", case.study, re.MULTILINE)]
            case = replace(case, profiles=tuple(chance.sample([*names, "smoke", "x"], 1)))
        else:
            case = replace(case, settings=(*case.settings[-2:], _setting(case, chance)))
    return case


def _setting(case: Case, chance: random.Random) -> str:
    """A setting whose path is made of the study's own words."""
    words = [word.decode() for word in re.findall(rb"\w+", case.study)] or ["x"]
    path = ".".join(chance.choice((*words, "0", "1")) for _ in range(chance.choice((1, 2, 2, 3, 50))))
    value = chance.choice([word.decode("utf-8", "surrogateescape") for word in WORDS] + words)
    return chance.choice((f"{path}={value}", f"{path}=[{value}]", f"{path}={{use: {value}}}", path, f"={value}"))


def _changed_bytes(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        raw = chance.choice(_CHANGES)(raw, other, chance)
    return raw


def _span(raw: bytes, chance: random.Random, longest: int = 40) -> slice:
    start = chance.randrange(len(raw) + 1)
    return slice(start, min(len(raw), start + chance.randint(0, longest)))


def _insert_word(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    place = _span(raw, chance, 8)
    return raw[: place.start] + chance.choice(WORDS) + raw[place.stop if chance.random() < 0.3 else place.start :]


def _flip(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    if not raw:
        return raw
    at = chance.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << chance.randrange(8))]) + raw[at + 1 :]


def _cut(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    place = _span(raw, chance)
    return raw[: place.start] + raw[place.stop :]


def _repeat(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    place = _span(raw, chance)
    return raw[: place.stop] + raw[place] * chance.choice((1, 2, 50, 3000)) + raw[place.stop :]


def _splice(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    here, there = _span(raw, chance), _span(other, chance, 200)
    return raw[: here.start] + other[there] + raw[here.stop :]


def _swap_word(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    """One word or number of the text gives way to another."""
    places = [match.span() for match in re.finditer(rb"[\w.+-]+", raw)]
    if not places:
        return chance.choice(WORDS)
    start, stop = chance.choice(places)
    return raw[:start] + chance.choice([*WORDS, *re.findall(rb"[\w.+-]+", other)[:400]]) + raw[stop:]


def _move_line(raw: bytes, other: bytes, chance: random.Random) -> bytes:
    """A line of this or of another text, indented anew, before another line."""
    lines, others = raw.split(b"\n"), other.split(b"\n")
    line = b" " * chance.randrange(6) + chance.choice(lines + others).strip()
    lines.insert(chance.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


_CHANGES = (_insert_word, _flip, _cut, _repeat, _splice, _splice, _swap_word, _swap_word, _swap_word, _move_line)


def main() -> int:
    """Run a campaign from the command line, and keep every input that broke something."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crashes", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("STUDYRUN_PLUGINS", str(ROOT / "tests/study/plugins"))
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), seconds=given.seconds, seed=given.seed)
    for number, (case, text) in enumerate(found.crashes):
        sys.stdout.write(f"{text}\n")
        if given.crashes:
            given.crashes.mkdir(parents=True, exist_ok=True)
            (given.crashes / f"{number}.txt").write_text(
                f"{case!r}\n{text}", encoding="utf-8", errors="backslashreplace"
            )
    sys.stdout.write(f"{found}\n")
    return int(bool(found.crashes))


if __name__ == "__main__":
    sys.exit(main())
