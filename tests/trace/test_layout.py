"""The file as programs see it that know nothing of this project: h5py, xarray, and netCDF's own ncdump."""

from __future__ import annotations

import re
import shutil
import subprocess

import h5py
import numpy as np
import pytest
from oracles.small_trace import record
from oracles.synthetic_run import GROUPS, make_run

from studyrun.trace import sums
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.layout import chunk_rows
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout") / "run"
    make_run(folder, unstarted=True)
    return folder


def test_h5py_finds_channels_scales_and_words(path, writer, apart):
    record(writer, range(3))
    writer.close()
    found = apart(f"""
import h5py
file = h5py.File({str(path)!r}, "r")
loss = file["baseline/loss"]
groups = loss["by_group"]
result = {{
    "root": [file.attrs[name] for name in ("Conventions", "title", "study", "git_commit")],
    "format": int(file.attrs["studyrun_format"]),
    "order": list(loss),
    "dims": [dim[0].name for dim in groups.dims],
    "labels": list(loss["group"].asstr()[()]),
    "attributes": {{name: groups.attrs[name] for name in groups.attrs if name not in ("DIMENSION_LIST", "crc32")}},
    "unlimited": [dataset.maxshape[0] for dataset in (groups, loss["time"], loss["step"])],
    "time": [loss["time"].attrs["long_name"], str(loss["time"].dtype), str(loss["step"].dtype)],
    "bool": [str(loss["right"].dtype), loss["right"].attrs["dtype"]],
}}""")
    assert found["root"] == ["CF-1.11", "A title", "title: A title\n", "abc"]
    assert found["format"] == 2
    assert found["order"] == ["step", "time", "group", "train", "by_group", "right"]
    assert found["dims"] == ["/baseline/loss/step", "/baseline/loss/group"]
    assert found["labels"] == ["inlier", "Ausreißer"]
    assert found["attributes"] == {
        "long_name": "mean loss of each group",
        "symbol": "ℓ_k",
        "units": "loss²",
        "source": "a paper",
        "coordinates": "time",
    }
    assert found["unlimited"] == [None, None, None]
    assert found["time"] == ["effective time Σ η", "float64", "int64"]
    assert found["bool"] == ["int8", "bool"]


def test_why_a_nan_may_stand_there_is_told_beside_the_numbers_and_survives_a_resume(path, writer, apart):
    padded = [Channel("x", "padded", nan="fewer were asked for"), Channel("y", "whole")]
    writer.add_probe("baseline", "padded", padded, {})
    writer.close()
    with TraceWriter.resume(path) as resumed:
        assert resumed._arms["baseline"].probes["padded"].buffer.channels == {one.name: one for one in padded}
    found = apart(f"""
import h5py
group = h5py.File({str(path)!r}, "r")["baseline/padded"]
result = [dict(group[name].attrs).get("comment") for name in ("x", "y")]""")
    assert found == ["fewer were asked for", None]
    channels = open_run(path.parent)["baseline"]["padded"].channels
    assert channels["x"].attributes["comment"] == "fewer were asked for"
    assert "comment" not in channels["y"].attributes


def test_xarray_shows_step_time_and_labels_as_coordinates_without_a_warning(run, apart):
    found = apart(f"""
import xarray
with xarray.open_datatree({str(run / "trace.h5")!r}, engine="h5netcdf") as tree:
    sharpness = tree["baseline/sharpness"].load()
    groups = tree["exit/loss/by_group"]
    result = {{
        "coords": list(groups.coords),
        "dims": list(groups.dims),
        "index": list(groups.indexes),
        "groups": list(groups.group.values),
        "bool": str(sharpness.converged.dtype),
        "values": sharpness.converged.values[:2].tolist(),
        "first": [float(groups.time[0]), int(groups.step[0])],
        "one": float(groups.sel(group="inlier").isel(step=0)),
        "arms": list(tree.children),
        "state": tree["late"].attrs["state"],
        "units": sharpness.eigenvalue.attrs["units"],
    }}""")
    assert sorted(found["coords"]) == ["group", "step", "time"]
    assert (found["dims"], sorted(found["index"])) == (["step", "group"], ["group", "step"])
    assert found["groups"] == list(GROUPS)
    assert (found["bool"], found["values"]) == ("bool", [[True, False], [True, True]])
    assert found["first"] == [3.0, 150]
    assert found["one"] == pytest.approx(0.3 * np.exp(-3.0 / 1.5) + 0.05)
    assert (found["arms"], found["state"]) == (["baseline", "exit", "late"], "not started")
    assert found["units"] == "loss / parameter²"


needs_ncdump = pytest.mark.skipif(shutil.which("ncdump") is None, reason="ncdump (Debian: netcdf-bin) is not installed")


def ncdump(path, *options):
    done = subprocess.run(["ncdump", *options, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_ncdump
def test_ncdump_sees_dimensions_that_the_channels_share(run):
    header = ncdump(run / "trace.h5", "-h")
    sharpness = re.search(r"group: sharpness \{.*?\} // group sharpness", header, re.DOTALL).group()
    assert re.findall(r"^\s*(\w+) = (\w+) ;", sharpness, re.MULTILINE) == [("step", "UNLIMITED"), ("k", "2")]
    assert "step = UNLIMITED ; // (61 currently)" in sharpness
    for line in ("double time(step) ;", "int64 k(k) ;", "double eigenvalue(step, k) ;", "byte converged(step, k) ;"):
        assert line in sharpness
    assert 'string eigenvalue:units = "loss / parameter²" ;' in sharpness
    assert 'string eigenvalue:coordinates = "time" ;' in sharpness
    assert "phony" not in header


@needs_ncdump
def test_ncdump_reads_every_type_of_channel(path, writer):
    types = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool")
    wide = Channel("wide", "compressed", (Dimension.of_size("example", 2000),))
    writer.add_probe("baseline", "types", [*(Channel(f"as_{one}", one, dtype=one) for one in types), wide], {})
    writer.append("baseline", "types", 0, 0.0, {**{f"as_{one}": 1 for one in types}, "wide": np.full(2000, np.nan)})
    writer.close()
    values = ncdump(path, "-v", ",".join(f"/baseline/types/as_{one}" for one in types), "-g", "/baseline/types")
    assert [re.search(rf"as_{one} = (\w+)", values.split("data:")[1]).group(1) for one in types] == ["1"] * len(types)
    assert "NaN, NaN" in ncdump(path, "-v", "/baseline/types/wide")


def test_many_attributes_fit(path, writer):
    """HDF5 keeps more than eight attributes in another way, which has been a source of faults."""
    writer.set_arm("baseline", **{f"fact_{n}": f"{n}" * 500 for n in range(60)})
    writer.close()
    with h5py.File(path) as file:
        assert file["baseline"].attrs["fact_59"] == "59" * 500


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((), 1024), ((4,), 1024), ((100,), 40), ((1000,), 4), ((1001,), 4), ((5000,), 1), ((4, 50, 3, 32, 32), 1)],
)
def test_chunks_hold_tens_of_kilobytes_or_one_row(shape, rows):
    channel = Channel("x", "x", tuple(Dimension.of_size(f"d{n}", size) for n, size in enumerate(shape)))
    assert chunk_rows(channel) == rows


def test_only_wide_channels_are_compressed(path, writer):
    wide = Channel("wide", "x", (Dimension.of_size("example", 1001),))
    narrow = Channel("narrow", "x", (Dimension.of_size("place", 1000),))
    writer.add_probe("baseline", "both", [wide, narrow], {})
    writer.close()
    with h5py.File(path) as file:
        both = file["baseline/both"]
        assert (both["wide"].compression, both["wide"].compression_opts, both["wide"].shuffle) == ("gzip", 1, True)
        assert both["narrow"].compression is None


def test_no_structure_of_the_file_is_without_a_sum(run):
    """HDF5 sums its structures but for the oldest kinds of tree, table and heap; of those only texts use the heap."""
    content = (run / "trace.h5").read_bytes()
    assert content[8] == 2, "a head of version 3 stays marked as open when its writer is killed"
    assert [kind for kind in (b"TREE", b"SNOD", b"HEAP") if kind in content] == []
    with h5py.File(run / "trace.h5") as file:
        unsummed: list[str] = []

        def look(name, found):
            if isinstance(found, h5py.Dataset) and not found.fletcher32:
                unsummed.append(name.rsplit("/", 1)[-1])
                assert "labels_crc32" in found.attrs, name
            texts = [one for one in found.attrs if one not in sums.HIDDEN and isinstance(found.attrs[one], str)]
            assert not texts or "crc32" in found.attrs, name

        file.visititems(look)
    assert set(unsummed) == {"group"}
