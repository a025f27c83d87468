"""Build a document of sections, paragraphs, tables and pictures. ``page`` writes it as HTML and as files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from headpose.errors import InputError

_LINE = 120


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; what stands between backticks is code. ``summary`` folds it away behind that line where it can."""

    words: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells of a table's line; ``kind`` sets it apart from others: "ours", "peer" or "published"."""

    cells: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the cells of every row are as many as those of the head."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if any(len(row.cells) != len(self.head) for row in self.rows):
            raise InputError(f"a row has another number of cells than the head {self.head}")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's file content; ``name`` ends in .svg, .png or .jpg."""

    name: str
    alt: str
    data: bytes


Block = Text | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def markdown(title: str, sections: Sequence[Section], pictures: str = "") -> str:
    """Write a document as Markdown.

    Args:
        title: the first heading.
        sections: the document.
        pictures: the folder of the pictures' files, relative to the Markdown file; empty for the same folder.

    Returns:
        The text. A paragraph with a summary begins with that summary, as Markdown folds nothing away.
    """
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [markdown_block(block, pictures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """The table as Markdown."""
    head, *lines = (
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        for cells in (table.head, *(row.cells for row in table.rows))
    )
    return "\n".join([head, "|---" * len(table.head) + "|", *lines])


def paragraph(words: str) -> str:
    """A paragraph in lines of the repository's length; links are not broken."""
    return textwrap.fill(words, _LINE, break_long_words=False, break_on_hyphens=False)


def markdown_block(block: Block, pictures: str = "") -> str:
    """Return one block as Markdown; a picture is linked as ``pictures``/NAME."""
    if isinstance(block, Table):
        return markdown_table(block)
    if isinstance(block, Picture):
        return f"![{block.alt}]({f'{pictures}/' if pictures else ''}{block.name})"
    return paragraph(f"{block.summary}: {block.words}" if block.summary else block.words)
