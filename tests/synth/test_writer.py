"""Folders of heads: the same whoever writes them, and read by the reader of 300W-LP."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headpose import geometry
from headpose.datasets import manifest, matlab5, w300lp
from headpose.errors import DataError, HeadPoseError
from headpose.images import read_image
from headpose.synth import layout, writer
from headpose.synth import render as render_module
from headpose.synth.writer import Settings

SETTINGS = Settings(seed=3, size=48)
COUNT = 23  # two chunks


def content(folder):
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "heads"
    assert writer.write(SETTINGS, COUNT, folder) == COUNT
    return folder


def test_the_reader_of_300w_lp_gets_back_what_was_drawn(written, studio):
    samples = w300lp.read(written)
    assert len(samples) == COUNT
    assert len({sample.group for sample in samples}) == COUNT  # each is a photograph of its own
    _, rendered = writer.make(SETTINGS, 4, studio)
    sample = samples[4]
    assert sample.box.as_tuple() == pytest.approx(rendered.box.as_tuple())
    assert geometry.geodesic_degrees(sample.rotation, rendered.rotation) < 1e-5
    picture = read_image(sample.image)
    assert picture.shape == (48, 48, 3)
    others = [abs(read_image(each.image).astype(int) - rendered.image).mean() for each in samples]
    assert np.argmin(others) == 4
    assert abs(picture.astype(int) - rendered.image).mean() < 10  # JPEG, of a noisy picture


def test_the_manifest_agrees_with_the_label_files(written):
    ours, theirs = manifest.read(written / "manifest.csv"), w300lp.read(written)
    assert [sample.image for sample in ours] == [sample.image for sample in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.euler == pytest.approx(other.euler, abs=1e-5)
        assert one.box.as_tuple() == pytest.approx(other.box.as_tuple(), abs=1e-3)
    head, first = (line.split(",") for line in (written / "manifest.csv").read_text().splitlines()[:2])
    row = dict(zip(head, first, strict=True))
    matrix = [[float(row[f"r{i}{j}"]) for j in range(3)] for i in range(3)]
    assert geometry.geodesic_degrees(matrix, ours[0].rotation) < 1e-4


def test_two_processes_write_the_same_files(written, tmp_path):
    writer.write(SETTINGS, COUNT, tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(written)


def test_an_interrupted_run_goes_on_to_the_same_files(written, tmp_path):
    folder = tmp_path / "again"
    assert writer.write(SETTINGS, 21, folder) == 21
    cut = folder / "scenes" / "000000.jsonl.gz"
    cut.write_bytes(cut.read_bytes()[:100])  # as a full disk leaves it
    (folder / layout.picture_path(7)).unlink()
    assert writer.write(SETTINGS, COUNT, folder) == COUNT
    assert content(folder) == content(written)
    assert writer.write(SETTINGS, COUNT, folder) == 0


def test_other_settings_do_not_mix(written):
    with pytest.raises(DataError, match=r"heads of other settings \(seed 3, not 4\): give another --out"):
        writer.write(dataclasses.replace(SETTINGS, seed=4), 1, written)


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="no asset folder"):
        writer.write(dataclasses.replace(SETTINGS, asset_folder=str(tmp_path)), 1, tmp_path / "heads")
    assert not (tmp_path / "heads").exists()
    (tmp_path / "synth.json").write_text("[1]")
    with pytest.raises(DataError, match="cannot use the folder"):
        writer.write(SETTINGS, 1, tmp_path)


def test_two_runs_do_not_share_a_folder(tmp_path):
    hold = "import pathlib, sys\nfrom headpose import folders\n"
    hold += "with folders.occupied(pathlib.Path(sys.argv[1])):\n print('ready', flush=True)\n sys.stdin.read()\n"
    command = [sys.executable, "-c", hold, tmp_path / "heads"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(HeadPoseError, match="in use by another run"):
            writer.write(SETTINGS, 1, tmp_path / "heads")
        process.communicate("")
    assert not (tmp_path / "heads").exists()


def test_new_head_axes_turn_the_labels_and_nothing_else(written, tmp_path, monkeypatch):
    def measured_anew():
        turn = geometry.rotation_from_euler([0.0, -2.5, 0.0])
        monkeypatch.setattr(writer, "FRAME", (0.0, writer.FRAME[1] + 2.5, 0.0))
        for module in (render_module, layout):
            monkeypatch.setattr(module, "LABEL", module.LABEL @ turn)

    folder = tmp_path / "turned"
    shutil.copytree(written, folder)
    measured_anew()
    assert writer.write(SETTINGS, COUNT, folder) == 0
    assert writer.write(SETTINGS, COUNT, tmp_path / "fresh") == COUNT
    assert content(folder) == content(tmp_path / "fresh")
    for ours, theirs in zip(w300lp.read(folder), w300lp.read(written), strict=True):
        assert geometry.geodesic_degrees(ours.rotation, theirs.rotation) == pytest.approx(2.5, abs=1e-6)
        assert ours.image.read_bytes() == theirs.image.read_bytes()

    shutil.copytree(written, tmp_path / "damaged")
    (tmp_path / "damaged" / layout.picture_path(20)).with_suffix(".mat").write_bytes(b"short")
    with pytest.raises(DataError, match=r"cannot turn the label .*synth_000020_0\.mat.*another --out"):
        writer.write(SETTINGS, COUNT, tmp_path / "damaged")


def test_a_hidden_face_is_drawn_again_in_the_same_pose(studio):
    from headpose.synth import scene
    from headpose.synth.render import stage

    first = (scene.draw(SETTINGS.seed, index, studio) for index in range(200))
    hidden = next(drawn for drawn in first if stage(drawn, studio, 48).hidden > 0.5)
    drawn, rendered = writer.make(SETTINGS, hidden.draws.index, studio)
    assert drawn.draws.attempt > 0
    assert rendered.hidden <= 0.5
    assert drawn.pose == hidden.pose


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 70)), elements=st.floats(-1e6, 1e6)))
def test_label_files_hold_what_was_put_in(array):
    arrays = matlab5.read(matlab5.pack({"Pose_Para": array, "pt2d": array.T}))
    assert np.array_equal(arrays["Pose_Para"], array)
    assert np.array_equal(arrays["pt2d"], array.T)


def test_label_files_are_matlabs(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    file = tmp_path / "label.mat"
    file.write_bytes(matlab5.pack({"pt3d_68": np.arange(204.0).reshape(3, 68), "x": np.ones((1, 1))}))
    assert np.array_equal(scipy_io.loadmat(file)["pt3d_68"], np.arange(204.0).reshape(3, 68))
