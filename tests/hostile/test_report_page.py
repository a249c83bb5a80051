"""A report whose every text is an attack: as a parser sees it, and as a browser does."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import yaml
from oracles.effort import PATIENCE

from studyrun import report
from studyrun.report import build_report
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.writer import TraceWriter

OWNED = "document.title='owned'"
ATTACK = (
    f'</title></style></pre><script>{OWNED}</script><img src=x onerror="{OWNED}">"><svg onload={OWNED}> $\\frac{{$ \\'
)
NAME = f"<img src=x onerror={OWNED}>"
"""For what lies in a path, in which no slash stands."""
LISTED = [
    {"use": ATTACK, "as": ATTACK},
    {"use": "group_loss", "as": f"groups{ATTACK}"},
    {"use": "loss", "as": f"loss{ATTACK}"},
    {"use": "loss", "as": "odd", ATTACK: 1},
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=3000", "--dump-dom"),
)
with_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that says nothing but attacks."""
    return reported(tmp_path_factory.mktemp("hostile") / f"run {NAME}", LISTED)


def reported(folder: Path, figures: list[Any] | None) -> Path:
    folder.mkdir()
    document: dict[str, Any] = {
        "title": ATTACK,
        "cites": [ATTACK, f"arXiv:2606.04212{ATTACK}", f"doi:10.1000/x{ATTACK.replace(' ', '')}"],
        "model": {"use": ATTACK, ATTACK: ATTACK},
        "probes": [{"use": ATTACK, "as": ATTACK}],
        "claims": [ATTACK, {"use": "reaches", "as": ATTACK, ATTACK: 1}, {"use": ATTACK, "where": {ATTACK: ATTACK}}],
    }
    if figures is not None:
        document["figures"] = figures
    text = yaml.safe_dump(document, allow_unicode=True)
    (folder / "study.yaml").write_text(text)
    status = {"state": f"interrupted{ATTACK}", "error": ATTACK, "step": 3}
    (folder / "status.json").write_text(json.dumps(status))
    git = {"commit": "0", "diff": f"+ a\n- {ATTACK}\n"}
    provenance = {"git": git, "command": ["studyrun", "run"], "plugins": {"a": "b"}, "threads": 1}
    (folder / "provenance.json").write_text(json.dumps(attacked(provenance)))
    events = [{"level": "warning", "message": f"{ATTACK} \ud800 {number}"} for number in range(3)]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n{cut off")
    write_trace(folder / "trace.h5", text)
    return build_report(folder).path


def attacked(content: Any) -> Any:
    """Plain data in which every text, keys too, is followed by the attack."""
    if isinstance(content, Mapping):
        return {f"{key}{ATTACK}": attacked(value) for key, value in content.items()}
    if isinstance(content, list):
        return [attacked(one) for one in content]
    return f"{content}{ATTACK}" if isinstance(content, str) else content


def write_trace(path: Path, text: str) -> None:
    group = Dimension("group", (f"inlier{ATTACK}", f"outlier{ATTACK}"))
    channels = [
        Channel("train", ATTACK, symbol=ATTACK, units=ATTACK, source=ATTACK, standard_name=ATTACK),
        Channel("by_group", ATTACK, (group,), ATTACK, ATTACK, ATTACK, "group_loss"),
    ]
    facts = {"state": f"running{ATTACK}", "end_reason": ATTACK, "trigger": ATTACK, "threshold_quantity": ATTACK}
    numbers = {"threshold": 2.0, "learning_rate": 0.1, "steps": 3, "seconds": 9.0}
    shared = {"shared_seconds": json.dumps({ATTACK: 1.0}), "shared_matvecs": json.dumps({ATTACK: 2})}
    about = {"component": ATTACK, "description": ATTACK, "cites": f"{ATTACK}\narXiv:2103.00065{ATTACK}", "seconds": 1.0}
    with TraceWriter.create(path, title=ATTACK, study=text, git_commit=ATTACK) as writer:
        for arm, parent in (("baseline", ""), ("exit", "baseline")):
            writer.add_arm(arm, {"parent": parent, "fork_step": 0, "fork_time": 0.0, **facts, **numbers, **shared})
            for label, figures in (("loss", ATTACK), ("other", "")):
                writer.add_probe(arm, label, channels, {**about, "figures": figures})
                for step in range(4):
                    writer.append(arm, label, step, step / 10, {"train": 1.0 - step / 10, "by_group": np.arange(2.0)})
    with h5py.File(path, "r+") as file:
        for arm in ("baseline", "exit"):
            file.move(f"{arm}/other", f"{arm}/{NAME}")
        file.move("exit", f"exit{NAME}")


class Elements(HTMLParser):
    """What a page consists of: tags with their attributes, and all of its text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


TEMPLATE = (Path(report.__file__).parent / "page.html.j2").read_text(encoding="utf-8")
TAGS = set(re.findall(r"<([a-z][a-z0-9]*)", TEMPLATE))
LINKS = re.compile(r"#[\w.=+-]+|(figures|data)/[\w.=+-]+|https://(arxiv\.org/abs|doi\.org)/.*", re.DOTALL)


def faults_of(source: str) -> list[str]:
    """What of a page is none of its template's doing."""
    found = []
    for tag, attributes in Elements(source).tags:
        found += [f"<{tag}>"] if tag not in TAGS else []
        found += [f"<{tag} {name}>" for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
        if tag == "img" and not attributes["src"].startswith("data:image/"):
            found.append(f"img {attributes['src'][:40]}")
        if "href" in attributes and not LINKS.fullmatch(attributes["href"]):
            found.append(f"href {attributes['href']}")
    return found


def test_a_parser_finds_nothing_that_the_template_does_not_hold(page: Path) -> None:
    source = page.read_text(encoding="utf-8")
    elements = Elements(source)
    assert "script" not in TAGS
    assert faults_of(source) == []
    # The attacks are all there, as texts: one in the heading, one for each event, group, claim, source, ...
    assert elements.text.count(f"<script>{OWNED}</script>") > 60
    assert sum(tag == "h1" for tag, _ in elements.tags) == 1
    assert sum(tag == "img" for tag, _ in elements.tags) == 2, "figures were drawn, with such names in them"


def test_the_parser_finds_an_attack_where_there_is_one(page: Path) -> None:
    source = page.read_text(encoding="utf-8")
    assert set(faults_of(source.replace("<h1>", f"<h1>{ATTACK}"))) >= {"<script>", "<img onerror>", "<svg onload>"}
    assert faults_of(source.replace("<h1>", '<h1><a href="javascript:alert()">')) == ["href javascript:alert()"]


def test_pictures_hold_no_script_and_load_nothing(page: Path) -> None:
    pictures = list(page.parent.glob("figures/*.svg"))
    assert len(pictures) == 2
    for element in (element for picture in pictures for element in ElementTree.parse(picture).iter()):
        kind = str(element.tag).rpartition("}")[2].lower()
        assert kind not in ("script", "foreignobject", "a", "handler", "animate", "set", "iframe")
        for name, value in element.attrib.items():
            short = name.rpartition("}")[2]
            assert not short.startswith("on")
            assert short != "href" or value.startswith(("#", "data:image/png;base64,"))


def test_channels_with_such_names_are_drawn(tmp_path: Path) -> None:
    """A formula that is none, between two dollar signs, would have matplotlib give up."""
    path = reported(tmp_path / "run", None)
    source = path.read_text(encoding="utf-8")
    assert faults_of(source) == []
    assert "ParseException" not in source
    assert len(list(path.parent.glob("figures/*.svg"))) == 1, "the probe that names no figure"


def test_the_other_files_are_what_they_are_called(page: Path) -> None:
    assert json.loads((page.parent / "claims.json").read_text(encoding="utf-8"))["format"] == 1
    for table in page.parent.glob("data/*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1
    for path in page.parent.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.=+-]{1,190}", path.name)


def dom_of(path: Path, profile: Path) -> str:
    """The page after everything on it has run."""
    assert BROWSER is not None
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", path.as_uri()]
    environment = {name: value for name, value in os.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, env=environment)
    return done.stdout


def without_policy(source: str) -> str:
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    assert bare != source
    return bare


@with_browser
@pytest.mark.parametrize("policy", [True, False])
def test_a_browser_runs_nothing(page: Path, tmp_path: Path, policy: bool) -> None:
    """Also without the page's own policy, which would stop a script that had come through."""
    source = page.read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(source if policy else without_policy(source), encoding="utf-8")
    dom = dom_of(tmp_path / "page.html", tmp_path / "profile")
    assert "<h1>" in dom
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    assert title[1].startswith("&lt;/title&gt;"), "the attack as a text, and not what it would have set"


@with_browser
@pytest.mark.parametrize(
    "attack", [f"<script>{OWNED}</script>", f'<img src=x onerror="{OWNED}">', f"<svg onload={OWNED}>"]
)
def test_the_browser_would_have_shown_it(page: Path, tmp_path: Path, attack: str) -> None:
    """The same page with one text unescaped and without its policy is owned; with its policy it is not."""
    source = page.read_text(encoding="utf-8").replace("<h1>", f"<h1>{attack}")
    for name, text, owned in (("bare", without_policy(source), True), ("policy", source, False)):
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        assert ("<title>owned</title>" in dom_of(tmp_path / f"{name}.html", tmp_path / name)) == owned
