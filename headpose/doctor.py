"""Check of an installation: versions, conflicting packages, devices, networks and the detector."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from headpose import weights
from headpose._version import __version__
from headpose.choices import DEFAULT_MODEL
from headpose.errors import HeadPoseError, install_advice

_DISTRIBUTION = "open-headpose"
_NAMESAKE = "headpose"  # an unrelated distribution on PyPI whose import package has the same name
_RUNTIME = ("numpy", "platformdirs", "tqdm")
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)[^;\[]*;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        status: ``ok``; ``note`` for a limitation; ``problem`` if ``headpose estimate`` fails with its defaults.
        subject: Checked component.
        detail: Result of the check, and how to fix a problem.
    """

    status: Literal["ok", "note", "problem"]
    subject: str
    detail: str


def examine() -> list[Finding]:
    """Run all checks and return their results in the order in which ``headpose doctor`` prints them."""
    return [
        Finding("ok", "headpose", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"),
        *_namesake(),
        *(Finding("ok", name, _version(name) or "not installed as a package") for name in _RUNTIME),
        *_opencv(),
        *_onnx_runtime(),
        *_extras(),
        *_models(),
        _detector(),
    ]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _installed(distributions: tuple[str, ...]) -> dict[str, str]:
    return {name: version for name in distributions if (version := _version(name))}


def _namesake() -> Iterator[Finding]:
    """Report the distribution ``headpose``: pip writes both into one folder, and the last one installed wins."""
    if version := _version(_NAMESAKE):
        clash = f"{version}, an unrelated distribution, shares the folder headpose/ with {_DISTRIBUTION}"
        advice = f"pip uninstall {_NAMESAKE}, then reinstall {_DISTRIBUTION}"
        yield Finding("problem", f"package {_NAMESAKE}", f"{clash}: {advice}")


def _opencv() -> Iterator[Finding]:
    import cv2

    found = _installed(_OPENCV)
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(set(found.values())) > 1:
        advice = "they share one cv2/ folder and overwrite each other: install them all at one version"
        yield Finding("problem", "OpenCV", f"{listed}; {advice}")
    elif len(found) > 1:
        yield Finding("note", "OpenCV", f"{listed}; they share one cv2/ folder: keep them at one version")
    else:
        yield Finding("ok", "OpenCV", listed or f"{cv2.__version__}, the system's own")
    build = cv2.getBuildInformation()
    gui = _build_entry(build, "GUI")
    if gui in ("", "NONE"):
        yield Finding("note", "windows", "this OpenCV is a headless build and opens no windows: install opencv-python")
    else:
        yield Finding("ok", "windows", gui)
    gstreamer = _build_entry(build, "GStreamer").startswith("YES")
    yield Finding("ok" if gstreamer else "note", "GStreamer", "yes" if gstreamer else "not in this OpenCV build")


def _build_entry(build: str, key: str) -> str:
    match = re.search(rf"^\s*{key}:[ \t]*(\S.*)?$", build, re.MULTILINE)
    return (match.group(1) or "").strip() if match else ""


def _onnx_runtime() -> Iterator[Finding]:
    import onnxruntime

    found = _installed(_ONNX_RUNTIME)
    listed = ", ".join(f"{name} {version}" for name, version in found.items()) or onnxruntime.__version__
    if len(found) > 1:
        yield Finding("problem", "ONNX Runtime", f"{listed}; they overwrite each other: keep one, reinstall it")
    else:
        yield Finding("ok", "ONNX Runtime", listed)
    yield from _devices()


def _devices() -> Iterator[Finding]:
    """Yield the result of loading the detector on each device, except TensorRT, whose engine takes minutes to build."""
    from headpose.detection.blazeface import MODEL
    from headpose.inference import create_session, installed_devices

    for device in installed_devices():
        if device == "tensorrt":
            yield Finding("ok", f"device {device}", "in this ONNX Runtime; not tried")
            continue
        try:
            create_session(MODEL, device=device)
            yield Finding("ok", f"device {device}", "starts")
        except HeadPoseError as error:
            yield Finding("problem" if device == "cpu" else "note", f"device {device}", str(error))


def _extras() -> Iterator[Finding]:
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("note", "extras", f"{_DISTRIBUTION} is not installed as a package: pip install -e .")
        return
    wanted: dict[str, list[str]] = {}
    for requirement in requirements:
        if (match := _REQUIREMENT.match(requirement)) and match["name"] != _DISTRIBUTION:
            wanted.setdefault(match["extra"], []).append(match["name"])
    for extra, names in wanted.items():
        missing = [name for name in names if _version(name) is None]
        if missing:
            detail = f"without {', '.join(missing)}: {install_advice(extra)}"
            yield Finding("note", f"extra {extra}", detail)
        else:
            yield Finding("ok", f"extra {extra}", "complete")


def _models() -> Iterator[Finding]:
    models = weights.manifest()
    if not models:
        yield Finding("note", "models", "none in the manifest of this version")
    for name in models:
        try:
            yield Finding("ok", f"model {name}", f"{weights.find(name)}, SHA-256 as in the manifest")
        except HeadPoseError as error:  # all but the default are optional: some are not in the wheel
            yield Finding("problem" if name == DEFAULT_MODEL else "note", f"model {name}", str(error))


def _detector() -> Finding:
    from headpose.detection import create_detector

    try:
        return Finding("ok", "detector", f"{create_detector().name} loads")
    except HeadPoseError as error:
        return Finding("problem", "detector", str(error))
