"""The program that measures how steady networks are: what it takes, prints, writes and refuses."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from headpose.datasets import sequences
from tests.evaluation.foreign import adapter_file, linear_network
from tests.evaluation.plain_sequences import plain_sequences
from tests.network_files import color_network
from tests.videos import write_video

COLORS = {"angles": (np.array([[255, 0, 0], [0, 0, 255], [0, 0, 0]]), np.array([-128, -128, 0]))}
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")


@pytest.fixture
def run(load_program, monkeypatch, capfd):
    program = load_program("eval/stability.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stability", *map(str, arguments)])
        try:
            status = program.main()
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(sys.argv, status, *capfd.readouterr())

    return run


@pytest.fixture
def networks(tmp_path):
    """A network of ours that reads 100 degrees a unit of color, and somebody else's that reads 255."""
    (peers := tmp_path / "peers").mkdir()
    linear_network(peers / "net.onnx", COLORS)
    ours, theirs = color_network(tmp_path / "color.onnx"), adapter_file(tmp_path / "theirs.toml")
    return ours, theirs, "--peers", peers, "--threads", 1


@needs_numba
def test_rendered_heads_that_are_there_are_read(run, networks, tmp_path):
    from headpose.synth.sequences import settings

    root = tmp_path / "sequences"
    sequences.write(root, 0, plain_sequences(root), settings())
    done = run(*networks, "--sequences", root, "--heads", 1, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    ours, theirs = (each["figures"] for each in record["rendered"])
    assert theirs["gain"] == pytest.approx(1, abs=0.01)
    assert ours["gain"] == pytest.approx(100 / 255, abs=0.01)
    assert theirs["pitch mouth open"] == pytest.approx(-5, abs=0.01)
    assert ours["pitch mouth open"] == pytest.approx(-500 / 255, abs=0.01)
    assert record["clips"] == [] and set(record["networks_sha256"]) == {"color", "theirs"}
    assert "| theirs | -5.0 |" in done.stdout and "Rendered: 1 heads" in done.stdout


def test_a_video_with_a_face(run, networks, photo, tmp_path):
    face = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)
    random = np.random.default_rng(0)
    frames = [np.clip(face + 40.0 * random.normal(), 0, 255).astype(np.uint8) for _ in range(24)]
    clip = write_video(tmp_path / "flicker.avi", frames)
    done = run(*networks, "--clips", clip, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads((tmp_path / "out.json").read_text())["clips"]
    assert (ours["clip"], ours["network"], ours["frames"]) == ("flicker", "color", 18)
    assert theirs["median"] > 1.5 * ours["median"] > 1  # brightness flickers, and both read it as angles
    assert "Jitter on 1 videos (flicker), 18 frames" in done.stdout
    assert "boxes of blazeface" in done.stdout


def test_a_run_that_ends_early_leaves_the_videos_it_has_read(run, networks, photo, tmp_path):
    clip = write_video(tmp_path / "a.avi", [cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)] * 20)
    done = run(*networks, "--clips", clip, write_video(tmp_path / "b.avi", 20), "--json", tmp_path / "out.json")
    assert done.returncode == 1 and "b has no face" in done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert {each["clip"] for each in record["clips"]} == {"a"}
    assert "Videos: 1," in record["protocol"]


def test_what_cannot_be_measured(run, networks, photo, tmp_path):
    write_video(tmp_path / "empty.avi", 20)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    cases = [
        ((*networks,), "nothing to measure on"),
        ((*networks, "--clips", tmp_path / "empty.avi"), "has no face"),
        ((*networks, "--clips", tmp_path / "photo.png"), "is no video"),
        ((*networks, "--clips", tmp_path / "gone.avi"), "gone.avi"),
        ((*networks, "--clips", "x/a.avi", "y/a.avi"), "two of the videos have one name"),
        ((networks[0], *networks, "--clips", tmp_path / "empty.avi"), "two of the networks have one name"),
        (("fsanet", "--clips", tmp_path / "empty.avi"), "--peers"),
    ]
    for arguments, says in cases:
        done = run(*arguments, "--json", tmp_path / "out.json")
        assert done.returncode == 1 and says in done.stderr, done.stderr
        assert done.stderr.startswith("stability: error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.json").exists()
