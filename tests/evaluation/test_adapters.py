import re

import numpy as np
import pytest

from headpose import geometry
from headpose.errors import HeadPoseError, WeightsError
from headpose.evaluation import accuracy
from headpose.evaluation.adapter_files import Brighten, read_adapter
from headpose.evaluation.adapters import faces_predictor, load_adapter
from headpose.inference import load_model
from headpose.types import Box
from tests.evaluation.foreign import EULER, adapter_file, linear_network
from tests.network_files import color_network

# yaw is 100 times the mean of channel 0, pitch of channel 1, roll of channel 2.
CHANNELS = {"angles": (100 * np.eye(3), np.zeros(3))}
BGR = (51, 102, 204)  # 0.2, 0.4, 0.8


def picture(color=BGR, size=64):
    return np.full((size, size, 3), color, np.uint8)


@pytest.fixture
def make(tmp_path):
    def make(output=EULER, outputs=CHANNELS, files=("net.onnx",), crop="", more="", **network):
        for name in files:
            linear_network(tmp_path / name, outputs, **network)
        return load_adapter(
            adapter_file(tmp_path / "a.toml", output, files=files, crop=crop, more=more), tmp_path, threads=1
        )

    return make


def test_a_network_sees_its_colors_in_its_order(make):
    box = Box(10, 10, 40, 40)
    assert make().predict_angles(make().network_input(picture(), [box]))[0] == pytest.approx((80, 40, 20), abs=1e-3)
    swapped = make(crop='channels = "bgr"\nmean = [0.1, 0, 0]\nstd = [0.5, 1, 1]')
    angles = geometry.euler_from_rotation(swapped.predict_faces(picture(), [box]), "asin")
    assert angles[0] == pytest.approx((20, 40, 80), abs=1e-3)


@pytest.mark.parametrize("batch", [1, "N"])
def test_faces_come_back_in_order_whatever_batch_the_file_fixes(make, batch):
    adapter = make(batch=batch)
    image = picture()
    image[:, 32:, 2] = 0
    boxes = [Box(2, 2, 30, 30), Box(34, 2, 62, 30), Box(2, 34, 30, 62)]
    rotations = adapter.predict_faces(image, boxes)
    assert rotations.shape == (3, 3, 3)
    assert geometry.euler_from_rotation(rotations)[:, 0] == pytest.approx([80, 0, 80], abs=1e-3)
    assert adapter.predict_faces(image, []).shape == (0, 3, 3)
    with pytest.raises(HeadPoseError, match="takes 2 faces at a time, not 3"):
        make(batch=2).predict_faces(image, boxes)


def test_grey_is_luminance_and_dark_crops_are_brightened(make):
    grey = 'channels = "grey"\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]'
    network = {"outputs": {"angles": (np.full((3, 1), 100.0), np.zeros(3))}, "channels": 1}
    luminance = round(0.114 * 51 + 0.587 * 102 + 0.299 * 204) / 255
    adapter = make(crop=grey, **network)
    assert adapter.network_input(picture(), [Box(9, 9, 40, 40)]).shape == (1, 1, 16, 16)
    assert adapter.predict_angles(adapter.network_input(picture(), [Box(9, 9, 40, 40)]))[0, 0] == pytest.approx(
        100 * (luminance - 0.5), abs=1e-3
    )
    bright = make(crop=grey, more="[brighten]\nquantile = 0.9\nbelow = 127\nto = 102\ndarkest = 5", **network)
    for value, seen in ((50, 102), (126, 102), (127, 127), (200, 200), (2, 2 * 102 / 5)):
        inputs = bright.network_input(picture((value,) * 3), [Box(9, 9, 40, 40)])
        assert inputs.mean() == pytest.approx(seen / 255 - 0.5, abs=1e-4)


def test_brightening_goes_by_the_quantile_of_the_crop(make):
    more = "[brighten]\nquantile = 0.9\nbelow = 127\nto = 100\ndarkest = 5"
    image = picture((50, 50, 50))
    image[:4, :] = 250  # 6 % of the whole picture, 12 % of the crop
    adapter = make(more=more)
    whole, upper = (adapter.network_input(image, [box]) for box in (Box(0, 0, 64, 64), Box(0, 0, 32, 32)))
    assert np.median(whole) == pytest.approx(100 / 255, abs=1e-4)
    assert np.median(upper) == pytest.approx(50 / 255, abs=1e-4)


def test_the_quantile_is_the_first_value_that_more_than_its_share_lies_below_or_at():
    brighten = Brighten(quantile=0.75, below=127, to=100, darkest=5)
    assert brighten.factor(np.array([[50, 50], [50, 100]], np.uint8)) == 1
    assert brighten.factor(np.array([[50, 50], [50, 50], [100, 100]], np.uint8)) == 1
    assert brighten.factor(np.array([[50, 50, 50, 50, 100]], np.uint8)) == 2


def test_angles_of_several_networks_are_averaged_the_short_way_round(make, tmp_path):
    make(files=("one.onnx", "two.onnx"))
    for name, angles in (("one.onnx", (178.0, 10.0, 0.0)), ("two.onnx", (-176.0, 20.0, 4.0))):
        linear_network(tmp_path / name, {"angles": (np.zeros((3, 3)), angles)})
    adapter = load_adapter(tmp_path / "a.toml", tmp_path)
    angles = adapter.predict_angles(adapter.network_input(picture(), [Box(0, 0, 9, 9)]))
    assert geometry.wrap_degrees(angles)[0] == pytest.approx((-179, 15, 2))


def test_outputs_are_taken_by_name(make):
    output = 'form = "euler"\ntensors = ["r", "y", "p"]\norder = ["roll", "yaw", "pitch"]'
    values = {
        name: (np.zeros((1, 3)), [value]) for name, value in (("p", 2.0), ("unused", 9.0), ("r", 3.0), ("y", 95.0))
    }
    adapter = make(output, values)
    assert adapter.gives_angles
    assert adapter.predict_angles(adapter.network_input(picture(), [Box(0, 0, 9, 9)]))[0] == pytest.approx((95, 2, 3))


@pytest.mark.parametrize(
    ("output", "values"),
    [
        ('form = "bins"\ntensors = ["a", "b", "c"]\nstep = 3\nfirst = -99', {"a": 66, "b": 66, "c": 66}),
        ('form = "quaternion"\ntensors = ["a"]\norder = "wxyz"\nframe = "opencv"', {"a": 4}),
        ('form = "matrix"\ntensors = ["a"]\ntransposed = true', {"a": 9}),
        (f'form = "face-model"\ntensors = ["a"]\nmean = {[0.0] * 12}\nstd = {[1] * 12}', {"a": 62}),
    ],
)
def test_every_form_can_be_asked_for(make, output, values):
    rng = np.random.default_rng(1)
    adapter = make(output, {name: (rng.normal(size=(k, 3)), rng.normal(size=k)) for name, k in values.items()})
    rotation = adapter.predict_faces(picture(), [Box(5, 5, 30, 40)])[0]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert adapter.gives_angles == ("bins" in output)


def test_ours_and_theirs_answer_the_same_call(make, tmp_path, photo):
    model = load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)
    boxes = [Box(178, 83, 273, 176), Box(20, 30, 80, 90)]
    for network in (model, make()):
        rotations = faces_predictor(network)(photo, boxes)
        assert rotations.shape == (2, 3, 3)
        inputs = [(photo, box, network.crop) for box in boxes]
        np.testing.assert_allclose(accuracy.run(network, inputs, 2), rotations, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[crop]", "[crop]\nsise = 3"), "unknown key in crop: sise"),
        (("name =", "nam ="), "unknown key in the file: nam"),
        (('name = "theirs"', ""), "missing key in the file: name"),
        (('name = "theirs"', "name = 3"), "name must be text, got 3"),
        (("size = 16", 'size = "16"'), "crop, size must be a whole number"),
        (("size = 16", "size = true"), "crop, size must be a whole number"),
        (("size = 16", "size = 4"), "crop size must be 8 to 1024"),
        (("size = 16\n", ""), "missing key in crop: size"),
        (("mean = [0, 0, 0]", "mean = 0"), "crop, mean must be a list"),
        (("mean = [0, 0, 0]", 'mean = [0, 0, "0"]'), "crop, mean must be a number"),
        (('["net.onnx"]', "[]"), "files must be names of .onnx files"),
        (('["net.onnx"]', '["../net.onnx"]'), "files must be names of .onnx files, without folders"),
        (('["net.onnx"]', '["net.pkl"]'), "files must be names of .onnx files"),
        (('form = "euler"', 'form = "angles"'), "needs a form, one of euler, bins"),
        (('form = "euler"', ""), "needs a form"),
        (('form = "euler"', "form = [1]"), "needs a form"),
        (("scale = 1.0", "scale = inf"), "crop, scale must be finite"),
        (('tensors = ["angles"]', 'tensors = ["angles"]\nstep = 3'), "unknown key in output of form euler: step"),
        (('tensors = ["angles"]', 'tensors = "angles"'), "tensors must be a list"),
        (("[crop]", "[brighten]\nquantile = 2\nbelow = 1\nto = 1\ndarkest = 1\n[crop]"), "quantile in (0, 1)"),
        (("[crop]", "brighten = 3\n[crop]"), "brighten must be a table"),
        (("[crop]", "[crop"), "cannot read the adapter"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, change, says):
    path = adapter_file(tmp_path / "a.toml")
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(WeightsError, match=re.escape(says)) as caught:
        read_adapter(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_is_not_what_the_file_says_is_an_error(tmp_path):
    path, net = adapter_file(tmp_path / "a.toml"), tmp_path / "net.onnx"
    with pytest.raises(WeightsError, match=r"theirs needs net.onnx, which is not in"):
        load_adapter(path, tmp_path)
    cases = [
        ({"size": 20}, r"takes \[3, 20, 20\], its adapter gives \[3, 16, 16\]"),
        ({"channels": 1, "outputs": {"angles": (np.ones((3, 1)), np.zeros(3))}}, r"takes \[1, 16, 16\]"),
        ({"inputs": 2}, "must have one input"),
        ({"outputs": {"euler": CHANNELS["angles"]}}, "has no output angles: it has euler"),
    ]
    for network, says in cases:
        linear_network(net, **{"outputs": CHANNELS, **network})
        with pytest.raises(WeightsError, match=says):
            load_adapter(path, tmp_path)
    net.write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="not a network that ONNX Runtime can run"):
        load_adapter(path, tmp_path)
    with pytest.raises(WeightsError, match="cannot read the adapter"):
        load_adapter(tmp_path / "nowhere.toml", tmp_path)


def test_answers_that_cannot_be_angles_are_errors(make):
    for outputs, says in (
        ({"angles": (np.zeros((3, 3)), [np.nan, 0, 0])}, "not a number"),
        ({"angles": (np.zeros((4, 3)), np.zeros(4))}, "3 values a face are needed, it has 4"),
    ):
        with pytest.raises(HeadPoseError, match=f"theirs gave something else than its adapter says: .*{says}"):
            make(outputs=outputs).predict_faces(picture(), [Box(0, 0, 9, 9)])


def test_the_adapters_of_the_project_can_be_read(repo):
    specs = {path.stem: read_adapter(path) for path in (repo / "eval" / "adapters").glob("*.toml")}
    assert set(specs) == {"3ddfa_v2", "fsanet", "lwpose", "opentrack", "whenet"}
    assert len(specs["3ddfa_v2"].output.mean) == len(specs["3ddfa_v2"].output.std) == 12
