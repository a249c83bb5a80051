"""Tick labels in plain text: as readable as typeset ones, without the formula parser, a third of a report's time."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PLAIN_DECADES = (-3, 4)  # powers of ten that are written out


def plain_ticks(axes: Axes) -> None:
    """Label both axes in plain text, if they are logarithmic, or that on either side of zero."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            _label_log(axis)
        elif axis.get_scale() == "symlog":
            axis.set_major_formatter(FuncFormatter(lambda value, _: signed_label(value)))
            axis.set_minor_formatter(NullFormatter())


def _label_log(axis: Axis) -> None:
    """Label powers of ten; 2 and 5 times them too where less than two decades are shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = log10(high / low) if low > 0 else 2.0
    subs = (1.0,) if decades >= 2 else (1.0, 2.0, 5.0) if decades >= 0.5 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: log_label(value)))
    axis.set_minor_formatter(NullFormatter())


def signed_label(value: float) -> str:
    """A number on either side of zero on a logarithmic axis: −0.02, 0, 10⁻⁵."""
    return "0" if value == 0 else log_label(value) if value > 0 else f"−{log_label(-value)}"


def log_label(value: float) -> str:
    """A number on a logarithmic axis: 0.02, 50, 10⁻⁵, 2·10⁻⁵."""
    if value <= 0:
        return ""
    power = floor(log10(value) + 1e-9)
    if PLAIN_DECADES[0] <= power <= PLAIN_DECADES[1]:
        return f"{value:.6g}"
    factor = value / 10.0**power
    tail = f"10{str(power).translate(RAISED)}"
    return tail if abs(factor - 1) < 1e-6 else f"{factor:.3g}·{tail}"
