"""The documentation site is built strictly, documents every public name and asks no other server for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headpose
from headpose import weights

REPO = Path(__file__).resolve().parent.parent
LOADED = r'<(?:script|img|iframe|source)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"'


def build(folder: Path, config: Path = REPO / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """Build the site into a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_public_name_is_on_the_page_of_the_interface(site):
    page = (site / "api.html").read_text("utf-8")
    names = set(headpose.__all__) - {"__version__"}
    assert {name for name in names if f'id="headpose.{name}"' in page} == names
    assert 'id="headpose._HOME"' not in page


def test_every_network_has_its_card(site):
    for name in weights.manifest():
        assert f'<h1 id="{name}">' in (site / "models" / f"{name}.html").read_text("utf-8")


def test_no_page_asks_another_server(site):
    pages = list(site.rglob("*.html"))
    loaded = [first or second for page in pages for first, second in re.findall(LOADED, page.read_text("utf-8"))]
    assert len(loaded) > len(pages)
    assert not [address for address in loaded if re.match(r"(https?:)?//", address)]
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)


def test_links_to_source_files_name_files_that_exist(site):
    address = r'href="https://github\.com/[\w-]+/[\w-]+/blob/main/([^"#]+)'
    named = {path for page in site.rglob("*.html") for path in re.findall(address, page.read_text("utf-8"))}
    assert {"headpose/crop.py", "headpose/losses.py", "headpose/smoothing.py", "headpose/networks/export.py"} <= named
    assert not [path for path in named if not (REPO / path).exists()]


def test_the_architecture_names_every_package():
    page = (REPO / "docs" / "architecture.md").read_text("utf-8")
    modules = {
        path.stem for path in (REPO / "headpose").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    named = set(re.findall(r"`(\w+)`", page.partition("## The packages")[2]))
    assert not {module for module in modules if not module.startswith("_")} - named


def test_a_broken_link_is_an_error(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[gone](gone.md)\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {REPO / 'mkdocs.yml'}\ndocs_dir: {docs}\nnav: [index.md]\nplugins: []\nhooks: []\n")
    built = build(tmp_path / "site", config)
    assert built.returncode != 0 and "gone.md" in built.stderr
