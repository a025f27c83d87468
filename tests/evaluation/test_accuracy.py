import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from headpose import geometry
from headpose.datasets import aflw2000
from headpose.errors import DataError, ImageError
from headpose.evaluation import accuracy, predictions, protocols
from headpose.evaluation.testsets import FaceSet
from headpose.inference import load_model
from headpose.types import Box, EulerAngles, Sample
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network

GRID = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 12) for pitch in (-40, 0, 25)]


def labeled(eulers):
    return [Sample(Path(f"{i}.jpg"), Box(0, 0, 1, 1), EulerAngles(*euler)) for i, euler in enumerate(eulers)]


@pytest.fixture
def samples(tmp_path):
    return aflw2000.read(write_colored_faces(tmp_path / "faces", GRID))


@pytest.fixture
def model(tmp_path):
    return load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)


def test_a_network_that_reads_its_pictures_right_has_no_error(samples, model):
    result = accuracy.score(accuracy.predict(model, samples), samples)
    assert result.n == len(GRID)
    # 8 bits for 100 degrees leave at most 0.2 to each angle.
    assert max(result.yaw, result.pitch) < 0.2
    assert result.roll == pytest.approx(0, abs=1e-4)
    assert result.geodesic < 0.3


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_predictions_do_not_depend_on_the_batch(samples, model, batch):
    whole = accuracy.predict(model, samples, batch=len(samples))
    np.testing.assert_allclose(accuracy.predict(model, samples, batch), whole, atol=1e-6)


def test_a_picture_that_cannot_be_read_is_an_error(samples, model):
    samples[3].image.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=samples[3].image.name):
        accuracy.predict(model, samples)


def test_the_score_of_known_errors():
    true = [(0, 0, 0), (10, 5, 0), (-40, 0, 0), (70, 0, 0), (-80, 3, 2)]
    error = np.array([(1, -2, 0), (1, 2, 0), (-3, 0, 0), (8, 0, 0), (0, -4, 4)], float)
    result = accuracy.score(geometry.rotation_from_euler(np.array(true) + error), labeled(true))
    assert (result.yaw, result.pitch, result.roll) == pytest.approx((13 / 5, 8 / 5, 4 / 5))
    assert result.mae == pytest.approx(25 / 15)
    assert result.bias == pytest.approx((7 / 5, -4 / 5, 4 / 5))
    assert [(name, bin.n) for name, bin in result.bins.items()] == [("0-30", 2), ("30-60", 1), ("60-99", 2)]
    assert result.bins["30-60"].mae == pytest.approx(1)
    assert result.bins["30-60"].geodesic == pytest.approx(3)
    for name, (low, high) in result.ci.items():
        assert low <= getattr(result, name) <= high


def test_a_face_is_in_the_bin_of_its_label_not_of_what_was_read():
    result = accuracy.score(geometry.rotation_from_euler([(40, 0, 0), (29, 0, 0)]), labeled([(25, 0, 0), (35, 0, 0)]))
    assert [(name, bin.n) for name, bin in result.bins.items()] == [("0-30", 1), ("30-60", 1), ("60-99", 0)]
    assert result.bins["0-30"].mae == pytest.approx(5)


def test_a_bin_without_faces_has_no_mean():
    result = accuracy.score(np.eye(3)[None], labeled([(0, 0, 0)]))
    assert dataclasses.asdict(result.bins["60-99"]) == {"n": 0, "mae": None, "geodesic": None}
    assert "60-99" in accuracy.table(result)


def test_the_branch_of_a_profile_is_the_published_one_and_the_other_stands_beside():
    # A profile at 93 degrees, read right to the degree: as published code decodes it, pitch and roll err by 180.
    samples = labeled([(93.0, 0.0, 0.0)])
    result = accuracy.score(np.stack([sample.rotation for sample in samples]), samples)
    assert (result.yaw, result.pitch, result.roll) == pytest.approx((6, 180, 180))
    assert result.mae_smallest == pytest.approx(0, abs=1e-9)
    assert result.geodesic == pytest.approx(0, abs=1e-6)


def test_labels_beyond_a_turn_are_compared_as_they_stand():
    samples = labeled([(10.0 + 720.0, -5.0, 360.0)])
    result = accuracy.score(geometry.rotation_from_euler([[12.0, -5.0, 1.0]]), samples)
    assert (result.yaw, result.pitch, result.roll) == pytest.approx((2, 0, 1))


def test_lists_keep_what_their_names_say():
    samples = labeled([(99, 0, 0), (0, -99.1, 0), (0, 0, 90), (89.9, 0, 0), (0, 0, 700)])
    kept = {name: len(protocols.select(samples, name)) for name in protocols.LISTS}
    assert kept == {"99": 3, "90": 1, "all": 5}
    with pytest.raises(DataError, match="no picture is left"):
        protocols.select(samples[1:2], "99")


def test_the_hash_is_that_of_sorted_stems_and_of_nothing_else():
    samples = labeled([(0, 0, 0)] * 3)
    assert protocols.list_sha256(samples[::-1]) == hashlib.sha256(b"0\n1\n2").hexdigest()


def test_angles_are_taken_as_they_were_given():
    samples = labeled([(93.0, 0.0, 0.0)] * 2)
    rotations = np.stack([sample.rotation for sample in samples])
    result = accuracy.score(rotations, samples, angles=np.array([[95.0, 1.0, 0.0], [93.0, 0.0, -2.0]]))
    assert (result.yaw, result.pitch, result.roll) == pytest.approx((1, 0.5, 1))
    assert result.bias == pytest.approx((1, 0.5, -1))
    assert result.mae_smallest == pytest.approx(0, abs=1e-9)


def test_faces_of_one_group_are_drawn_together():
    samples = labeled([(float(error), 0.0, 0.0) for error in (0, 0, 0, 9, 9, 9)])
    grouped = [dataclasses.replace(sample, group=group) for sample, group in zip(samples, "aaabbb", strict=True)]
    alone, together = (accuracy.score(np.stack([np.eye(3)] * 6), each) for each in (samples, grouped))
    assert alone.yaw == together.yaw == pytest.approx(4.5)
    assert together.ci["yaw"] == pytest.approx((0, 9))
    assert 0 < alone.ci["yaw"][0] < alone.ci["yaw"][1] < 9


def test_other_crops_are_seen_by_the_network(samples, model):
    # Beyond the picture's edge Hopenet's crop is black: less red and blue than the face has.
    own, theirs = (accuracy.predict_angles(model, samples[:5], rule=rule) for rule in ("own", "hopenet"))
    np.testing.assert_allclose(own, [sample.euler for sample in samples[:5]], atol=0.3)
    assert (theirs[:, :2] <= own[:, :2] + 1e-6).all()
    assert (own - theirs)[:, :2].max() > 3


def test_predictions_survive_their_file(tmp_path):
    names, angles = ["b", "a/c", "d.e"], np.array([[95.0, -1, 2], [0, 0, 181], [-3, 4.5, 0]])
    predictions.write(tmp_path / "p.csv", names, angles)
    assert (tmp_path / "p.csv").read_text().startswith("image,yaw,pitch,roll\nb,95.000000,")
    np.testing.assert_array_equal(predictions.read(tmp_path / "p.csv", names[::-1]), angles[::-1])


def test_files_of_other_tools_are_read(tmp_path):
    (tmp_path / "p.csv").write_text(
        "roll,score,image,pitch,yaw\n3,0.9,image1.jpg,2,1\n6,0.8, image2.PNG,5,4\n0,0,c.jpg,0,0\n"
    )
    assert predictions.read(tmp_path / "p.csv", ["image2", "image1"]).tolist() == [[4, 5, 6], [1, 2, 3]]
    # A name that is known keeps what looks like an ending.
    assert predictions.read(tmp_path / "p.csv", ["image1.jpg"]).tolist() == [[1, 2, 3]]


def labeled_faces(*faces):
    """A test set of (name, file, box)."""
    samples = [Sample(Path(file), Box(*box), EulerAngles(0, 0, 0)) for _, file, box in faces]
    return FaceSet("manifest", samples, [name for name, _, _ in faces])


def read_faces(path, faces, *rows):
    """The yaw by name of a file of rows (image, x1, y1, x2, y2, yaw)."""
    lines = [",".join(map(str, (*row, 0, 0))) for row in rows]
    path.write_text("\n".join(["image,x1,y1,x2,y2,yaw,pitch,roll", *lines]))
    read = predictions.read_faces(path, faces)
    assert read.detected
    return {name: angles[0] for name, angles in read.angles.items()}


def test_rows_with_boxes_go_to_the_labeled_face_that_they_overlap_most(tmp_path):
    a, b, both = (0, 0, 10, 10), (8, 0, 18, 10), (4, 0, 14, 10)
    faces = labeled_faces(("x/p", "d/x/p.jpg", a), ("x/p#2", "d/x/p.jpg", b), ("q", "d/q.jpg", a))
    file = tmp_path / "p.csv"
    # Not by their order; the worse of two rows of one face is nobody's, also where the other face has none.
    assert read_faces(file, faces, ("x/p.jpg", *b, 1), ("x/p.jpg", *a, 2)) == {"x/p": 2, "x/p#2": 1}
    assert read_faces(file, faces, ("x/p.jpg", *both, 1), ("x/p.jpg", *b, 2)) == {"x/p": 1, "x/p#2": 2}
    assert read_faces(file, faces, ("x/p.jpg", 0, 0, 10, 9, 1), ("x/p.jpg", *a, 2)) == {"x/p": 2}
    assert len(read_faces(file, faces, ("x/p.jpg", *both, 1))) == 1
    assert read_faces(file, faces, ("q.jpg", 9, 0, 19, 10, 1)) == {}  # a face beside the labeled one
    # Folders in front, other endings, no ending; pictures of a video have no name.
    for image in ("q.jpg", "q", "q.PNG", "/data/set/q.jpg", "../d/q.jpg", "./q.jpg"):
        assert read_faces(file, faces, ("", *a, 9), (image, *a, 3), ("x/q2.jpg", *a, 9)) == {"q": 3}
    assert read_faces(file, faces, ("p.jpg", *a, 3)) == {}
    # The second face of a picture by its own name.
    assert read_faces(file, faces, ("x/p", *a, 1), ("x/p#2", *b, 2)) == {"x/p": 1, "x/p#2": 2}


def test_pictures_that_differ_in_their_ending_alone_are_distinguished(tmp_path):
    box = (0, 0, 10, 10)
    faces = labeled_faces(("p", "d/p.jpg", box), ("p#2", "d/p.png", box))
    assert read_faces(tmp_path / "p.csv", faces, ("p.png", *box, 2), ("p.jpg", *box, 1)) == {"p": 1, "p#2": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,yaw,roll\n0,1,2\n", "lacks the column pitch"),
        ("", "lacks the columns image, yaw, pitch, roll"),
        ("image,yaw,pitch,roll\n0,1,2,3\n0,1,2,3\n", "line 3: 0 is there twice"),
        ("image,yaw,pitch,roll\n0,1,5,2,3\n", "line 2: more values than columns"),
        ("image,yaw,pitch,roll,yaw\n0,1,2,3,4\n", "twice: keep one"),
        ("image,yaw,pitch,roll\n0.jpg,1,2,3\n0,1,2,3\n", "line 3: 0 is there twice"),
        ("image,yaw,pitch,roll\n0,1,2,\n", "line 2: not an angle: ''"),
        ("image,yaw,pitch,roll\n0,1,nan,0\n", "line 2: not an angle: 'nan'"),
        ("image,yaw,pitch,roll\n7,1,2,3\n", "no line for 0 and 1 others"),
    ],
)
def test_bad_predictions_are_errors(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        predictions.read(tmp_path / "p.csv", ["0", "1"])
    with pytest.raises(DataError, match="cannot read"):
        predictions.read(tmp_path / "nowhere.csv", [])
