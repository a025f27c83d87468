"""What the documentation prints is what docs/results.json says, and its commands exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from headpose import weights
from headpose.cli import main
from headpose.report import folder

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"


def test_the_page_and_the_table_come_out_of_the_figures(tmp_path):
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    readme.write_bytes((REPO / "README.md").read_bytes())
    command = ["report", str(DOCS / "results.json"), "--docs", str(page), "--readme", str(readme)]
    assert main(command) == 0
    again = "run headpose report docs/results.json --docs docs/results.md --readme README.md"
    assert page.read_text() == (DOCS / "results.md").read_text("utf-8"), again
    assert readme.read_text() == (REPO / "README.md").read_text("utf-8"), again
    assert (tmp_path / "results.json").read_text() == (DOCS / "results.json").read_text("utf-8"), again


@pytest.mark.parametrize("measure", ["geodesic", "mae", "MB"])
def test_another_figure_is_another_page(tmp_path, measure):
    """The comparison above can fail: every kind of figure reaches the page and the README."""
    record = json.loads((DOCS / "results.json").read_text("utf-8"))
    if measure == "MB":
        next(r for r in record["robustness"]["results"] if r["condition"] == "MB")["mae"] += 1
    else:
        record["networks"][0][measure] += 0.02
    (tmp_path / "results.json").write_text(json.dumps(record))
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    readme.write_bytes((REPO / "README.md").read_bytes())
    assert main(["report", str(tmp_path / "results.json"), "--docs", str(page), "--readme", str(readme)]) == 0
    assert page.read_text() != (DOCS / "results.md").read_text("utf-8")
    assert readme.read_text() != (REPO / "README.md").read_text("utf-8")


def test_figures_are_of_the_networks_that_are_published():
    found = folder.read(DOCS / "results.json")
    measured = {network.name: network for network in found.networks if network.kind == "ours"}
    assert measured
    for name, network in measured.items():
        info = weights.lookup(name)
        assert list(network.sha256.values()) == [info.sha256] and network.bytes == info.bytes
        assert network.geodesic == pytest.approx(info.metrics["aflw2000_geodesic"], abs=0.006)
        assert network.mae == pytest.approx(info.metrics["aflw2000_mae"], abs=0.006)


def commands() -> list[list[str]]:
    """The commands of docs/devices.md that are this project's."""
    lines = re.findall(r"^    (.+)$", (DOCS / "devices.md").read_text("utf-8"), re.MULTILINE)
    words = [shlex.split(line, comments=True) for line in lines]
    return [each for each in words if each[0] == "headpose" or " ".join(each[:2]).startswith("python eval/")]


@cache
def help_of(program: tuple[str, ...]) -> str:
    ran = subprocess.run([sys.executable, *program, "--help"], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_devices_exist(words):
    known = help_of(("-m", "headpose", words[1]) if words[0] == "headpose" else (words[1],))
    flags = [word for word in words if re.match(r"--\w", word)]
    assert not [flag for flag in flags if not re.search(rf"{flag}\b", known)]
