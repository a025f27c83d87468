import numpy as np
import pytest

from headpose.datasets import cifar10
from headpose.errors import DataError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)

    def some(count):
        return cifar10.LabeledImages(rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 3, count))

    training, test = some(7), some(4)
    cifar10.write(tmp_path, training, test, ["cat", "dog", "owl"])
    return tmp_path, training, test


def test_what_was_written_is_read(folder):
    path, training, test = folder
    for wanted, got in ((training, cifar10.read_training(path)), (test, cifar10.read_test(path))):
        np.testing.assert_array_equal(got.images, wanted.images)
        np.testing.assert_array_equal(got.labels, wanted.labels)
    assert cifar10.class_names(path) == ["cat", "dog", "owl"]


def test_a_record_is_class_then_red_green_and_blue_planes(tmp_path):
    planes = np.stack([np.full((32, 32), 10), np.full((32, 32), 20), np.full((32, 32), 30)]).astype(np.uint8)
    planes[0, 0, 1] = 99  # row 0, column 1, red
    (tmp_path / "batches.meta.txt").write_text("a\nb\n\n")
    (tmp_path / "data_batch_1.bin").write_bytes(bytes([1]) + planes.tobytes())
    got = cifar10.read_training(tmp_path)
    assert got.labels.tolist() == [1]
    assert got.images[0, 0, 1].tolist() == [30, 20, 99]
    assert got.images[0, 1, 0].tolist() == [30, 20, 10]


def test_several_batches_are_one_list(folder):
    path, training, _ = folder
    data = (path / "data_batch_1.bin").read_bytes()
    (path / "data_batch_2.bin").write_bytes(data[: 2 * 3073])
    labels = cifar10.read_training(path).labels
    np.testing.assert_array_equal(labels, [*training.labels, *training.labels[:2]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "batches.meta.txt").unlink(), "batches.meta.txt"),
        (lambda p: (p / "batches.meta.txt").write_text("\n"), "names no classes"),
        (lambda p: (p / "batches.meta.txt").write_text("cat\n"), "a record has class"),
        (lambda p: (p / "data_batch_1.bin").write_bytes(b"x" * 3000), "is damaged"),
        (lambda p: (p / "data_batch_1.bin").write_bytes(b""), "is damaged"),
        (lambda p: (p / "data_batch_1.bin").unlink(), "data_batch_1.bin"),
    ],
)
def test_damage_is_said(folder, damage, message):
    path, _, _ = folder
    damage(path)
    with pytest.raises(DataError, match=message):
        cifar10.read_training(path)


def test_a_missing_test_batch_is_said(folder):
    path, _, _ = folder
    (path / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        cifar10.read_test(path)
