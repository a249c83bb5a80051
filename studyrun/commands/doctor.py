"""`doctor`: whether this machine and this project are fit to run studies, and what is wrong if not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from studyrun import __version__
from studyrun.code.places import root_of
from studyrun.commands.kinds import registry_here, singular
from studyrun.commands.output import table, write, write_json
from studyrun.contract import DefinesNoneError, load_class
from studyrun.errors import ComponentError, RunFolderError
from studyrun.launch.folder import check_place, data_folder, outputs_folder
from studyrun.registry import ENVIRONMENT, Listing, Registry, is_run_folder
from studyrun.stopping import heed

OLDEST_TORCH = (2, 9)
LEAST_FREE = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "error"]
    detail: str


def doctor(as_json: bool) -> int:
    """Look at everything, print it, and return 1 if anything is an error."""
    checks = [
        found for look in (_python, _torch, _torchvision, _compute, _data, _plugins, _outputs) for found in look()
    ]
    if as_json:
        write_json([asdict(check) for check in checks])
    else:
        marks = {"ok": "ok", "warning": "warning", "error": "ERROR"}
        write("\n".join(table([[marks[check.state], check.name, check.detail] for check in checks])))
    return int(any(check.state == "error" for check in checks))


def _python() -> Iterator[Check]:
    yield Check("studyrun", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}, {platform.platform()}")


def _torch() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001  a broken library raises anything
        heed()
        yield Check("torch", "error", f"cannot be imported: {error}; `pip install -e .` takes one that fits")
        return
    numbers = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if numbers < OLDEST_TORCH:
        yield Check("torch", "error", f"{torch.__version__} is too old; 2.9 or later is needed")
    else:
        yield Check("torch", "ok", torch.__version__)


def _torchvision() -> Iterator[Check]:
    """A CPU-only torch beside PyPI's torchvision imports until its operators are registered, and fails there."""
    try:
        import torchvision
    except Exception as error:  # noqa: BLE001
        heed()
        yield Check("torchvision", "error", explain_pair(_version("torch"), _version("torchvision"), error))
        return
    yield Check("torchvision", "ok", torchvision.__version__)


def explain_pair(torch: str, torchvision: str, error: Exception) -> str:
    """Why torchvision does not import beside this torch, and what would."""
    builds = [text.partition("+")[2] or "PyPI's" for text in (torch, torchvision)]
    pair = f"torch {torch} and torchvision {torchvision} do not fit: {type(error).__name__}: {error}"
    if torchvision == "not installed":
        return "not installed; data sets and models from torchvision are out of reach: pip install torchvision"
    if builds[0] != builds[1]:
        reason = f"torch is the {builds[0]} build and torchvision {builds[1]}; both must be of one build"
        index = f"https://download.pytorch.org/whl/{builds[0]}" if builds[0] != "PyPI's" else "https://pypi.org/simple"
        return f"{pair}; {reason}: pip install --force-reinstall --no-deps torchvision --index-url {index}"
    return f"{pair}; install a pair of one release: pip install --upgrade torch torchvision"


def _compute() -> Iterator[Check]:
    try:
        import torch
    except Exception:  # noqa: BLE001  said above
        heed()
        return
    threads = f"{torch.get_num_threads()} torch threads on {os.cpu_count()} cores"
    if given := os.environ.get("OMP_NUM_THREADS"):
        threads += f" (OMP_NUM_THREADS={given})"
    yield Check("threads", "ok", threads)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count()))
        yield Check("CUDA", "ok", names)
    else:
        yield Check("CUDA", "ok", "none that torch can use; studies run on the CPU")


def _data() -> Iterator[Check]:
    folder = data_folder()
    if not folder.is_dir():
        yield Check("data", "ok", f"{folder} does not exist yet; `studyrun data fetch NAME` makes it")
        return
    held = ", ".join(sorted(one.name for one in folder.iterdir() if one.is_dir())) or "nothing"
    yield Check("data", "ok", f"{folder} holds {held}; {_free(folder)} free")


def _plugins() -> Iterator[Check]:
    """Every place that code is imported from, and then every component that lies there."""
    registry = registry_here()
    project = f"{registry.project}/plugins" if registry.project else "no plugins/ in this folder or above"
    yield Check("plugins", "ok", f"project: {project}; ${ENVIRONMENT}: {os.environ.get(ENVIRONMENT) or 'not set'}")
    for root in sorted({root_of(folder.absolute()) for folder, _ in registry.folders() if folder.is_dir()}):
        yield Check("plugins", "ok", f"what they import from {root} and below is recorded with each run")
    for here in (Path.cwd(), *Path.cwd().parents):
        if is_run_folder(here) and (here / "plugins").is_dir():
            yield Check("plugins", "ok", f"{here}/plugins is the record of a run; nothing is imported from there")
    for package in sorted({f"{one.path.parent} ({one.target})" for one in registry.installed()}):
        yield Check("plugins", "ok", f"installed package: {package}")
    for folder in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        if not Path(os.path.expanduser(folder)).is_dir():
            yield Check("plugins", "warning", f"${ENVIRONMENT} names {folder}, which is no folder")
    for kind in registry.kinds():
        yield from (_plugin(registry, one) for one in registry.names(kind) if one.origin != "built-in")


def _plugin(registry: Registry, listing: Listing) -> Check:
    """Import it: a broken one is an error only for a study that uses it, and so a warning here."""
    name, where = f"{singular(listing.kind)} {listing.name}", f"{listing.origin}: {listing.path}"
    try:
        registry.find(listing.kind, listing.name)
        load_class(listing)
    except DefinesNoneError:
        return Check(f"code {listing.name}", "ok", f"{listing.path} defines no {singular(listing.kind)} of its own")
    except ComponentError as error:
        return Check(name, "warning", str(error))
    return Check(name, "ok", where)


def _outputs() -> Iterator[Check]:
    folder = outputs_folder()
    try:
        check_place(None)
    except RunFolderError as error:
        yield Check("outputs", "error", str(error))
        return
    standing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    room = shutil.disk_usage(standing).free
    state: Literal["ok", "warning"] = "warning" if room < LEAST_FREE else "ok"
    yield Check("outputs", state, f"{folder} can be written; {_free(standing)} free")


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
