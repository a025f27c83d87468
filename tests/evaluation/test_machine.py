"""What the machine is asked: its peak, and the memory of a process."""

import numpy as np
import onnx
import pytest

from headpose import weights
from headpose.errors import HeadPoseError
from headpose.evaluation import memory, peak
from tests.evaluation.onnx_files import one_operator


@pytest.mark.parametrize("arithmetic", ["fp32", "int8"])
def test_the_product_that_the_peak_is_measured_by_is_one(arithmetic):
    (found,) = peak.products(threads=1)[arithmetic]()
    rng = np.random.default_rng(0)
    kinds = (np.float32, np.float32) if arithmetic == "fp32" else (np.uint8, np.int8)
    a, b = (rng.integers(0, 100, (peak.SIDE, peak.SIDE)).astype(kind).astype(np.float64) for kind in kinds)
    assert (found == a @ b).all()  # whole numbers below 2^24: exact in every order of adding


def test_the_product_is_valid_onnx(monkeypatch):
    """The bytes are written by hand; the onnx package is the oracle."""
    seen = []
    monkeypatch.setattr(peak.onnxruntime, "InferenceSession", lambda model, *_, **__: seen.append(model))
    peak.products(threads=1)
    for model in seen:
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert len(seen) == 2


def test_memory_grows_with_the_network_and_not_with_who_asks(tmp_path):
    ballast = np.ones(60_000_000, np.uint8)  # of this process: a child must not inherit it
    small = memory.measure([(weights.find("compact"), (1, 3, 96, 96))])
    large = one_operator(tmp_path / "large.onnx", "MatMul", [1, 4000], np.ones((4000, 5000)))
    big = memory.measure([(large, (1, 4000))])
    assert small is not None and big is not None
    assert 20e6 < small.runtime < 200e6
    assert 5e6 < small.network < 60e6
    assert big.network > small.network + 50e6  # 80 MB of weights
    assert abs(big.runtime - small.runtime) < 10e6
    assert ballast.sum() == 60_000_000


def test_a_network_that_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(HeadPoseError, match=r"absent\.onnx does not exist") as caught:
        memory.measure([(tmp_path / "absent.onnx", (1, 3))])
    assert "\n" not in str(caught.value)
