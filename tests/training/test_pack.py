"""A packed training set gives the crops, labels and shares of the data that it was made from."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from headpose import crop, read_image, write_image
from headpose.datasets import manifest, negatives
from headpose.recipes import training as recipe
from headpose.training import data
from headpose.types import Box, CropSpec

FACE = Box(178.0, 68.0, 282.0, 194.0)  # of the astronaut, in 512 x 512


@pytest.fixture(scope="module")
def packed(tmp_path_factory, repo):
    """A folder with the data of a recipe, the folder ``packed`` of its unpacked parts, and the parts."""
    root = tmp_path_factory.mktemp("pack")
    photo = read_image(repo / "examples" / "astronaut.jpg")
    rows = []
    for number, size in enumerate((1024, 512, 200)):
        scale = size / 512
        write_image(root / f"{number}.png", cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA))
        box = [round(value * scale, 3) for value in FACE.as_tuple()]
        rows.append([f"{number}.png", *box, 10.5 * number, -20.25, 4.0, 2.5, f"photo-{number}"])
    rows.append(["1.png", 300, 300, 400, 400, 1.0, 2.0, 3.0, 0.5, "photo-1"])  # two faces in a picture
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*manifest.COLUMNS, "spread", "group"], *rows])
    (root / "none").mkdir()
    write_image(root / "none" / "large.jpg", photo[250:, :])
    (root / "boxes.csv").write_text("image,x1,y1,x2,y2\nnone/large.jpg,100,50,200,150\n")
    sources = (
        '[{kind = "manifest", path = "labels.csv", weight = 2.0}, {kind = "negatives", path = "none", share = 0.1},'
        ' {kind = "negatives", path = "boxes.csv", share = 0.05},'
        ' {kind = "negatives", path = "labels.csv", share = 0.1}]'
    )
    script = repo / "scripts" / "pack_training_set.py"
    words = ["compact", "--out", "parts", "--set", f"data.sources={sources}", "--set", 'network.outputs=["face"]']
    done = subprocess.run([sys.executable, script, *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = sorted((root / "parts").iterdir())
    for part in parts:
        zipfile.ZipFile(part).extractall(root / "packed")
    return root, words


def test_crops_labels_and_settings_stay(packed, monkeypatch):
    root, words = packed
    monkeypatch.chdir(root)
    changes = words[words.index("--set") + 1 :: 2]
    before = recipe.load("compact", changes)
    after = recipe.load("compact", [*changes, (root / "packed" / "sources.txt").read_text()])
    for source, new in zip(before.data.sources, after.data.sources, strict=True):
        assert (new.kind, new.weight, new.share) == (source.kind, source.weight, source.share)
    faces = [data.read(each.data) for each in (before, after)]
    samples = [sorted(each.training + each.validation, key=lambda s: (s.group, s.box.y1)) for each in faces]
    assert len(samples[0]) == 4
    spec = CropSpec(size=64, scale=1.7)
    for old, new in zip(*samples, strict=True):
        assert (new.euler, new.group, new.spread, new.weight) == (old.euler, old.group, old.spread, old.weight)
        assert max(new.box.width, new.box.height) < 97 or new.image.name == "000001.jpg"
        pair = [crop.cut(read_image(each.image), each.box, spec).astype(float) for each in (old, new)]
        assert np.abs(pair[0] - pair[1]).mean() < 6
    assert max(read_image(samples[1][0].image).shape) < 330  # of 1024


def test_negatives_stay(packed):
    root, _ = packed
    whole, boxed, beside = (negatives.read(root / "packed" / f"{number}.csv") for number in (1, 2, 3))
    assert read_image(whole[0].image).shape == (131, 256, 3)
    assert boxed[0].box.as_tuple() == pytest.approx((50, 25, 100, 75), abs=0.01)
    assert {len(each.faces) for each in beside} <= {1, 2}


def test_parts_are_limited_and_a_folder_that_exists_is_kept(repo, tmp_path):
    rng = np.random.default_rng(0)
    lines = [",".join(manifest.COLUMNS)]
    for number in range(8):
        write_image(tmp_path / f"{number}.jpg", rng.integers(0, 255, (500, 500, 3), np.uint8))
        lines.append(f"{number}.jpg,5,5,495,495,1,20,3")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    source = f'data.sources=[{{kind = "manifest", path = "{(tmp_path / "labels.csv").as_posix()}"}}]'
    command = [sys.executable, repo / "scripts" / "pack_training_set.py", "compact", "--face", "500", "--part-mib", "1"]
    command += ["--set", source, "--out", tmp_path / "parts"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = sorted((tmp_path / "parts").iterdir())
    assert len(parts) > 1 and all(part.stat().st_size <= 2**20 for part in parts)
    names = [name for part in parts for name in zipfile.ZipFile(part).namelist()]
    assert len(set(names)) == len(names) == 8 + 2
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "exists: name a new folder" in done.stderr and done.stderr.count("\n") == 1
    assert [part for part in tmp_path.iterdir() if part.name.startswith(".")] == []


def test_other_tasks_are_refused(load_program, monkeypatch, tmp_path, capsys):
    program = load_program("scripts/pack_training_set.py")
    monkeypatch.setattr(sys, "argv", ["pack_training_set", "landmarks-vgg", "--out", str(tmp_path / "parts")])
    assert program.main() == 1
    assert "landmarks-vgg is for the task landmarks: only data of head poses" in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()
