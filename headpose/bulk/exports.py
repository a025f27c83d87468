"""Write selected faces for other programs: CSV, COCO, CVAT, FiftyOne."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa

from headpose import files
from headpose.bulk import storage
from headpose.errors import InputError

_ANGLES = ("yaw", "pitch", "roll")
_ATTRIBUTES = (*_ANGLES, "uncertainty", "readable", "quality", "track")
_CLASS = "face"


def _csv(table: pa.Table, out: Path, base: Path) -> str:
    """Manifest of ``headpose train`` with further columns; ``image`` is empty for frames and members of archives."""
    text = io.StringIO()
    boxes = ("x1", "y1", "x2", "y2")
    names = ("image", "source", "member", "frame", "time_s", "face", *boxes, "score", *_ATTRIBUTES)
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in _rows(table):
        writer.writerow(row | {"image": _image(row, out.parent, base)})
    return text.getvalue()


def _coco(table: pa.Table, out: Path, base: Path) -> str:
    """COCO's detection format; the angles are attributes of an annotation."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (row, faces) in enumerate(_pictures(table), 1):
        name = _image(row, out.parent, base) or _name(row)
        images.append({"id": number, "file_name": name, "width": row["width"], "height": row["height"]})
        for face in faces:
            width, height = face["x2"] - face["x1"], face["y2"] - face["y1"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [face["x1"], face["y1"], width, height],
                    "area": width * height,
                    "segmentation": [],  # readers such as Datumaro miss it otherwise
                    "iscrowd": 0,
                    "score": face["score"],
                    "attributes": _attributes(face),
                }
            )
    categories = [{"id": 1, "name": _CLASS, "supercategory": "person"}]
    return _json({"images": images, "annotations": annotations, "categories": categories})


def _cvat(table: pa.Table, out: Path, base: Path) -> str:
    """CVAT for images 1.1. CVAT takes no coordinates outside of a picture, so boxes are clipped to it."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    _add_labels(root)
    for number, (row, faces) in enumerate(_pictures(table)):
        width, height = row["width"], row["height"]
        name = _image(row, out.parent, base) or _name(row)
        image = ElementTree.SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        for face in faces:
            corners = {
                "xtl": min(max(face["x1"], 0.0), width),
                "ytl": min(max(face["y1"], 0.0), height),
                "xbr": min(max(face["x2"], 0.0), width),
                "ybr": min(max(face["y2"], 0.0), height),
            }
            places = {name: f"{value:.2f}" for name, value in corners.items()}
            fixed = {"label": _CLASS, "source": "auto", "occluded": "0", "z_order": "0"}
            box = ElementTree.SubElement(image, "box", fixed | places)
            for name, value in _attributes(face).items():
                ElementTree.SubElement(box, "attribute", name=name).text = f"{value:g}"
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _add_labels(root: ElementTree.Element) -> None:
    """Add the description of the label, which Datumaro reads and which a task of CVAT needs to keep the attributes."""
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    label = ElementTree.SubElement(ElementTree.SubElement(task, "labels"), "label")
    ElementTree.SubElement(label, "name").text = _CLASS
    attributes = ElementTree.SubElement(label, "attributes")
    for name in _ATTRIBUTES:
        attribute = ElementTree.SubElement(attributes, "attribute")
        # Not "number": CVAT's numbers lie on the steps of a range.
        for key, value in (("name", name), ("mutable", "False"), ("input_type", "text"), ("values", "")):
            ElementTree.SubElement(attribute, key).text = value


def _fiftyone(table: pa.Table, out: Path, base: Path) -> str:
    """``labels.json`` of FiftyOne's FiftyOneImageDetectionDataset; boxes are relative.

    FiftyOne takes an absolute path as it is. It looks others up in a folder by their names without extension, and
    refuses a data set that names a picture which is not there. So pictures that are not local files are left out.
    """
    labels = {}
    for row, faces in _pictures(table):
        if not _is_file(row):
            continue
        width, height = row["width"], row["height"]
        labels[_absolute(row, base)] = [
            {
                "label": _CLASS,
                "bounding_box": [
                    face["x1"] / width,
                    face["y1"] / height,
                    (face["x2"] - face["x1"]) / width,
                    (face["y2"] - face["y1"]) / height,
                ],
                "confidence": face["score"],
                "attributes": _attributes(face),
            }
            for face in faces
        ]
    if not labels:
        raise InputError(f"{out} would be empty: FiftyOne takes local picture files, not frames, archives or addresses")
    return _json({"classes": [_CLASS], "labels": labels})


FORMATS: Mapping[str, Callable[[pa.Table, Path, Path], str]] = {
    "csv": _csv,
    "coco": _coco,
    "cvat": _cvat,
    "fiftyone": _fiftyone,
}
"""Formats of ``write``. ``csv`` is the manifest that ``headpose train`` reads."""

SUFFIX = {"csv": ".csv", "coco": ".json", "cvat": ".xml", "fiftyone": ".json"}
"""Extension of each format."""


def write(table: pa.Table, out: Path, form: str, base: Path) -> None:
    """Write selected faces to a file.

    Args:
        table: Rows of ``selection.select``.
        out: File to write. Paths of local pictures in it are relative to its folder.
        form: One of ``FORMATS``.
        base: Folder that relative sources start from.

    Raises:
        HeadPoseError: The file cannot be written, or the format can name none of the pictures.
    """
    files.write_text(out, FORMATS[form](table, out, base))


def without_file(table: pa.Table) -> int:
    """Return the number of faces in pictures that are not local files: frames, members of archives, remote files."""
    return sum(not _is_file(row) for row in table.select(["source", "member", "frame"]).to_pylist())


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.drop_columns(["rotation"]).to_batches(4096):
        yield from batch.to_pylist()


def _pictures(table: pa.Table) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield the first row and all rows of each picture; the rows of a picture follow each other."""
    for _, group in groupby(_rows(table), key=lambda row: (row["source"], row["member"], row["frame"])):
        faces = list(group)
        yield faces[0], faces


def _is_file(row: dict[str, Any]) -> bool:
    return row["member"] is None and row["frame"] is None and not storage.is_url(row["source"])


def _image(row: dict[str, Any], folder: Path, base: Path) -> str:
    """Return the path of a local picture file relative to ``folder``, with slashes; "" if the picture is not a file."""
    if not _is_file(row):
        return ""
    path = _absolute(row, base)
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path


def _absolute(row: dict[str, Any], base: Path) -> str:
    """Return the absolute path of a local picture file, with slashes."""
    return Path(os.path.abspath(base / row["source"])).as_posix()  # noqa: PTH100, links are kept


def _name(row: dict[str, Any]) -> str:
    """Return a name of a picture that is not a local file: of its archive and member, or video and frame.

    It differs from other names also without its extension, by which CVAT and Datumaro know pictures.
    """
    if row["frame"] is not None:
        return f"{row['source']}/{row['frame']:06d}.jpg"
    return row["source"] if row["member"] is None else f"{row['source']}/{row['member']}"


def _attributes(row: dict[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in _ATTRIBUTES if row[name] is not None}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
