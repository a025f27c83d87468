"""Decoding in a process of its own: crashes and endless pictures cost one picture."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest

from headpose import ImageError, read_image
from headpose.bulk.decoder import Decoder, DecoderError
from tests.bulk.conftest import CRASHING

SITE = f"""
import os, signal
import cv2

_decode = cv2.imdecode


def imdecode(data, flags):
    if {CRASHING!r} in data.tobytes():
        os.kill(os.getpid(), signal.SIGSEGV)
    return _decode(data, flags)


cv2.imdecode = imdecode
"""


@pytest.fixture
def decoder():
    with Decoder() as decoder:
        yield decoder


def test_a_picture_is_that_of_read_image(decoder, repo):
    path = repo / "examples" / "astronaut.jpg"
    expected = read_image(path)
    np.testing.assert_array_equal(decoder.picture(str(path)), expected)
    np.testing.assert_array_equal(decoder.picture("bytes", path.read_bytes()), expected)


def test_a_damaged_picture_is_an_error_and_the_next_one_is_read(decoder, repo):
    data = (repo / "examples" / "astronaut.jpg").read_bytes()
    with pytest.raises(ImageError, match=r"damaged\.jpg") as caught:
        decoder.picture("damaged.jpg", data[:3000])
    assert not isinstance(caught.value, DecoderError)
    assert decoder.picture("whole.jpg", data).shape == (512, 512, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_is_an_error_and_the_next_picture_is_read(decoder, repo, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(SITE))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{repo}")
    data = (repo / "examples" / "astronaut.jpg").read_bytes()
    with pytest.raises(DecoderError, match=r"bad\.jpg crashed the decoder \(exit status -11\)") as caught:
        decoder.picture("bad.jpg", data + CRASHING)
    assert caught.value.kind == "crash"
    assert decoder.picture("whole.jpg", data).shape == (512, 512, 3)


def test_a_picture_that_takes_too_long_is_stopped(repo):
    data = (repo / "examples" / "astronaut.jpg").read_bytes()
    with Decoder(timeout_s=0.001) as decoder:  # starting the process takes longer
        with pytest.raises(DecoderError, match="not decoded within") as caught:
            decoder.picture("slow.jpg", data)
        assert caught.value.kind == "timeout"
        decoder.timeout_s = 60
        assert decoder.picture("whole.jpg", data).shape == (512, 512, 3)


def test_frames_that_nobody_takes_do_not_reach_the_next_request(decoder, sources, repo):
    for _ in decoder.frames(str(sources / "clip.mp4"), 0, 30, 1):
        break
    assert decoder.picture(str(repo / "examples" / "astronaut.jpg")).shape == (512, 512, 3)
