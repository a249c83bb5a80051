"""The page: everything a report says, as data, and the template that turns it into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from studyrun.report.cost import Cost
from studyrun.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION
from studyrun.trace.median import four_digits

if TYPE_CHECKING:
    from studyrun.report.arms import Moments
    from studyrun.report.claims import DecidedClaim
    from studyrun.report.figures import DrawnFigure, Skipped
    from studyrun.report.sources import Source

LONGEST_TEXT = 20_000
GOOD, BAD = ("complete", "stopped"), ("failed", "diverged")
COST_COLORS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY)
DASHES: Mapping[str, str] = {"-": "none", "--": "7 3", "-.": "8 3 2 3", ":": "2 2.5"}


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm in the table at the top."""

    name: str
    parent: str | None
    trigger: str
    learning_rate: float | None
    threshold: float | None
    fork: Moments
    fork_symbol: str
    crossing: Moments
    crossing_symbol: str
    steps: float | None
    until: float | None
    state: str
    end_reason: str
    color: str
    dashes: str


@dataclass(frozen=True, slots=True)
class ArmTable:
    """The arms of one condition."""

    condition: str
    runs: int
    quantity: str
    rows: Sequence[ArmRow]


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member of a sweep."""

    name: str
    point: Mapping[str, Any]
    state: str
    step: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under one heading, and those that are missing there with the reasons."""

    title: str
    anchor: str
    figures: Sequence[DrawnFigure]
    missing: Sequence[Skipped] = ()


@dataclass(frozen=True)
class Page:
    """Everything the report says."""

    title: str
    name: str
    state: str
    summary: Sequence[str]
    notes: Sequence[str]
    claims: Sequence[DecidedClaim]
    arms: Sequence[ArmTable]
    sections: Sequence[Section]
    cost: Cost
    study: str
    provenance: Mapping[str, Any]
    warnings: Sequence[str]
    sources: Sequence[Source]
    version: str
    members: Sequence[MemberRow] = ()
    swept: Sequence[str] = ()
    conditions: bool = False
    cost_colors: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        colors = [_shade(place) for place in range(len(self.cost.accounts))]
        object.__setattr__(self, "cost_colors", colors)

    @property
    def cost_bar(self) -> Sequence[Mapping[str, Any]]:
        """The pieces of the bar over the table of times, on a scale of 1,000."""
        pieces, x = [], 0.0
        for account, color in zip(self.cost.accounts, self.cost_colors, strict=True):
            pieces.append({"x": round(x, 2), "width": round(1000 * account.share, 2), "color": color})
            x += 1000 * account.share
        return pieces


def _shade(place: int) -> str:
    """A colour for each account: the palette, then the palette again in paler shades."""
    color, rounds = COST_COLORS[place % len(COST_COLORS)], place // len(COST_COLORS)
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{255 - round((255 - part) * 0.5 ** min(rounds, 3)):02x}" for part in parts)


def render(page: Page) -> str:
    """The page as HTML. Every text is escaped by the template engine; nothing is loaded from outside."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("studyrun.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    template = environment.from_string(folder.joinpath("page.html.j2").read_text(encoding="utf-8"))
    css = folder.joinpath("page.css").read_text(encoding="utf-8")
    return template.render(page=page, css=Markup(css)) + "\n"  # the sheet is our own file


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "–" if value is None or not isfinite(value) else f"{value:.4g}".replace("-", "−")


def interval(ends: tuple[float, float] | None) -> str:
    """Both ends, or a dash."""
    return "–" if ends is None else f"{four_digits(ends[0])} … {four_digits(ends[1])}"


def moment(moments: Moments) -> str:
    """Effective time and step; over several runs their medians, and the range of the times."""
    if not moments:
        return "–"
    text = f"{number(median(moments.times))} ({count(median(moments.steps))})"
    several = len(moments.times) > 1
    return f"{text} [{number(min(moments.times))} … {number(max(moments.times))}]" if several else text


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None or not isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(value: float | None) -> str:
    """A number with separators, whole or a median half way between two such, or a dash."""
    return "–" if value is None else f"{value:,}".removesuffix(".0")


def count_or_none(value: int) -> str:
    """A whole number with separators; nothing for none."""
    return f"{value:,}" if value else ""


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def clipped(text: str) -> str:
    """A long text, such as a diff, as far as a page can carry it."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\n… the rest is in provenance.json"


def state_class(state: str) -> str:
    """Whether a state is good, bad or open, for its colour."""
    words = {part.split(" × ")[-1] for part in state.split(", ")}  # "3 × complete, 1 × diverged"
    return "bad" if words & set(BAD) else "good" if words <= set(GOOD) else "open"


FILTERS = {
    one.__name__: one
    for one in (number, interval, moment, duration, count, count_or_none, percent, clipped, state_class)
}
