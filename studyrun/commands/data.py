"""`data fetch`: the one command that downloads anything."""

from __future__ import annotations

from pydantic import ValidationError

from studyrun.commands.kinds import component_named
from studyrun.commands.output import write
from studyrun.component import Dataset
from studyrun.contract import load_class
from studyrun.errors import RunFolderError, UsageError
from studyrun.launch.folder import data_folder


def fetch(name: str) -> None:
    """Have a data set download what it needs into the data folder, and print what was done."""
    contract = load_class(component_named("datasets", name))
    try:
        dataset = contract()
    except ValidationError as error:
        missing = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise UsageError(f"dataset {name} cannot be fetched without its options {missing}") from error
    assert isinstance(dataset, Dataset)
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the data folder {folder}: {error.strerror or error}") from error
    write(dataset.fetch(folder))
