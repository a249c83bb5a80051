from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from studyrun.components.datasets import cifar10
from studyrun.components.datasets.cifar10 import Cifar10
from studyrun.plugin import Data, DataUnavailableError

ALPHABETICAL = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder() -> Path:
    path = Path(os.environ.get("STUDYRUN_DATA", "/nonexistent"))
    if not (path / "cifar10" / "cifar-10-batches-py").is_dir():
        pytest.skip("needs CIFAR-10: set STUDYRUN_DATA to a folder that has cifar10/cifar-10-batches-py")
    return path


def official(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels as the batch file itself has them, read without torchvision."""
    with open(folder / "cifar10" / "cifar-10-batches-py" / name, "rb") as file:
        batch = pickle.load(file, encoding="latin1")
    return batch["data"].reshape(-1, 3, 32, 32), np.array(batch["labels"])


@pytest.fixture(scope="module")
def pair(folder: Path) -> Data:
    return Cifar10(classes=("truck", 1)).load(folder, generator())


def test_images_and_labels_are_those_of_the_official_files(folder: Path, pair: Data) -> None:
    images, labels = official(folder, "test_batch")
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
    for label, number in enumerate((9, 1)):
        expected = (images[labels == number] / 255 - mean[:, None, None]) / deviation[:, None, None]
        assert pair.test is not None
        np.testing.assert_allclose(pair.test.inputs[pair.test.targets == label], expected, atol=1e-6)


def test_a_pair_has_all_its_training_images_relabelled_in_the_order_given(folder: Path, pair: Data) -> None:
    assert pair.train.inputs.shape == (10_000, 3, 32, 32)
    assert pair.train.inputs.dtype == torch.float32
    assert pair.train.targets.bincount().tolist() == [5000, 5000]
    assert pair.classes == ("truck", "automobile")
    assert pair.outputs == 2
    images, labels = official(folder, "data_batch_1")
    first_truck = torch.from_numpy(images[labels == 9][0]) / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (pair.mean, pair.deviation))
    torch.testing.assert_close(pair.train.inputs[0] * deviation + mean, first_truck, atol=1e-6, rtol=0)


def test_names_and_numbers_name_the_same_classes() -> None:
    assert Cifar10(classes=tuple(range(10))).classes == tuple(ALPHABETICAL)


def test_subsets_are_balanced_nested_and_drawn_by_the_seed(folder: Path) -> None:
    def load(seed: int, size: int) -> Data:
        test_size = 30 if size == 20 else 0
        options = {"classes": (3, 5, 7), "size": size, "test_size": test_size, "normalisation": "none"}
        return Cifar10(**options).load(folder, generator(seed))

    small, large, other = load(0, 20), load(0, 40), load(1, 20)
    assert small.train.targets.tolist() == [0] * 7 + [1] * 7 + [2] * 6
    rows = {image.numpy().tobytes() for image in large.train.inputs}
    assert len(rows) == 40
    assert {image.numpy().tobytes() for image in small.train.inputs} < rows
    assert not torch.equal(small.train.inputs, other.train.inputs)
    assert small.test is not None
    assert other.test is not None
    assert torch.equal(small.test.inputs, other.test.inputs)
    assert 0 <= small.train.inputs.min() < 0.1
    assert 0.9 < small.train.inputs.max() <= 1
    assert small.mean == ()


def test_no_test_set_where_none_is_wanted(folder: Path) -> None:
    data = Cifar10(size=20, test_size=0).load(folder, generator())
    assert data.test is None
    assert data.classes == tuple(ALPHABETICAL)


def test_missing_data_names_the_file_the_place_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        Cifar10().load(tmp_path, generator())
    message = str(caught.value)
    assert str(tmp_path / "cifar10" / "cifar-10-batches-py" / "data_batch_1") in message
    assert "is missing" in message
    assert "`studyrun data fetch cifar10`" in message
    assert "STUDYRUN_DATA" in message


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The data folder with one file cut short."""
    batches = tmp_path / "cifar10" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for path in (folder / "cifar10" / "cifar-10-batches-py").iterdir():
        (batches / path.name).symlink_to(path)
    (batches / "data_batch_3").unlink()
    (batches / "data_batch_3").write_bytes(b"cut short")
    return tmp_path


def test_a_damaged_file_is_named_with_the_way_out(damaged: Path) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        Cifar10().load(damaged, generator())
    message = str(caught.value)
    assert "data_batch_3 is damaged" in message
    assert "`studyrun data fetch cifar10`" in message


def test_a_failed_download_says_where_it_was_going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: str, download: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar10, "_torchvision", lambda: fail)
    with pytest.raises(DataUnavailableError, match=r"download into .*cifar10 failed: no route to host"):
        Cifar10().fetch(tmp_path)


def test_fetching_what_is_there_downloads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("went to the network"))
    assert Cifar10().fetch(folder) == f"CIFAR-10 is in {folder / 'cifar10'}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ("car", "truck")}, "'airplane', 'automobile'"),
        ({"classes": (1, 10)}, "less than or equal to 9"),
        ({"classes": (1, "automobile")}, "at least two different classes out of airplane, automobile"),
        ({"classes": (1,)}, "at least two different classes"),
        ({"classes": (1, 9), "size": 10_001}, "size 10001: 2 classes have 10000 such images in all"),
        ({"classes": (1, 9), "test_size": 2_001}, "test_size 2001: 2 classes have 2000 such images in all"),
    ],
)
def test_impossible_options_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Cifar10(**options)
