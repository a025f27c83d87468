import io

import numpy as np
import pytest
import scipy.io

from headpose.datasets import matlab5
from tests import memory

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def saved(variables, compressed=False):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_those_that_scipy_wrote(dtype, compressed):
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.uniform(-100, 100, shape) if dtype[0] != "u" else rng.uniform(0, 200, shape)).astype(dtype)
        for name, shape in {
            "a": (1, 1),
            "pt2d": (2, 68),
            "a_longer_name": (3, 5),
            "none": (0, 3),
            "cube": (2, 3, 4),
        }.items()
    }
    read = matlab5.read(saved(arrays, compressed))
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array.astype(np.float64))


def test_what_is_no_real_number_is_passed_over():
    content = {"text": "roll", "cell": np.array([1, "a"], object), "s": {"x": 1}, "z": np.array([[1j]]), "n": [[4]]}
    assert {name: array.tolist() for name, array in matlab5.read(saved(content)).items()} == {"n": [[4.0]]}


def test_values_stored_narrower_than_their_class_are_read():
    # MATLAB itself stores the doubles 1, 2, 3 in bytes: class mxDOUBLE, data miUINT8, a small element.
    def element(kind, content):
        return np.array([kind, len(content)], "<u4").tobytes() + content + bytes(-len(content) % 8)

    matrix = element(6, np.array([6, 0], "<u4").tobytes()) + element(5, np.array([1, 3], "<i4").tobytes())
    matrix += element(1, b"x") + np.array([2 | 3 << 16], "<u4").tobytes() + bytes([1, 2, 3, 0])
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    np.testing.assert_array_equal(matlab5.read(header + element(14, matrix))["x"], [[1, 2, 3]])


def test_a_big_endian_file_is_read():
    def element(kind, content):
        return np.array([kind, len(content)], ">u4").tobytes() + content + bytes(-len(content) % 8)

    values = np.array([0.5, -2.0], ">f8")
    matrix = element(6, np.array([6, 0], ">u4").tobytes()) + element(5, np.array([1, 2], ">i4").tobytes())
    matrix += element(1, b"Pose_Para") + element(9, values.tobytes())
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    np.testing.assert_array_equal(matlab5.read(header + element(14, matrix))["Pose_Para"], [[0.5, -2.0]])


@pytest.mark.parametrize(
    "data", [b"", b"MATLAB 5.0", b"yaw,pitch\n" * 50, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"]
)
def test_another_format_is_refused(data):
    with pytest.raises(ValueError, match="no MATLAB 5 header"):
        matlab5.read(data)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_damaged_or_lacks_its_last_array(compressed):
    whole = saved({"first": np.eye(3), "second": np.ones((2, 5))}, compressed)
    read = []
    for size in range(len(whole)):
        try:
            read.append(set(matlab5.read(whole[:size])))
        except ValueError:
            continue
    assert [names for names in read if names] == [{"first"}]


@pytest.mark.parametrize("compressed", [False, True])
def test_noise_gives_arrays_or_a_value_error_and_nothing_else(compressed):
    whole = np.frombuffer(saved({"Pose_Para": np.ones((1, 7)), "pt3d_68": np.ones((3, 68))}, compressed), np.uint8)
    rng = np.random.default_rng(1)
    damaged = 0
    for _ in range(3000):
        noisy = whole.copy()
        noisy[rng.integers(124, min(len(noisy), 340), 4)] = rng.integers(0, 256, 4)
        try:
            matlab5.read(noisy.tobytes())
        except ValueError:
            damaged += 1
    assert damaged > 300


LARGE = {
    "one array": [np.zeros((100, 2_000_000), np.uint8)],
    "many arrays, each small enough": [np.zeros((1000, 1000))] * 40,
    "bytes that become a large array": [np.zeros((1000, 5000), np.uint8)],
    "bytes that become many arrays": [np.zeros((1000, 4000), np.uint8)] * 2,
    "texts, which are passed over": ["a" * 20_000_000] * 2,
}
MEASURE = """
import sys
from headpose.datasets import matlab5

before = peak_mb()
try:
    matlab5.read_file(pathlib.Path(sys.argv[1]))
except ValueError as error:
    print(error, end="|")
print(peak_mb() - before)
"""


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("content", LARGE)
def test_a_file_that_unpacks_to_more_than_a_label_is_refused_without_the_memory_for_it(tmp_path, content, compressed):
    data = saved({f"x{index}": array for index, array in enumerate(LARGE[content])}, compressed)
    assert not compressed or len(data) < 1 << 20
    file = tmp_path / "a.mat"
    file.write_bytes(data)
    message, megabytes = memory.output_of(MEASURE, file).split("|")
    assert message == "too large for a label: more than 32 MB"
    assert float(megabytes) < 140


def test_a_file_larger_than_a_label_is_not_read_to_its_end(tmp_path):
    file = tmp_path / "a.mat"
    with file.open("wb") as stream:
        stream.write(saved({"x": np.ones((2, 2))}))
        stream.truncate(1 << 40)
    with pytest.raises(ValueError, match="more than 32 MB"):
        matlab5.read_file(file)


def test_what_a_label_may_hold_is_read():
    content = {"a": np.zeros((1000, 2000)), "b": np.zeros((1000, 2000), np.uint8)}
    assert {name: array.shape for name, array in matlab5.read(saved(content, True)).items()} == {
        "a": (1000, 2000),
        "b": (1000, 2000),
    }


@pytest.mark.data
@pytest.mark.parametrize(("pattern", "step"), [("aflw2000/*.mat", 40), ("helen/HELEN/*.mat", 40)])
def test_published_files_read_as_scipy_reads_them(data_dir, pattern, step):
    files = sorted(data_dir.glob(pattern))[::step]
    assert files
    for file in files:
        expected = {k: v for k, v in scipy.io.loadmat(file).items() if not k.startswith("__")}
        read = matlab5.read(file.read_bytes())
        assert set(read) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(read[name], array.astype(np.float64))
