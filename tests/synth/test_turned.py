"""Folders of turned photographs: the same whoever writes them, split with their sources, refused in one line."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from headpose import cli, geometry
from headpose.datasets import manifest, splits, w300lp
from headpose.errors import DataError
from headpose.images import read_image, write_image
from headpose.synth import layout, turned
from headpose.synth.turned import Settings
from headpose.types import Box, EulerAngles, Sample
from tests.synth.heads import bare_scene
from tests.synth.test_writer import content

SETTINGS = Settings(seed=5, size=48, views=2)
PHOTOGRAPHS = 23  # two chunks
FIELDS = ["image", "x1", "y1", "x2", "y2", "yaw", "pitch", "roll", "spread", "group"]


@pytest.fixture(scope="module")
def source(tmp_path_factory, studio):
    """A manifest of rendered heads, and the landmarks of some of them."""
    from headpose.synth.render import render, stage

    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    names, marks = [], []
    with (root / "faces.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for index in range(PHOTOGRAPHS):
            euler = rng.uniform([-50, -15, -10], [50, 15, 10])
            head = render(stage(bare_scene(studio, euler, index), studio, 64), studio)
            write_image(root / f"face{index}.png", head.image)
            label = geometry.euler_from_rotation(head.rotation)
            table.writerow([f"face{index}.png", *head.box.as_tuple(), *label, index, f"album-{index // 2}"])
            if index % 3:
                names.append(f"face{index}")
                marks.append(head.landmarks[:, :2])
    np.savez(root / "points.npz", image=np.array(names), points=np.array(marks))
    return root


@pytest.fixture(scope="module")
def read(source):
    return turned.read_source(source / "faces.csv", source / "points.npz")


@pytest.fixture(scope="module")
def written(read, tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned") / "out"
    assert turned.write(SETTINGS, read, folder) == PHOTOGRAPHS * SETTINGS.views
    return folder


def test_both_readers_get_the_same_labels(written, read):
    ours, theirs = manifest.read(written / "manifest.csv"), w300lp.read(written)
    assert [sample.image for sample in ours] == [sample.image for sample in theirs]
    assert len(ours) == PHOTOGRAPHS * SETTINGS.views
    for one, other in zip(ours, theirs, strict=True):
        assert geometry.geodesic_degrees(one.rotation, other.rotation) < 1e-3
        assert one.box.as_tuple() == pytest.approx(other.box.as_tuple(), abs=1e-3)
        assert read_image(one.image).shape == (48, 48, 3)
    assert len({sample.group for sample in theirs}) == PHOTOGRAPHS  # its reader groups views of a photograph


def test_weight_and_group_are_the_photographs(written, read):
    ours = manifest.read(written / "manifest.csv")
    for number, sample in enumerate(ours):
        photograph = read.samples[number // SETTINGS.views]
        assert sample.group == photograph.group
        assert sample.weight == pytest.approx(photograph.weight, abs=1e-4)


def test_a_photograph_and_its_turned_versions_are_on_one_side(written, read):
    training, validation = splits.split([*read.samples, *manifest.read(written / "manifest.csv")], 0.4, 0)
    assert training
    assert validation
    assert not {sample.group for sample in training} & {sample.group for sample in validation}


def test_two_processes_write_the_same_files(written, read, tmp_path):
    turned.write(SETTINGS, read, tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(written)


def test_a_killed_run_goes_on_to_the_same_files(written, source, tmp_path):
    command = [sys.executable, "-m", "headpose", "synth", "turn", "--source", source / "faces.csv", "--out"]
    command += [tmp_path / "out", "--landmarks", source / "points.npz", "--size", "48", "--seed", "5", "--views", "2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(3000):
            if (tmp_path / "out/turned-00/turn_000002_0.jpg").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out/manifest.csv").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == content(written)
    assert "46 turned photographs" in done.stdout


def test_damaged_chunks_are_made_again(written, read, tmp_path):
    folder = tmp_path / "again"
    assert turned.write(SETTINGS, read, folder) == 46
    cut = folder / "views" / "000000.jsonl.gz"
    cut.write_bytes(cut.read_bytes()[:100])
    (folder / "turned-00/turn_000007_1.jpg").unlink()
    assert turned.write(SETTINGS, read, folder) == layout.CHUNK * SETTINGS.views
    assert content(folder) == content(written)
    assert turned.write(SETTINGS, read, folder) == 0


def test_another_seed_gives_other_views(written, read, turner, tmp_path):
    first, other = (
        turned.draw_view(dataclasses.replace(SETTINGS, seed=seed), read.samples[0], 0, 0) for seed in (5, 6)
    )
    assert first != other
    with pytest.raises(DataError, match=r"of other settings \(seed 5, not 6\): give another --out"):
        turned.write(dataclasses.replace(SETTINGS, seed=6), read, written)
    changed = dataclasses.replace(read, sha256="x")
    with pytest.raises(DataError, match=r"of other settings \(source .*, not 'x'\): give another --out"):
        turned.write(SETTINGS, changed, written)


@pytest.mark.parametrize("own", [(0, 0, 0), (40, 20, 5), (-75, -30, -10), (110, 70, 0)])
def test_poses_go_outwards_from_the_photographs_own(own, tmp_path):
    sample = Sample(tmp_path / "a.jpg", Box(0, 0, 10, 10), EulerAngles(*own), 1.0, "a")
    views = np.array([turned.draw_view(SETTINGS, sample, index, 0).euler for index in range(400)])
    for angles, start, largest in ((views[:, 0], own[0], 99), (views[:, 1], own[1], 60)):
        if start:
            assert (np.sign(start) * angles >= abs(start) - 1e-9).all()
            assert abs(angles).max() <= max(largest, abs(start))
            assert abs(angles).mean() == pytest.approx((abs(start) + max(largest, abs(start))) / 2, abs=4)
        else:
            assert angles.min() < -0.95 * largest
            assert angles.max() > 0.95 * largest
            assert abs(angles.mean()) < 0.1 * largest
    assert np.std(views[:, 2]) == pytest.approx(8, abs=1.5)


def test_later_attempts_stay_nearer(tmp_path):
    sample = Sample(tmp_path / "a.jpg", Box(0, 0, 10, 10), EulerAngles(0, 0, 0), 1.0, "a")
    reach = [
        max(abs(turned.draw_view(SETTINGS, sample, index, 0, attempt).euler.yaw) for index in range(200))
        for attempt in range(5)
    ]
    assert reach == sorted(reach, reverse=True)
    assert reach[-1] < 25


def test_the_landmarks_decide_where_there_are_any(read, source, turner):
    without = dataclasses.replace(read, landmarks={})
    settings = dataclasses.replace(SETTINGS, size=96)
    for index, same in ((0, True), (1, False)):  # the first has none
        first, second = (turned.make(settings, each, index, turner)[0][1].image for each in (read, without))
        assert np.array_equal(first, second) == same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--source absent.csv --out a", "cannot read absent.csv"),
        ("--source faces.csv --out a --landmarks absent.npz", "cannot read the landmarks absent.npz"),
        ("--source faces.csv --out a --landmarks others.npz", "others.npz name no picture of faces.csv"),
        ("--source faces.csv --out a --size 20", "--size must be 48 to 1024 pixels, got 20"),
        ("--source faces.csv --out a --yaw 120", "--yaw must be 0 to 99 degrees, got 120"),
        ("--source faces.csv --out a --pitch -1", "--pitch must be 0 to 60 degrees, got -1"),
        ("--source faces.csv --out a --yaw nan", "--yaw must be 0 to 99 degrees, got nan"),
        ("--source faces.csv --out .", "holds photographs of the source"),
        ("--source damaged.csv --out a", "cannot read .*damaged.png|damaged.png"),
        ("--source faces.csv --out faces.csv", "faces.csv"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(source, arguments, message, tmp_path, monkeypatch, capfd):
    for file in source.iterdir():
        (tmp_path / file.name).symlink_to(file)
    np.savez(tmp_path / "others.npz", image=np.array(["x"]), points=np.zeros((1, 68, 2)))
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    (tmp_path / "damaged.csv").write_text(",".join(FIELDS[:8]) + "\ndamaged.png,1,1,9,9,5,5,5\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["synth", "turn", *arguments.split()]) == 1
    err = capfd.readouterr().err.splitlines()[-1]
    assert err.startswith("headpose: error: ")
    assert re.search(message, err), err
    assert not list(tmp_path.rglob("*.mat"))
    assert not (tmp_path / "manifest.csv").exists()
