import hashlib

import pytest

from headpose.datasets import aflw2000
from headpose.errors import DataError
from headpose.evaluation import protocols, testsets
from headpose.types import Box, Face
from tests.datasets.biwi_files import write_frame
from tests.datasets.labels import write_face
from tests.evaluation.faces import write_colored_faces


class Finder:
    """A detector that gives the same faces for every picture."""

    name = "finder"

    def __init__(self, *boxes):
        self.boxes = boxes

    def detect(self, image):
        return [Face(box, 0.9) for box in self.boxes]


def test_names_are_stems_where_all_pictures_lie_in_one_folder(tmp_path):
    write_colored_faces(tmp_path, [(0, 0, 0), (95, 0, 0), (120, 0, 0)])
    faces = testsets.read(tmp_path)
    assert (faces.kind, faces.names) == ("aflw2000", ["image00000", "image00001", "image00002"])
    assert faces.sha256 == protocols.list_sha256(aflw2000.read(tmp_path))
    assert {name: len(faces.select(name).names) for name in protocols.LISTS} == {"99": 2, "90": 1, "all": 3}


def test_names_tell_copies_in_other_folders_and_faces_of_one_picture_apart(tmp_path):
    for folder in ("AFW", "AFW_Flip"):
        write_face(tmp_path / "lp" / folder / "AFW_1_1_0.jpg")
    assert testsets.read(tmp_path / "lp", "300w-lp").names == ["AFW/AFW_1_1_0", "AFW_Flip/AFW_1_1_0"]
    rows = ["AFW/AFW_1_1_0.jpg,1,1,9,9,0,0,0", "AFW/AFW_1_1_0.jpg,20,1,29,9,5,0,0"]
    (tmp_path / "lp" / "m.csv").write_text("\n".join(["image,x1,y1,x2,y2,yaw,pitch,roll", *rows]))
    faces = testsets.read(tmp_path / "lp" / "m.csv")
    assert (faces.kind, faces.names) == ("manifest", ["AFW/AFW_1_1_0", "AFW/AFW_1_1_0#2"])
    write_frame(tmp_path / "biwi" / "04", 3, (1, 2, 3))
    assert testsets.read(tmp_path / "biwi", "biwi", (4,)).names == ["04/frame_00003_rgb"]


def test_a_part_is_chosen_by_names_alone(tmp_path):
    write_colored_faces(tmp_path, [(float(i), 0, 0) for i in range(12)])
    faces = testsets.read(tmp_path)
    part = faces.part(5)
    expected = sorted(faces.names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:5]
    assert part.names == sorted(expected)
    assert [sample.image.stem for sample in part.samples] == part.names
    assert faces.part(100) == faces
    assert part.among(reversed(part.names[1:3])).names == part.names[1:3]


def test_boxes_of_a_detector_replace_those_of_the_labels(tmp_path):
    write_face(tmp_path / "a.jpg", box=(10, 20, 50, 70))
    write_face(tmp_path / "b.jpg", box=(55, 5, 70, 20))
    faces = testsets.read(tmp_path)
    near, elsewhere = Box(12, 22, 52, 68), Box(60, 60, 79, 79)
    found = testsets.with_detected_boxes(faces, Finder(elsewhere, near))
    assert found.names == ["a"] and found.samples[0].box == near
    assert found.samples[0].euler == faces.samples[0].euler
    with pytest.raises(DataError, match="finder finds none of the 2 faces"):
        testsets.with_detected_boxes(faces, Finder())


def test_a_list_without_faces_is_an_error(tmp_path):
    write_colored_faces(tmp_path, [(170, 0, 0)])
    with pytest.raises(DataError, match="no face is left of 1"):
        testsets.read(tmp_path).select("99")
