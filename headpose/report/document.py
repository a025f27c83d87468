"""Documents of sections, paragraphs, tables and images, and their Markdown. ``page`` writes them as files and HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from headpose.errors import InputError

_LINE = 120


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph.

    Attributes:
        words: Plain text, with code between backticks.
        summary: Line behind which HTML collapses the paragraph; empty to show it.
    """

    words: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        cells: Text of each cell.
        kind: Style of the row in HTML: "ours", "peer", "published", or empty.
    """

    cells: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; all rows have as many cells as the head."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if any(len(row.cells) != len(self.head) for row in self.rows):
            raise InputError(f"all rows must have as many cells as the head {self.head}")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file.

    Attributes:
        name: File name, ending in .svg, .png or .jpg.
        alt: Alternative text, also the caption.
        data: Content of the file.
    """

    name: str
    alt: str
    data: bytes


Block = Text | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its content."""

    title: str
    blocks: tuple[Block, ...]


def markdown(title: str, sections: Sequence[Section], pictures: str = "") -> str:
    """Return a document as Markdown.

    Args:
        title: First heading.
        sections: Sections of the document.
        pictures: Folder of the image files, relative to the Markdown file; empty for the same folder.

    Returns:
        The text. A paragraph with a summary begins with its summary, as Markdown cannot collapse it.
    """
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [markdown_block(block, pictures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """Return a table as Markdown."""
    head, *lines = (
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        for cells in (table.head, *(row.cells for row in table.rows))
    )
    return "\n".join([head, "|---" * len(table.head) + "|", *lines])


def paragraph(words: str) -> str:
    """Return a paragraph wrapped to 120 characters, without breaking links."""
    return textwrap.fill(words, _LINE, break_long_words=False, break_on_hyphens=False)


def markdown_block(block: Block, pictures: str = "") -> str:
    """Return one block as Markdown; an image is linked as ``pictures``/NAME."""
    if isinstance(block, Table):
        return markdown_table(block)
    if isinstance(block, Picture):
        return f"![{block.alt}]({f'{pictures}/' if pictures else ''}{block.name})"
    return paragraph(f"{block.summary}: {block.words}" if block.summary else block.words)
