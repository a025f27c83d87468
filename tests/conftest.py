"""What every test shares: where things are, and one thread per process."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Before numpy, OpenCV or torch are imported, here and in every program that a test starts: on a small
# machine threads that wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HEADPOSE_DATA", REPO.parent / "shared" / "data"))


# A busy machine is no failure; and CI judges a change by the same examples every time.
settings.register_profile("headpose", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
# make fuzz: many examples, none of them longer than a while: an input that hangs a reader is a fault too.
settings.register_profile(
    "fuzz", max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")), deadline=20_000, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "headpose")


def pytest_configure(config: pytest.Config) -> None:
    cv2.setNumThreads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what is marked ``data`` where the data sets are absent: they may not be redistributed."""
    if DATA.is_dir():
        return
    absent = pytest.mark.skip(reason=f"no data sets in {DATA}: set HEADPOSE_DATA to their folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(absent)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture
def load_program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a program by its path, so that it runs in this process without new imports."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_program", REPO / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the data sets (aflw2000/, aflw/, helen/); skips the test where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets in {DATA}: set HEADPOSE_DATA to their folder")
    return DATA


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of headpose, moved into the test's folder on every system. It does not exist yet."""
    for variable in ("XDG_CACHE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):  # Linux and macOS; Windows (platformdirs)
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    return tmp_path / "cache" / "headpose"


@pytest.fixture
def photo(repo: Path) -> NDArray[np.uint8]:
    """(512, 512, 3) uint8 BGR: examples/astronaut.jpg, one face."""
    image = cv2.imread(str(repo / "examples" / "astronaut.jpg"), cv2.IMREAD_COLOR)
    assert image is not None, "examples/astronaut.jpg is missing"
    return np.asarray(image, np.uint8)
