"""The examples in docstrings and documents: each runs, and each passes the type checker as strictly as the code."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import pytest
from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import headpose
from tests.conftest import REPO
from tests.videos import write_video

HAS_BULK = all(map(importlib.util.find_spec, ("duckdb", "fsspec", "pyarrow")))
MODULES = ["dataframe", "draw", "estimator", "neutral", "types", "weights"]


def document(path: Path) -> Document:
    """Parse the Python blocks of a document; ``<!--- skip: next -->`` in it skips the block that follows."""
    return Sybil([SkipParser(), PythonCodeBlockParser()]).parse(path)


def blocks(path: Path) -> list[str]:
    """Return the Python blocks of a document, also those that cannot run here."""
    return [str(example.parsed) for example in Sybil([PythonCodeBlockParser()]).parse(path)]


DOCUMENTS = [path for path in sorted(REPO.glob("docs/**/*.md")) + sorted(REPO.glob("weights/*.md")) if blocks(path)]


NUMBER = r"[+-]?\d+(?:\.\d+)?"


class Nearly(doctest.OutputChecker):
    """Takes angles that another processor rounds differently."""

    def check_output(self, want, got, optionflags):
        if re.sub(NUMBER, "#", want) != re.sub(NUMBER, "#", got):
            return False
        wanted, printed = ([float(value) for value in re.findall(NUMBER, text)] for text in (want, got))
        return printed == pytest.approx(wanted, abs=0.5)


def examples(module):
    """The doctests of a module, which know every public name."""
    loaded = importlib.import_module(f"headpose.{module}")
    public = {name: getattr(headpose, name) for name in headpose.__all__}
    found = doctest.DocTestFinder().find(loaded, extraglobs=public)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module, repo, tmp_path, monkeypatch):
    shutil.copy(repo / "examples" / "astronaut.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(Nearly())
    tests = examples(module)
    assert tests
    complaints: list[str] = []
    for test in tests:
        runner.run(test, out=complaints.append)
    assert not complaints, "".join(complaints)


@pytest.fixture(scope="module")
def files_of_the_documents(repo, tmp_path_factory) -> Path:
    """Return a folder with the files that the documents read."""
    folder = tmp_path_factory.mktemp("documents")
    photo = shutil.copy(repo / "examples" / "astronaut.jpg", folder / "photo.jpg")
    write_video(folder / "video.mp4", [cv2.resize(headpose.read_image(photo), (256, 256))] * 3)
    export = ["weights", "to-safetensors", "student", "--out", str(folder / "network.safetensors")]
    subprocess.run([sys.executable, "-m", "headpose", *export], cwd=repo, check=True, capture_output=True, timeout=120)
    if HAS_BULK:
        label = [sys.executable, "-m", "headpose", "label", "photo.jpg", "--out", "labels", "--workers", "1"]
        env = os.environ | {"PYTHONPATH": str(repo)}
        subprocess.run(label, cwd=folder, env=env, check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(REPO).as_posix())
def test_the_python_of_a_document_runs(path, files_of_the_documents, monkeypatch):
    if path.name == "bulk.md" and not HAS_BULK:
        pytest.skip("the extra bulk is not installed")
    monkeypatch.chdir(files_of_the_documents)
    for example in document(path):
        example.evaluate()


def test_the_python_of_documents_is_found_and_a_marked_block_is_skipped(tmp_path):
    names = {path.relative_to(REPO).as_posix() for path in DOCUMENTS}
    assert {"docs/index.md", "docs/guides/photo.md", "docs/guides/webcam.md", "docs/compression.md"} <= names
    path = tmp_path / "page.md"
    path.write_text("```python\na = 1\n```\n\n<!--- skip: next -->\n\n```python\na = 1 / 0\n```\n")
    page = document(path)
    for example in page:
        example.evaluate()
    assert page.namespace["a"] == 1
    assert len(blocks(path)) == 2


@pytest.mark.slow
def test_the_examples_pass_the_type_checker(repo, tmp_path):
    parts = ["from PIL import Image\n", "import headpose\nfrom headpose import *\nfrom headpose import geometry\n"]
    for index, path in enumerate([repo / "README.md", *DOCUMENTS]):  # the blocks of one document share their names
        parts.append(f"def document_{index}() -> None:\n{textwrap.indent(''.join(blocks(path)), '    ')}")
    for test in (test for module in MODULES for test in examples(module)):
        body = "".join(example.source for example in test.examples)
        parts.append(f"def {test.name.replace('.', '_')}() -> None:\n{textwrap.indent(body, '    ')}")
    parts.append("def pil(e: headpose.HeadPoseEstimator) -> None:\n    e(Image.new('RGB', (9, 9)))\n")
    file = tmp_path / "examples.py"
    file.write_text("\n".join(parts), "utf-8")
    options = ["--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)], cwd=repo, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
