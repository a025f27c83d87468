"""The notebooks run from top to bottom, and the outputs stored in them are those of such a run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPO

NOTEBOOKS = sorted((REPO / "examples").glob("*.ipynb"))
NUMBER = r"[+-]?\d+(?:\.\d+)?"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that executes a notebook in a folder of its own and returns it with the new outputs."""
    shutil.copy(REPO / "examples" / "astronaut.jpg", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # the command headpose
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def execute(name: str) -> nbformat.NotebookNode:
        book = nbformat.read(REPO / "examples" / name, 4)
        client = NotebookClient(book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
        return client.execute()

    return execute


def texts(book: nbformat.NotebookNode) -> list[str]:
    """Return what the cells print and show as text."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return [text for text in shown if not text.startswith("<")]  # a figure, a picture


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_holds_the_outputs_of_one_run(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {"stream", "execute_result", "display_data"} >= {output.output_type for output in outputs}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < 300_000
    assert not re.search(r"/tmp/|/home/|/root/|%\|", path.read_text("utf-8"))  # nor the bars of progress


def test_the_notebook_of_a_video_shows_what_it_reads(run):
    stored = texts(nbformat.read(REPO / "examples" / "video.ipynb", 4))
    shown = texts(run("video.ipynb"))
    assert len(stored) == 2
    for text, expected in zip(shown, stored, strict=True):
        assert re.sub(NUMBER, "#", text).split() == re.sub(NUMBER, "#", expected).split()
        numbers, documented = ([float(value) for value in re.findall(NUMBER, each)] for each in (text, expected))
        assert numbers == pytest.approx(documented, abs=0.5)
    counted = dict(re.findall(r"^(measured|smoothed) +(\d+)\.0", shown[-1], re.MULTILINE))
    assert counted == {"measured": "75", "smoothed": "75"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="its command lines are those of a POSIX shell")
def test_the_notebook_of_a_training_ends_with_a_smaller_network(run):
    pytest.importorskip("anny")
    last = texts(run("train_and_compress.ipynb"))[-1]
    sizes = {name: float(size) for name, size in re.findall(r"^(\S+) +([\d.]+) MB  yaw [+-]\d+", last, re.MULTILINE)}
    assert sizes["compact"] > 4
    assert 0.1 < sizes["student-int8"] < 0.2 * sizes["compact"]
