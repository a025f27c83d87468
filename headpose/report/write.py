"""Output of the report: a folder with Markdown and HTML, a page of the documentation, and the table in the README."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from headpose import files
from headpose.errors import DataError, HeadPoseError
from headpose.evaluation import latency as stages
from headpose.evaluation import published
from headpose.report import faces, page, plots, tables
from headpose.report.document import Block, Picture, Section, Text, markdown, markdown_table, paragraph
from headpose.report.faces import Predicted
from headpose.report.records import Results, to_json
from headpose.report.standing import single_threaded

TITLE = "Results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
JSON, FIGURES = "results.json", "figures"

_QUALITY = 85
_MEASURED = (
    "All networks of this project, and the others measured here, were evaluated on the same faces. Published rows are "
    "listed with the protocols of their sources."
)


def write_folder(out: str | os.PathLike[str], results: Results, predicted: Predicted | None = None) -> Path:
    """Write the report as Markdown with image files, as one HTML file, and the results as JSON.

    Args:
        out: Folder, created if it does not exist.
        results: Results to report.
        predicted: Predictions, for the worst cases; None to omit them. The folder then contains photographs of the
            data set, and a ``.gitignore`` excludes those files from version control.

    Returns:
        Path of the HTML file.

    Raises:
        HeadPoseError: matplotlib is not installed, or a file cannot be written.
    """
    folder = Path(out)
    sections = _sections(results, with_plots=True)
    sheets = _worst(predicted) if predicted else None
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadPoseError(f"cannot write into {folder}: {error.strerror}") from None
    if sheets:
        ignored = f"# photographs of a data set\n/{page.HTML}\n/{FIGURES}/worst-*.jpg\n"
        files.write_text(folder / ".gitignore", ignored)
        sections.append(sheets)
    page.write(folder, TITLE, sections, FIGURES)
    files.write_text(folder / JSON, to_json(results))
    return folder / page.HTML


def docs_page(results: Results) -> str:
    """Return docs/results.md, the report without images."""
    intro = Text(
        "Written by `headpose report docs/results.json --docs docs/results.md --readme README.md`; a test compares. To "
        "measure all again, run `python eval/all.py --data AFLW2000 --models "
        "student,student-int8,student-wide,student-wide-int8,compact,compact-clean,opentrack,3ddfa_v2,lwpose,fsanet,"
        "whenet --peers NETWORKS --out DIR --sequences HEADS --clips VIDEO ...`, then "
        "`headpose report DIR --data AFLW2000 --docs docs/results.md`, "
        "which writes `results.json` too. [protocols.md](protocols.md) describes the effect of each choice of a "
        "protocol, [robustness.md](robustness.md) the corruptions, [devices.md](devices.md) measurements on a Pi, a "
        "Jetson or a PC."
    )
    first, *rest = _sections(results, with_plots=False)
    return markdown(TITLE, [Section(first.title, (intro, *first.blocks)), *rest])


def readme_block(results: Results) -> str:
    """Return the table of the README, with the markers around it."""
    table = markdown_table(tables.overview(results, published.load(), headline=True))
    timed = f" {_timed(results)}" if results.latency else ""
    about = (
        f"Degrees on {results.networks[0].n} faces of AFLW2000-3D; MB, LB and OC are the paper's corrupted copies of "
        f"them, the mean of the three.{timed} Published rows are their authors' figures. `headpose report "
        "docs/results.json --docs docs/results.md --readme README.md` writes this table and "
        "[docs/results.md](docs/results.md), which has intervals, protocols and sources."
    )
    return f"{BEGIN}\n{table}\n\n{paragraph(about)}\n{END}"


def with_readme_block(text: str, results: Results) -> str:
    """Replace the table in the text of the README.

    Raises:
        DataError: The text has no markers, or more than one pair.
    """
    pattern = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise DataError(f"the README needs one line {BEGIN}, followed by one line {END}: the table goes between them")
    return pattern.sub(lambda _: readme_block(results), text)


def _sections(results: Results, with_plots: bool) -> list[Section]:
    theirs = published.load()
    timed = f"{_timed(results)} " if results.latency else ""
    legend = Text(
        f"{_MEASURED} {timed}A network is on the front of size or time if no other "
        "measured one is at least as good in both that and the Euler MAE, and better in one."
    )
    fronts: Sequence[Picture] = plots.fronts(results, theirs) if with_plots else ()
    sections = [Section("Size, time, error, robustness", (legend, tables.overview(results, theirs), *fronts))]
    curves = plots.curves(results) if with_plots else []
    errors = tables.accuracy(results.networks)
    sections.append(Section(errors.title, (*errors.blocks, *curves)))
    if results.robustness:
        sections.append(tables.robustness(results.robustness, results.networks, theirs))
    if results.stability:
        sections.append(tables.stability(results.stability, results.networks))
    if results.latency:
        sections.append(tables.latency(results.latency))
    if results.compressed:
        sections.append(tables.compressed(results.compressed))
    return [*sections, tables.others(theirs)]


def _timed(results: Results) -> str:
    """Return the explanation of the time columns; empty if there are none."""
    if results.latency is None:
        return ""
    reference, words = results.latency.reference, []
    words.append(f"Time: the network alone, one thread, relative to {reference}'s in the same run.")
    words.append("Frames/s: the same thread, from the JPEG of a frame with one face to its pose, detector included.")
    run = single_threaded(results)
    whole = run.median(reference, stages.WHOLE) if run else None
    detect = next((row.median for row in run.times_ms if row.stage.endswith(stages.DETECT)), None) if run else None
    if whole and detect:
        machine = results.latency.setting.partition(";")[0]
        words.append(f"Of {reference}'s {whole:.1f} ms the detector takes {detect:.1f} ({machine}).")
    return " ".join(words)


def _worst(predicted: Predicted) -> Section:
    blocks: list[Block] = [
        Text(
            "The faces with the largest geodesic error, the label's axes on the left, the prediction's on the right. "
            "These are photographs of the data set: do not publish this file."
        )
    ]
    for name in predicted.angles:
        sheet = faces.worst_sheet(name, predicted)
        data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        blocks.append(Picture(f"worst-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.jpg", name, data))
    return Section("Worst cases", tuple(blocks))
