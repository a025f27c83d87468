import numpy as np
import pytest

from headpose import files
from headpose.errors import HeadPoseError
from headpose.evaluation import networks
from headpose.evaluation.adapters import Adapter
from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import color_network

EYE = {"angles": (np.eye(3), np.zeros(3))}


@pytest.fixture
def folder(tmp_path):
    """An adapter of two networks, theirs.toml, and the networks."""
    for name in ("a.onnx", "b.onnx"):
        linear_network(tmp_path / name, EYE)
    adapter_file(tmp_path / "theirs.toml", files=("a.onnx", "b.onnx"))
    return tmp_path


def load(name, folder, **options):
    return networks.load(str(name), **{"adapters": folder, "peers": folder, "threads": 1, **options})


def test_names_files_and_adapters_are_distinguished(folder):
    ours = color_network(folder / "color.onnx")
    for name in ("theirs", folder / "theirs.toml"):
        assert isinstance(load(name, folder), Adapter)
    assert load(ours, folder).name == "color"
    assert load("compact", folder).name == "compact"


def test_facts_of_an_adapter_add_up_those_of_its_files(folder):
    found = networks.facts(load("theirs", folder))
    assert (found.name, found.kind, found.arithmetic) == ("theirs", "peer", "fp32")
    assert found.macs == 2 * 9  # a product of 3 by 3 each
    assert found.bytes == sum((folder / name).stat().st_size for name in ("a.onnx", "b.onnx"))
    assert found.sha256 == {name: files.sha256_of(folder / name) for name in ("a.onnx", "b.onnx")}
    ours = networks.facts(load("compact", folder))
    assert (ours.kind, list(ours.sha256)) == ("ours", ["compact.onnx"]) and ours.gflop == pytest.approx(0.32, abs=0.01)


def test_adapters_whose_networks_are_there(folder, tmp_path):
    adapter_file(folder / "absent.toml", files=("c.onnx",))
    assert networks.present(folder, folder) == [str(folder / "theirs.toml")]
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(HeadPoseError, match="no network of"):
        networks.present(folder, empty)


@pytest.mark.parametrize(("options", "says"), [({"peers": None}, "--peers"), ({"device": "gpu"}, "gpu")])
def test_adapters_need_a_folder_and_a_device_that_there_is(folder, options, says):
    with pytest.raises(HeadPoseError, match=says):
        load("theirs", folder, **options)
