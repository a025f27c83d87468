"""Filtering, balancing and exporting faces."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import DataError, InputError, cli
from headpose.bulk import rows, selection
from headpose.bulk.selection import Balance, quotas_of, select
from headpose.datasets import manifest
from tests.bulk.conftest import label


def faces_table(yaws, uncertainty=None):
    """Faces with given yaws, one a picture."""
    listed = [
        {
            "source": f"pictures/{index:04d}.jpg",
            **dict.fromkeys(("member", "frame", "time_s", "readable", "track")),
            "face": 1,
            "width": 640,
            "height": 480,
            "x1": 10,
            "y1": 20,
            "x2": 110,
            "y2": 140,
            "score": 0.9,
            "rotation": np.eye(3).ravel().tolist(),
            "yaw": yaw,
            "pitch": 0.0,
            "roll": 0.0,
            "quality": 90,
            "uncertainty": None if uncertainty is None else uncertainty[index],
        }
        for index, yaw in enumerate(yaws)
    ]
    return pa.Table.from_pylist(listed, rows.LABELS)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    return faces_table(np.clip(rng.normal(0, 30, 1000), -89, 89).tolist(), rng.uniform(0, 20, 1000).tolist())


def test_a_query_keeps_what_is_true(faces):
    found = select(faces, "abs(yaw) < 30 and uncertainty < 5").to_pylist()
    expected = [r for r in faces.to_pylist() if abs(r["yaw"]) < 30 and r["uncertainty"] < 5]
    assert found == expected and 0 < len(found) < 1000


def test_without_a_query_all_faces_in_order(faces):
    assert select(faces) == faces


def test_a_sample_depends_on_the_seed_alone(faces):
    first, again, other = (select(faces, count=100, seed=seed)["source"].to_pylist() for seed in (1, 1, 2))
    assert first == again != other and len(first) == len(set(first)) == 100
    shuffled = faces.take(np.random.default_rng(1).permutation(1000))
    assert select(shuffled, count=100, seed=1)["source"].to_pylist() == first
    assert 400 < np.mean([int(name[9:13]) for name in first]) < 600, "a sample is not the beginning"


def test_a_balance_fills_the_bins_evenly(faces):
    yaws = select(faces, balance=[Balance("yaw", 15)], count=300)["yaw"].to_numpy()
    assert len(yaws) == 300
    there = Counter(np.floor((faces["yaw"].to_numpy() + 7.5) / 15).astype(int))
    kept = Counter(np.floor((yaws + 7.5) / 15).astype(int))
    full = [count for place, count in kept.items() if count < there[place]]
    assert max(full) - min(full) <= 1
    assert all(count == there[place] for place, count in kept.items() if count < min(full))


def test_a_balance_without_a_number_keeps_the_bins_equal(faces):
    yaws = select(faces, "abs(yaw) < 22.5", balance=[Balance("yaw", 15)])["yaw"].to_numpy()
    assert len(set(Counter(np.floor((yaws + 7.5) / 15)).values())) == 1


def test_a_balance_over_two_columns_is_a_grid():
    table = faces_table([0.0] * 30 + [40.0] * 30)
    pitches = pa.array([0.0] * 20 + [40.0] * 10 + [0.0] * 25 + [40.0] * 5, pa.float32())
    table = table.set_column(table.schema.get_field_index("pitch"), rows.LABELS.field("pitch"), pitches)
    found = select(table, balance=[Balance("yaw", 15), Balance("pitch", 15)], count=20).to_pylist()
    assert Counter((row["yaw"], row["pitch"]) for row in found) == dict.fromkeys(
        [(0, 0), (0, 40), (40, 0), (40, 40)], 5
    )


@given(sizes=st.dictionaries(st.text("ab", max_size=3), st.integers(1, 50), min_size=1), count=st.integers(1, 200))
def test_quotas_are_as_even_as_the_bins_allow(sizes, count):
    quotas = quotas_of(sizes, count, balanced=True)
    assert sum(quotas.values()) == min(count, sum(sizes.values()))
    assert all(0 <= quotas[name] <= sizes[name] for name in sizes)
    most = max(quotas.values())
    assert all(quotas[name] >= most - 1 or quotas[name] == sizes[name] for name in sizes)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("yaw >", "syntax"),
        ("nope > 1", "nope"),
        ("1=1) OR (2=2", "syntax"),
        ("true; DROP TABLE faces", "modifiers|syntax"),
        ("source in (SELECT content FROM read_text('/etc/hosts'))", "disabled"),
        ("source in (SELECT secret FROM outside)", "outside"),
        ("source::INTEGER > 0", "fails: Conversion Error"),
        ("abs(yaw) > 100", "no face fits"),
        ("readable > 0.5", "the column readable is empty"),
    ],
)
def test_a_query_that_cannot_be_used_is_one_line(faces, query, message):
    outside = pa.table({"secret": ["pictures/0001.jpg"]})
    with pytest.raises(InputError, match=f"(?i){message}") as caught:
        select(faces, query)
    assert "\n" not in str(caught.value)
    assert outside.num_rows == 1


@pytest.mark.parametrize("text", ["yaw", "yaw:0", "yaw:-5", "yaw:x", "source:3", "nope:3", "yaw;DROP:3", "yaw:1e9"])
def test_a_balance_that_cannot_be_used_is_refused(text):
    with pytest.raises(InputError, match="balance"):
        Balance.parse(text)


@pytest.fixture(scope="module")
def run(sources, tmp_path_factory):
    """Labels of pictures, an archive and a video, named from their folder."""
    out = tmp_path_factory.mktemp("run") / "out"
    done = label("pictures", "set.tar", "clip.mp4", "--out", out, "--workers", 1, "-q", cwd=sources)
    assert done.returncode == 0, done.stderr
    return out


def test_the_csv_is_the_data_of_headpose_train(run, sources, tmp_path, capsys):
    (tmp_path / "lists").mkdir()
    out = tmp_path / "lists" / "list.csv"
    query = "member is null and frame is null"
    assert cli.main(["select", str(run), "--query", query, "--out", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}: faces: 5\n", "")
    samples = manifest.read(out)
    assert [sample.image.resolve() for sample in samples] == sorted((sources / "pictures").rglob("[0-9].jpg"))
    faces = [row for row in selection.dataset(run)[0].to_table().to_pylist() if row["frame"] is row["member"] is None]
    for sample, row in zip(samples, faces, strict=True):
        assert list(sample.euler) == pytest.approx([row["yaw"], row["pitch"], row["roll"]], abs=1e-4)
        assert list(sample.box) == pytest.approx([row["x1"], row["y1"], row["x2"], row["y2"]], abs=1e-3)


def test_faces_without_a_file_are_counted(run, tmp_path, capsys):
    out = tmp_path / "list.csv"
    assert cli.main(["select", str(run), "--out", str(out), "--n", "1000000"]) == 0
    err = capsys.readouterr().err
    with out.open() as file:
        listed = list(csv.DictReader(file))
    without = sum(row["image"] == "" for row in listed)
    assert without == len(listed) - 5 and f"{without} of them are in videos" in err
    assert f"--n asks for 1,000,000 faces, and {len(listed)} fit the query" in err


def exported(run, tmp_path, form, suffix):
    out = tmp_path / f"faces{suffix}"
    assert cli.main(["select", str(run), "--out", str(out), "--format", form]) == 0
    faces = selection.select(selection.dataset(run)[0]).to_pylist()
    return out.read_text("utf-8"), faces


def test_coco(run, tmp_path):
    text, faces = exported(run, tmp_path, "coco", ".json")
    coco = json.loads(text)
    assert [category["name"] for category in coco["categories"]] == ["face"]
    assert len(coco["annotations"]) == len(faces)
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == len(coco["images"]) == len({(r["source"], r["member"], r["frame"]) for r in faces})
    for annotation, face in zip(coco["annotations"], faces, strict=True):
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == pytest.approx(
            (face["x1"], face["y1"], face["x2"], face["y2"]), abs=1e-3
        )
        assert annotation["area"] == pytest.approx(width * height) and annotation["segmentation"] == []
        assert annotation["attributes"]["yaw"] == face["yaw"]
        image = images[annotation["image_id"]]
        assert (image["width"], image["height"]) == (256, 256)
    assert len({annotation["id"] for annotation in coco["annotations"]}) == len(faces)


def test_cvat(run, tmp_path):
    text, faces = exported(run, tmp_path, "cvat", ".xml")
    root = ElementTree.fromstring(text.encode())
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    (described,) = root.iterfind("meta/task/labels/label")
    declared = {each.findtext("name"): each.findtext("input_type") for each in described.iter("attribute")}
    assert described.findtext("name") == "face" and set(declared.values()) == {"text"}
    stems = [image.get("name").rpartition(".")[0] for image in root.iter("image")]
    assert len(stems) == len(set(stems)), "CVAT and Datumaro know pictures by their names without extension"
    for name in ("/pictures/0", "set.tar/0", "clip.mp4/000000"):
        assert any(stem.endswith(name) for stem in stems)
    boxes = [(image, box) for image in root.iter("image") for box in image.iter("box")]
    for (image, box), face in zip(boxes, faces, strict=True):
        assert float(box.get("xtl")) == pytest.approx(max(face["x1"], 0), abs=0.01)
        assert float(box.get("ybr")) == pytest.approx(min(face["y2"], 256), abs=0.01)
        assert (box.get("label"), image.get("width")) == ("face", "256")
        attributes = {each.get("name"): float(each.text) for each in box.iter("attribute")}
        assert attributes["roll"] == pytest.approx(face["roll"], abs=1e-3)
        assert set(attributes) <= set(declared)


def test_fiftyone(run, sources, tmp_path, capsys):
    text, faces = exported(run, tmp_path, "fiftyone", ".json")
    stored = json.loads(text)
    assert stored["classes"] == ["face"]
    # FiftyOne opens absolute paths as they are; a picture that it does not find would end its import.
    assert [Path(name) for name in stored["labels"]] == sorted((sources / "pictures").rglob("[0-9].jpg"))
    assert all(Path(name).is_absolute() for name in stored["labels"])
    in_files = [face for face in faces if face["frame"] is face["member"] is None]
    assert f"{len(faces) - len(in_files)} of them are in videos" in capsys.readouterr().err
    listed = [face for detections in stored["labels"].values() for face in detections]
    for detection, face in zip(listed, in_files, strict=True):
        x, y, width, height = detection["bounding_box"]
        assert [256 * v for v in (x, y, x + width, y + height)] == pytest.approx(
            [face["x1"], face["y1"], face["x2"], face["y2"]], abs=1e-3
        )
        assert detection["confidence"] == face["score"]
        assert detection["attributes"]["pitch"] == face["pitch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.json"], "must end in .csv for csv; state --format coco or fiftyone"),
        (["--out", "a.csv", "--format", "coco"], "must end in .json for coco"),
        (["--out", "a.csv", "--balance", "yaw"], "balance needs COLUMN:WIDTH"),
        (["--out", "nowhere/a.csv"], "nowhere does not exist"),
        (["--out", "a.json", "--format", "fiftyone", "--query", "frame = 1"], "a.json would be empty"),
        (["--out", "a.csv", "--query", "yaw <"], "cannot use the query"),
    ],
)
def test_a_mistake_is_one_line(run, monkeypatch, tmp_path, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["select", str(run), *words]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_not_finished_or_not_there_are_refused(run, tmp_path):
    unfinished = tmp_path / "out"
    (unfinished / "labels").mkdir(parents=True)
    (unfinished / "manifest.json").write_text((run / "manifest.json").read_text())
    with pytest.raises(DataError, match=r"not finished \(0 of 1 parts\)"):
        selection.dataset(unfinished)
    with pytest.raises(DataError, match="does not exist"):
        selection.dataset(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the column source is missing"):
        selection.dataset(tmp_path / "empty")
