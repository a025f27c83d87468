"""Readers of pictures and labels, on files that are nearly right: a result, or one line that says what is wrong."""

from __future__ import annotations

import contextlib
import io
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from headpose.datasets import biwi, cifar10, manifest, matlab5, w300lp
from headpose.errors import DataError, HeadPoseError, ImageError
from headpose.images import decode_image
from tests.datasets.biwi_files import write_frame
from tests.datasets.labels import write_face
from tests.fuzz.damage import damaged


@contextlib.contextmanager
def only(kind: type[HeadPoseError]):
    """An error of this kind, in one line, is an answer; any other is a fault."""
    try:
        yield
    except kind as error:
        assert str(error).strip()
        assert "\n" not in str(error)


def check_samples(samples):
    """What a reader gives has labels that a training can use."""
    for sample in samples:
        assert all(map(math.isfinite, (*sample.euler, sample.weight, *sample.box.as_tuple())))
        assert sample.weight >= 0
        assert np.isfinite(sample.rotation).all()


def _pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 64), interpolation=cv2.INTER_CUBIC)
    endings = (".jpg", ".png", ".webp", ".bmp", ".tif", ".ppm", ".jp2", ".gif", ".avif")
    return [cv2.imencode(ending, picture)[1].tobytes() for ending in endings if cv2.haveImageWriter(f"picture{ending}")]


def _label_files() -> list[bytes]:
    content = {"Pose_Para": np.full((1, 7), 0.3), "pt3d_68": np.random.default_rng(0).uniform(10, 60, (3, 68))}
    files = []
    for compressed in (False, True):
        file = io.BytesIO()
        scipy.io.savemat(file, {**content, "roi": np.arange(4), "name": "face"}, do_compression=compressed)
        files.append(file.getvalue())
    return files


PICTURES, LABELS = _pictures(), _label_files()


@given(damaged(PICTURES))
def test_pictures(data):
    with only(ImageError):
        image = decode_image(data)
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.dtype == np.uint8


@given(damaged(LABELS))
def test_matlab_files(data):
    with contextlib.suppress(ValueError):
        for array in matlab5.read(data).values():
            assert array.dtype == np.float64
            assert array.ndim >= 2


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    return write_face(tmp_path_factory.mktemp("lp") / "HELEN_1_0.jpg")


numbers = st.one_of(st.floats(width=32), st.sampled_from([0.0, -1.0, 1e5, 1e6, 1e30]))


@st.composite
def label_contents(draw):
    """Variables of a label file: of the right names, with odd types, shapes and values."""
    shapes = st.sampled_from([(1, 7), (7, 1), (3, 68), (2, 68), (68, 3), (1, 6), (0, 0), (1, 1)])
    kinds = st.sampled_from(["f8", "f4", "i4", "u1", "c16", "O"])
    content = {"Pose_Para": np.full((1, 7), 0.3), "pt3d_68": np.random.default_rng(0).uniform(10, 60, (3, 68))}
    for name in draw(st.lists(st.sampled_from(["Pose_Para", "pt3d_68", "pt2d"]), max_size=2)):
        with np.errstate(all="ignore"):
            content[name] = np.full(draw(shapes), draw(numbers)).astype(draw(kinds))
    for name in draw(st.lists(st.sampled_from(sorted(content)), max_size=1)):
        content[name].flat[:1] = draw(numbers) if content[name].dtype.kind == "f" else 0
    return content


@given(st.one_of(damaged(LABELS), label_contents()))
def test_faces_of_300w_lp(face, content):
    if isinstance(content, bytes):
        face.with_suffix(".mat").write_bytes(content)
    else:
        scipy.io.savemat(face.with_suffix(".mat"), content)
    with only(DataError):
        check_samples(w300lp.read(face.parent))


MANIFEST = "image,x1,y1,x2,y2,yaw,pitch,roll,weight\na.png,2,2,18,18,10,-5.5,3,1\na.png,1,1,9,9,-80,0,0,0.5\n"
fields = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "nan", "inf", "1e309", "1e5", "361", "0x10", "1_0", "٣", "a.png", ".", "..", "/", "a.png/"]
    ),
    st.floats().map(str),
    st.text(max_size=5),
    st.text("a./\\\x00\x01\ud800", max_size=4),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifest")
    cv2.imwrite(str(folder / "a.png"), np.full((20, 20, 3), 90, np.uint8))
    return folder / "labels.csv"


@given(
    st.one_of(
        damaged([MANIFEST.encode(), MANIFEST.replace("weight", "spread").encode(), MANIFEST.encode("utf-16")]),
        st.lists(st.lists(fields, min_size=7, max_size=10), max_size=3).map(
            lambda rows: "\n".join([MANIFEST.splitlines()[0], *map(",".join, rows)]).encode("utf-8", "surrogatepass")
        ),
    )
)
def test_manifests(table, data):
    table.write_bytes(data)
    with only(DataError):
        check_samples(manifest.read(table))


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("biwi")
    pose = write_frame(folder / "01", 3, (20, -10, 5))
    calibration = folder / "01" / "rgb.cal"
    return folder, {pose: pose.read_bytes(), calibration: calibration.read_bytes()}


words = st.one_of(numbers.map(str), st.sampled_from(["1", "0", "-1", "nan", "x", "1e400"]))


@given(data=st.data())
def test_sequences_of_biwi(sequence, data):
    folder, files = sequence
    for path, whole in files.items():
        path.write_bytes(whole)
    path = data.draw(st.sampled_from(sorted(files)))
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged([files[path]])))
    else:
        tokens = files[path].split()
        for place, word in data.draw(st.dictionaries(st.integers(0, len(tokens) - 1), words, max_size=3)).items():
            tokens[place] = word.encode()
        path.write_bytes(b" ".join(tokens))
    with only(DataError):
        check_samples(biwi.read(folder, (1,)))


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    part = cifar10.LabeledImages(rng.integers(0, 256, (2, 32, 32, 3), np.uint8), np.array([0, 2]))
    cifar10.write(folder, part, part, ["a", "b", "c"])
    return folder


@given(data=st.data())
def test_images_of_cifar_10(batches, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "set"
    shutil.copytree(batches, folder)
    for name in data.draw(st.sets(st.sampled_from(["batches.meta.txt", "data_batch_1.bin", "test_batch.bin"]))):
        path: Path = folder / name
        path.write_bytes(data.draw(damaged([path.read_bytes()], changes=2)))
    for read in (cifar10.read_training, cifar10.read_test):
        with only(DataError):
            found = read(folder)
            assert found.images.shape == (len(found.labels), 32, 32, 3)
            assert found.labels.min() >= 0
            assert found.labels.max() < len(cifar10.class_names(folder))
