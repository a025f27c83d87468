"""What the tests of the command line share."""

from __future__ import annotations

import numpy as np
import pytest

from headpose import cli
from tests.network_files import color_network
from tests.videos import write_video


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return color_network(tmp_path_factory.mktemp("networks") / "color.onnx")


@pytest.fixture
def estimate(network, capfd):
    """Runs ``headpose estimate``; returns exit status, stdout and stderr, with what C libraries write."""

    def run(*arguments):
        capfd.readouterr()
        status = cli.main(["estimate", "--model", str(network), "--threads", "1", *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def astronaut(repo):
    return repo / "examples" / "astronaut.jpg"


@pytest.fixture
def clip(tmp_path, photo):
    """A video of five frames in which the face moves to the right."""
    return write_video(tmp_path / "clip.mp4", [np.roll(photo, 8 * index, 1)[:300, :400] for index in range(5)])
