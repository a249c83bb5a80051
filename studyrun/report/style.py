"""The house style: one palette that survives colour blindness and grey print, and matplotlib settings for every figure.

Colours: Okabe and Ito 2008, "Color Universal Design", without the yellow, which is lost on white paper.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from warnings import catch_warnings, simplefilter

from studyrun.backend import any_backend

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, GREY = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#6E6E6E",
)
INK = "#1a1a1a"  # what stands for no arm and no name
# The first four of each stay furthest apart for eyes without red or green cones; a test measures it.
ARM_COLORS = (BLUE, VERMILLION, BLACK, GREEN, PURPLE, ORANGE, SKY)
OTHER_COLORS = (GREEN, ORANGE, SKY, BLACK, PURPLE, VERMILLION, BLUE)
LineStyle = Literal["-", "--", "-.", ":"]
ARM_STYLES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")

SETTINGS: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.formatter.limits": (-4, 6),
    "axes.grid": True,
    "axes.labelcolor": "#1a1a1a",
    "axes.labelsize": 9,
    "axes.linewidth": 0.96,  # two whole pixels at 150 dots per inch: a crisp line
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.titlesize": 9.5,
    "axes.xmargin": 0.01,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "image.interpolation": "nearest",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.columnspacing": 1.4,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "mathtext.fontset": "dejavusans",
    "path.simplify": True,
    "path.simplify_threshold": 0.15,
    "pdf.fonttype": 42,  # TrueType: conferences turn away the default, Type 3
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "studyrun",
    "text.parse_math": True,
    "xtick.color": "#444444",
    "xtick.labelsize": 8,
    "ytick.color": "#444444",
    "ytick.labelsize": 8,
}


def settings() -> Any:
    """Matplotlib's own defaults with the house style on top, so that no user's matplotlibrc changes a report."""
    from matplotlib import rcParamsDefault

    keep_out = {"backend", "backend_fallback", "interactive", "toolbar", "timezone"}
    return {key: value for key, value in rcParamsDefault.items() if key not in keep_out} | dict(SETTINGS)


def literal(text: str) -> str:
    """Text that matplotlib shows as it stands: no formula between dollar signs, no entry lost to an underscore, and
    spaces for what is no sign (line breaks, tabs).
    """
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = text.replace("\\$", "$").replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@contextmanager
def house_style() -> Iterator[None]:
    """Draw under the house style, and leave matplotlib as it was. What it logs is of no use to a reader."""
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        _import_matplotlib()
        from matplotlib import rc_context

        with rc_context(settings()):
            yield
    finally:
        log.setLevel(before)


def _import_matplotlib() -> None:
    """Import it in spite of a backend that it does not know, and of a user's settings that it cannot read."""
    if "matplotlib" in sys.modules:
        return
    with any_backend(), catch_warnings():
        simplefilter("ignore")
        try:
            import matplotlib
        except (OSError, UnicodeDecodeError):
            found = find_spec("matplotlib")
            if found is None or found.origin is None:
                raise
            for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
                del sys.modules[name]  # the halves of a first attempt
            with chdir(Path(found.origin).parent / "mpl-data"):  # whose settings are looked for first of all
                import matplotlib  # noqa: F401


class Palette:
    """Colours, line styles and markers by name, the same in every figure of one report.

    Arms and other names (groups, classes) take their colours from different ends of one palette, so that two arms
    and four groups never share one. `others` fixes the colours of names known beforehand; any further name takes the
    next free colour when it is first asked for.
    """

    def __init__(self, arms: Iterable[str], others: Iterable[str] = ()) -> None:
        self._arms = list(dict.fromkeys(arms))
        self._others = [name for name in dict.fromkeys(others) if name not in self._arms]

    def color(self, name: str) -> str:
        """The colour of an arm or of any other name."""
        if name in self._arms:
            return ARM_COLORS[self._arms.index(name) % len(ARM_COLORS)]
        return OTHER_COLORS[self._place(name) % len(OTHER_COLORS)]

    def line_style(self, arm: str) -> LineStyle:
        """The line style of an arm: solid for the first, and for any name that is no arm."""
        return ARM_STYLES[self._arms.index(arm) % len(ARM_STYLES)] if arm in self._arms else "-"

    def marker(self, name: str) -> str:
        """The marker that tells `name` apart where colour is lost; empty for arms, which have line styles."""
        return "" if name in self._arms else MARKERS[self._place(name) % len(MARKERS)]

    def is_arm(self, name: str) -> bool:
        """Whether `name` is an arm of this report."""
        return name in self._arms

    def knows(self, name: str) -> bool:
        """Whether `name` has a colour by now."""
        return name in self._arms or name in self._others

    def _place(self, name: str) -> int:
        if name not in self._others:
            self._others.append(name)
        return self._others.index(name)
