"""Connect the documentation site to the repository: hooks of MkDocs, named in ``mkdocs.yml``.

Model cards, the changelog, the contribution guide and the notebooks live outside of ``docs/``: the site shows them as
pages. Notebooks are converted to Markdown with their stored outputs; nothing runs here. (The plugin mkdocs-jupyter
takes only notebooks within ``docs/``, and its pages load MathJax from another server.) Documents link to each other and
to source files by relative paths, as on GitHub. These hooks turn a link to another document into a link to its page,
and a link to any other file into its address in the repository. A link to a missing file stays as it is, and ``mkdocs
build --strict`` refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def pages() -> dict[str, str]:
    """Map each document outside of ``docs/`` to its page of the site.

    Returns:
        Paths in the repository, and paths below ``docs/`` where the site shows them.
    """
    cards = {f"weights/{card.name}": f"models/{card.name}" for card in sorted((ROOT / "weights").glob("*.md"))}
    notebooks = {f"examples/{path.name}": f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.ipynb")}
    return (
        cards
        | notebooks
        | {
            "weights/README.md": "models/index.md",
            "CHANGELOG.md": "project/changelog.md",
            "CONTRIBUTING.md": "project/contributing.md",
        }
    )


def on_files(files: Files, *, config: Any) -> Files:
    """Add the documents outside of ``docs/`` to the site."""
    for source, page in pages().items():
        if source.endswith(".ipynb"):
            text, pictures = from_notebook(ROOT / source)
            files.append(File.generated(config, page, content=text))
            for name, content in pictures.items():
                files.append(File.generated(config, f"{posixpath.dirname(page)}/{name}", content=content))
        else:
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def from_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook with its stored outputs.

    Args:
        path: The ``.ipynb`` file.

    Returns:
        The Markdown text, and the pictures that it shows: file names, which begin with the notebook's, and contents.
    """
    resources: dict[str, Any] = {"unique_key": path.stem, "output_files_dir": ""}
    text, resources = MarkdownExporter().from_notebook_node(nbformat.read(path, 4), resources)
    # pandas brings a style sheet of its own with each table; without it the table looks like the site's.
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)
    text = text.replace('<table border="1" class="dataframe">', "<table>")
    return text, {posixpath.basename(name): content for name, content in resources["outputs"].items()}


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Point the links of one page to pages of the site, or to the repository."""
    return relink(markdown, page.file.src_uri, config.extra["source_url"])


def relink(markdown: str, page: str, source_url: str) -> str:
    """Rewrite the links that lead out of ``docs/``, or that were written for a document's place in the repository.

    Args:
        markdown: The text of the page.
        page: Path of the page below ``docs/``.
        source_url: Address of the repository's files, with a slash at its end.

    Returns:
        The text with the new links.
    """
    moved = pages()
    source = {target: path for path, target in moved.items()}.get(page, f"docs/{page}")

    def replaced(found: re.Match[str]) -> str:
        opening, link, closing = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if re.match(r"\w+:", link) or path.startswith("../") or not (ROOT / path).exists():
            return found.group()
        if path in moved or path.startswith("docs/"):
            shown = moved.get(path, path.removeprefix("docs/"))
            return f"{opening}{posixpath.relpath(shown, posixpath.dirname(page) or '.')}{closing}"
        return f"{opening}{source_url}{path}{closing}"

    return _LINK.sub(replaced, markdown)
