"""A finished canvas to files: PNG, SVG and PDF, the same bytes for the same trace, and the CSV behind them."""

from __future__ import annotations

import csv
import re
from binascii import crc32
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from studyrun.report.canvas import ReportCanvas

# No dates and no versions: a report made again from the same trace has the same bytes.
METADATA: Mapping[str, Mapping[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}

LONGEST_NAME = 180  # with what is put before and after it, as long as file systems allow


def file_name(label: str) -> str:
    """A label as a file name that every system takes."""
    name = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", label).strip("-.") or "figure"
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}-{crc32(label.encode()):08x}"


def save_figure(canvas: ReportCanvas, folder: Path, label: str) -> Mapping[str, Path]:
    """Write the figure in every format, and return the paths by format."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {suffix: folder / f"{file_name(label)}.{suffix}" for suffix in METADATA}
    for suffix, path in paths.items():
        _print(canvas.figure, path, suffix)
    return paths


def _print(figure: Figure, path: Path, suffix: str) -> None:
    """Write one format. `Figure.savefig` would draw everything twice, first for a layout that is settled by now."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    metadata = dict(METADATA[suffix])
    resolution = figure.dpi
    canvas: Any = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}[suffix](figure)
    getattr(canvas, f"print_{suffix}")(path, metadata=metadata)
    figure.dpi = resolution


def save_tables(canvas: ReportCanvas, folder: Path, label: str) -> Sequence[Path]:
    """Write what the figure shows as numbers: the lines in one file, every further table in one of its own.

    Numbers are written so that reading them gives the very same floating-point value.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = ({"": _lines(canvas)} if canvas.lines else {}) | dict(canvas.tables)
    if len(tables) == 1:
        tables = {"": next(iter(tables.values()))}
    paths = []
    for name, columns in tables.items():
        paths.append(folder / f"{file_name(f'{label}-{name}' if name else label)}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(_plain(row) for row in zip(*columns.values(), strict=True))
    return paths


def _lines(canvas: ReportCanvas) -> Mapping[str, Sequence[Any]]:
    """Every line of the figure, one row for each of its points."""
    names = dict.fromkeys(line.series.x_label for line in canvas.lines)
    x = next(iter(names)) if len(names) == 1 else "x"
    header = ("panel", "series", "arm", x, "median", "lower_quartile", "upper_quartile", "runs")
    return dict(zip(header, zip(*_rows(canvas), strict=True), strict=True))


def _rows(canvas: ReportCanvas) -> Iterator[tuple[Any, ...]]:
    for line in canvas.lines:
        series, panel = line.series, line.axes.get_title(loc="left") or line.axes.get_ylabel()
        for point in zip(series.x, series.median, series.low, series.high, series.known, strict=True):
            yield (" ".join(panel.split()), line.label, line.arm, *point)


def _plain(row: Sequence[Any]) -> list[Any]:
    """numpy scalars as Python's own, which csv writes with every digit that counts."""
    return [value.item() if hasattr(value, "item") else value for value in row]
