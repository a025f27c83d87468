"""Documents as files: Markdown with its images, and one HTML file.

The HTML file is self-contained and legible on a phone.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from headpose import files
from headpose.report.document import Block, Picture, Section, Table, Text, markdown

MARKDOWN, HTML = "report.md", "report.html"

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: #fff; color: #1c2733;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 2px solid #e3e8ee; }
p { margin: .6rem 0; max-width: 54rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin-bottom: 1rem; }
a { color: #0b5cad; }
code { font-size: .9em; background: #f1f4f7; padding: .05em .3em; border-radius: 3px; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: left; border-bottom: 1px solid #e3e8ee; vertical-align: top;
  white-space: nowrap; }
th { background: #f5f7f9; font-weight: 600; }
th:first-child, td:first-child { position: sticky; left: 0; background: inherit; min-width: 8rem;
  white-space: normal; }
tr { background: #fff; }
thead tr { background: #f5f7f9; }
td.number, th.number { text-align: right; }
tr.ours { background: #eaf4ff; }
tr.ours td:first-child { font-weight: 600; }
tr.published { color: #6b7785; font-style: italic; background: #fcfcfc; }
details { margin: .4rem 0; color: #43505e; font-size: .92rem; }
summary { cursor: pointer; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: .6rem 0; max-width: 40rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #43505e; }
"""
_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg"}
_NUMBER = re.compile(r"[-+~]?[\d.,]+ ?%?(?: [\[(;/].*)?|-|-; [\d.]+|[\d.]+; .*")


def write(folder: Path, title: str, sections: Sequence[Section], figures: str = "") -> None:
    """Write a document into a folder as Markdown with its images, and as HTML.

    Args:
        folder: Existing folder.
        title: First heading.
        sections: Sections of the document.
        figures: Name of an existing subfolder of ``folder`` for the images; empty for ``folder`` itself.

    Raises:
        HeadPoseError: A file cannot be written.
    """
    for picture in (block for section in sections for block in section.blocks if isinstance(block, Picture)):
        files.write_bytes(folder / figures / picture.name, picture.data)
    files.write_text(folder / MARKDOWN, markdown(title, sections, figures))
    files.write_text(folder / HTML, render(title, sections))


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the document as HTML."""
    heading = html.escape(title)
    links = "".join(f'<a href="#{_anchor(s.title)}">{html.escape(s.title)}</a>' for s in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{heading}</h1>\n<nav>{links}</nav>\n" + "\n".join(map(_section, sections)) + "\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f'<section>\n<h2 id="{_anchor(section.title)}">{html.escape(section.title)}</h2>']
    pictures: list[str] = []
    for block in (*section.blocks, None):
        if isinstance(block, Picture):
            pictures.append(_picture(block))
            continue
        if pictures:  # adjacent images share a row if there is room
            parts.append(f'<div class="pictures">\n{"".join(pictures)}</div>')
            pictures = []
        if block is not None:
            parts.append(_block(block))
    return "\n".join([*parts, "</section>"])


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    assert isinstance(block, Text)
    if block.summary:
        return f"<details><summary>{html.escape(block.summary)}</summary><p>{_words(block.words)}</p></details>"
    return f"<p>{_words(block.words)}</p>"


def _table(table: Table) -> str:
    columns = range(len(table.head))
    numeric = [i > 0 and all(_NUMBER.fullmatch(row.cells[i]) for row in table.rows) for i in columns]
    mark = ['class="number"' if each else "" for each in numeric]
    head = "".join(f"<th {mark[i]}>{_words(cell)}</th>" for i, cell in enumerate(table.head))
    lines = []
    for row in table.rows:
        cells = "".join(f"<td {mark[i]}>{_words(cell)}</td>" for i, cell in enumerate(row.cells))
        lines.append(f'<tr class="{html.escape(row.kind)}">{cells}</tr>')
    body = "\n".join(lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _picture(picture: Picture) -> str:
    kind = _TYPES[picture.name[picture.name.rindex(".") :]]
    data, alt = base64.b64encode(picture.data).decode(), html.escape(picture.alt)
    return f'<figure><img src="data:{kind};base64,{data}" alt="{alt}"><figcaption>{alt}</figcaption></figure>\n'


def _words(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
