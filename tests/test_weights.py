from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest

from headpose import weights
from headpose.errors import WeightsError
from headpose.types import CropSpec, ModelInfo

CONTENT = b"an ONNX file, for all that weights.py cares"

ENTRY = """
[small]
file = "small.onnx"
sha256 = "{sha256}"
bytes = 5000000
precision = "fp32"
license = "research-only"
license_terms = "research only"
data = "photographs"
recipe = "small"
parent = ""
crop = {{ size = 96, scale = 1.3, mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }}
metrics = {{ aflw2000_mae = 3.5 }}
"""


@pytest.fixture
def info():
    return ModelInfo(
        name="small",
        file="small.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        precision="fp32",
        license="research-only",
        license_terms="research only",
        data="photographs",
        recipe="small",
        parent="",
        crop=CropSpec(size=96),
    )


@pytest.fixture
def places(tmp_path, monkeypatch, info, user_cache):
    """A named folder and a user cache, both empty, and a manifest with one network."""
    named = tmp_path / "named"
    for folder in (named, user_cache):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HEADPOSE_WEIGHTS", str(named))
    monkeypatch.setattr(weights, "manifest", lambda: {"small": info, "other": dataclasses.replace(info, name="other")})
    return named, user_cache


def read(tmp_path, text):
    path = tmp_path / "models.toml"
    path.write_text(text, "utf-8")
    return weights.read_manifest(path)


def test_the_cache_folder_is_the_systems_own(monkeypatch):
    for variable in ("XDG_CACHE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        monkeypatch.delenv(variable, raising=False)
    caches = {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(sys.platform, ".cache")
    assert weights.cache_folder() == Path.home() / caches / "headpose"


def test_the_cache_folder_can_be_moved(user_cache):
    assert weights.cache_folder() == user_cache


def test_an_entry_is_read_whole(tmp_path):
    entry = read(tmp_path, ENTRY.format(sha256="ab" * 32))["small"]
    assert entry.name == "small" and entry.bytes == 5_000_000
    assert entry.crop == CropSpec(size=96, scale=1.3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert entry.metrics == {"aflw2000_mae": 3.5}
    assert entry.kind == "pose"


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("precision", "precission", "unknown key precission"),
        ('license = "research-only"\n', "", "missing key license"),
        ("5000000", '"5 MB"', "bytes"),
        ("5000000", "0", "bytes"),
        ('recipe = "small"', "recipe = 3", "recipe must be text"),
        ("5000000", "true", "bytes"),
        ('"small.onnx"', '"../small.onnx"', "file"),
        ('"small.onnx"', '""', "file"),
        ('"small.onnx"', '".."', "file"),
        ("3.5", "nan", "metrics"),
        ("3.5", "true", "metrics"),
        ("abab", "xyz", "sha256"),
        ('"fp32"', '"fp64"', "precision"),
        ('"research-only"', '"free"', "license one of permissive, research-only"),
        ("3.5", '"good"', "metrics"),
        ('recipe = "small"', 'recipe = "small"\nkind = "gaze"', "kind must be one of pose, landmarks"),
        ('recipe = "small"', 'recipe = "small"\nkind = 3', "kind must be text"),
        ("size = 96", "size = 96, margin = 3", "margin"),
        ("size = 96, ", "", "size"),
        ("size = 96", 'size = "96"', "size|supported"),
        ("[small]", "small = 3\n[x]", "table"),
        ("[small]", "[small", "cannot read the manifest"),
    ],
)
def test_a_wrong_manifest_is_an_error(tmp_path, find, replace, message):
    text = ENTRY.format(sha256="ab" * 32)
    assert find in text
    with pytest.raises(WeightsError, match=message):
        read(tmp_path, text.replace(find, replace, 1))


def test_the_packages_own_manifest_is_right_and_its_files_are_theirs():
    for name, info in weights.manifest().items():
        assert info.name == name
        path = weights.find(name)
        assert path.stat().st_size == info.bytes


def test_folders_are_searched_in_order(places):
    named, cache = places
    (cache / "small.onnx").write_bytes(CONTENT)
    assert weights.find("small") == cache / "small.onnx"
    (named / "small.onnx").write_bytes(CONTENT)
    assert weights.find("small") == named / "small.onnx"
    checkout = Path(weights.__file__).parent.parent / "weights"
    assert weights.search_folders().index(named) < weights.search_folders().index(checkout)
    assert weights.search_folders()[-1] == cache


def test_without_the_variable_the_checkout_comes_first(monkeypatch):
    monkeypatch.delenv("HEADPOSE_WEIGHTS", raising=False)
    assert weights.search_folders()[0].name == "weights"


def test_a_missing_file_is_reported_with_the_folders(places):
    with pytest.raises(WeightsError, match=rf"small.onnx is not in .*{places[0]}"):
        weights.find("small")


def test_an_altered_file_is_an_error_not_passed_over(places):
    named, cache = places
    (named / "small.onnx").write_bytes(CONTENT + b"!")
    (cache / "small.onnx").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"small.onnx is not model small of this version"):
        weights.find("small")


def test_an_unknown_name_lists_the_names(places):
    with pytest.raises(WeightsError, match="unknown model 'smal': the known models are small, other"):
        weights.find("smal")


def test_a_path_is_taken_as_it_is(places, tmp_path):
    own = tmp_path / "own.onnx"
    with pytest.raises(WeightsError, match="does not exist"):
        weights.find(own)
    own.write_bytes(b"anything")
    assert weights.find(own) == own
    assert weights.find(str(own)) == own


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("compact", False), ("compact.onnx", True), ("folder/compact", True), (Path("compact"), True)],
)
def test_what_is_a_path(argument, expected):
    assert weights.is_path(argument) is expected
