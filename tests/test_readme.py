"""The README is run: its Python, the flags it names, the files it links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import pytest

REPO = Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text("utf-8")
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *sorted(path.relative_to(REPO).as_posix() for path in REPO.glob("docs/**/*.md")),
]
# Where PyPI, which has no pictures of its own, finds those of the README.
PICTURES = "https://raw.githubusercontent.com/open-headpose/headpose/main/"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The command lines of the README, split as a shell would."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@cache
def help_of(program: tuple[str, ...]) -> str:
    """What ``--help`` prints."""
    ran = subprocess.run([sys.executable, *program, "--help"], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_python_of_the_readme_runs(tmp_path):
    (tmp_path / "examples").symlink_to(REPO / "examples")
    for block in blocks("python"):
        ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        assert re.search(r"yaw [+-]\d+\.\d  pitch [+-]\d+\.\d  roll [+-]\d+\.\d", ran.stdout)
    assert (tmp_path / "poses.jpg").stat().st_size > 10_000


def test_the_readme_shows_what_the_demo_prints_and_draws(tmp_path):
    drawn = tmp_path / "astronaut.jpg"
    command = [sys.executable, "-m", "headpose", "estimate", "examples/astronaut.jpg", "--out", str(drawn)]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    (shown,) = blocks("text")
    number = r"[+-]?\d+(?:\.\d+)?"
    assert re.sub(number, "#", shown) == re.sub(number, "#", ran.stdout)
    printed, documented = ([float(value) for value in re.findall(number, text)] for text in (ran.stdout, shown))
    assert documented == pytest.approx(printed, abs=0.5), "run make demo and copy what it prints into the README"
    picture, documented_picture = cv2.imread(str(drawn)), cv2.imread(str(REPO / "docs" / "astronaut.jpg"))
    assert picture is not None and documented_picture is not None
    changed = (cv2.absdiff(picture, documented_picture).max(axis=2) > 100).sum()
    assert changed < 20, "run make demo and copy output/astronaut.jpg to docs/"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_readme_exist(words):
    if words[0] == "make":
        makefile = (REPO / "Makefile").read_text("utf-8")
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
        assert all(re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.MULTILINE) for word in words[2:])
        return
    program = ("-m", "headpose", words[1]) if words[0] == "headpose" else (words[1],)
    assert words[0] in ("headpose", "python")
    flags = [word for word in words if re.match(r"--\w", word)]
    known = help_of(program)
    assert not [flag for flag in flags if not re.search(rf"{flag}\b", known)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_of_the_documents_lead_somewhere(document):
    text = (REPO / document).read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    pictures = [target.removeprefix(PICTURES) for target in targets if target.startswith(PICTURES)]
    assert not [picture for picture in pictures if not (REPO / picture).exists()]
    local = [target for target in targets if not target.startswith("http")]
    assert not [target for target in local if not ((REPO / document).parent / target).exists()]
    named = re.findall(r"`((?:headpose|apps|eval|tests|docs|examples|scripts)/[\w./-]+)`", text)
    assert not [name for name in named if not (REPO / name).exists()]


def test_pictures_of_the_readme_have_absolute_addresses():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert pictures
    assert all(picture.startswith(PICTURES) for picture in pictures)


def test_the_license_of_the_default_weights_stands_before_the_first_example():
    start = README[: README.index("```python")]
    assert "research only" in start and "compact-clean" in start
