"""What FFmpeg may open: one local file, or what one URL names, and nothing that these refer to.

A playlist is a way to any file of the machine, and FFmpeg takes many names for protocols. So local files
reach it as ``file:`` URLs, and only formats that hold their own pictures are let in.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2

from headpose.errors import ImageError

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_options_lock = threading.Lock()

# FFmpeg's demuxers of self-contained video. Not among them: hls, concat, dash, imf, sdp, vobsub (which
# open other files) and image2 (a name with %d is a pattern). tty is, as FFmpeg would write a line to stderr
# about every text file; ``open_file`` refuses what it reads.
_FORMATS = (
    "mov mp4 matroska webm avi mpegts mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf flv live_flv ogg asf "
    "rm mjpeg mpjpeg yuv4mpegpipe gif apng dv mxf gxf nut nsv wtv swf dirac dnxhd vc1 cavsvideo 3g2 mj2 rtsp tty"
)
# What FFmpeg opens for each kind of URL, and no other.
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,udp,tls,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "http": "http,httpproxy,tcp",
    "https": "https,httpproxy,tls,tcp",
    "srt": "srt",
    "udp": "udp",
    "tcp": "tcp",
}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/]*@")
# How the formats begin that only refer to other files: HLS, FFmpeg's and Kodi's lists, SDP, PLS, ASX, RAM.
_REFERENCES = re.compile(rb"#extm3u|ffconcat|v=0\s|\[playlist\]|\[reference\]|<asx|<smil|rtsptext|rtsp://|https?://")
_TEXT_AS_VIDEO = int.from_bytes(b"ansi", "little")  # libav plays .txt files as a terminal would show them


def local(path: str | os.PathLike[str]) -> str:
    """The name by which FFmpeg takes a file for a file, whatever colons are in its path."""
    return "file:" + os.path.abspath(path)  # noqa: PTH100, a link's own ending is what picks a format


def url_scheme(text: str) -> str:
    """``rtsp`` for ``rtsp://...``, in lower case; "" for what is no URL."""
    found = _URL.match(text)
    return found[1].lower() if found else ""


def without_password(url: str) -> str:
    """The URL as messages may show it."""
    return _PASSWORD.sub(r"\1:***@", url)


def open_file(path: Path) -> cv2.VideoCapture:
    """Opens a local video.

    Raises:
        ImageError: it is empty, refers to other files, or is no video that can be read.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes)")
    if _refers_to_others(path):
        raise ImageError(f"{path} is a playlist, which only refers to other files: give the video itself")
    capture = _open(local(path), {"protocol_whitelist": "file", "enable_drefs": "0"})
    if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT_AS_VIDEO:
        raise ImageError(f"{path} is neither a picture nor a video that can be read, or its index was cut off")
    return capture


def open_url(url: str) -> cv2.VideoCapture:
    """Opens a stream or a video of the network, by the protocol that the URL names and no other.

    Raises:
        ImageError: the protocol is not one of those that are read, or there is no video.
    """
    scheme, name = url_scheme(url), without_password(url)
    if scheme not in _PROTOCOLS:
        raise ImageError(f"{name} cannot be opened: use one of {' '.join(f'{known}://' for known in _PROTOCOLS)}")
    # The scheme in lower case: FFmpeg compares it letter by letter.
    capture = _open(scheme + url[len(scheme) :], {"protocol_whitelist": _PROTOCOLS[scheme], "rtsp_flags": "prefer_tcp"})
    if not capture.isOpened():
        raise ImageError(f"{name} cannot be opened: is it there, and a video (a playlist is not read)?")
    return capture


def count_frames(path: Path) -> int:
    """How many whole frames a video file holds; 0 if it cannot be opened. Nothing is decoded."""
    options = {"protocol_whitelist": "file", "fflags": "discardcorrupt"}  # a cut last frame does not count
    capture, count = _open(local(path), options), 0
    capture.set(cv2.CAP_PROP_FORMAT, -1)
    while capture.grab():
        count += 1
    capture.release()
    return count


def is_whole_mp4(path: Path) -> bool:
    """Whether a file is of the MP4 family and none of its boxes ends beyond the file.

    Such a file may announce more frames than it shows: an editor cuts by a list of what to leave out.
    """
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(16)
            if position == 0 and head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
                return False
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the length did not fit in 32 bits
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: to the end of the file
                return length == 0
            position += length
    return position == size


def _open(name: str, options: dict[str, str]) -> cv2.VideoCapture:
    with _capture_options({"format_whitelist": ",".join(_FORMATS.split()), **options}):
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)  # named, or OpenCV would try names with %d as patterns


@contextlib.contextmanager
def _capture_options(options: dict[str, str]) -> Iterator[None]:
    """OpenCV takes FFmpeg's options from the environment alone; what the user has set there stays and wins."""
    with _options_lock:
        own = os.environ.get(_OPTIONS)
        pairs = [pair for pair in (own or "").split("|") if pair]
        named = {pair.split(";")[0] for pair in pairs}
        pairs += [f"{key};{value}" for key, value in options.items() if key not in named]
        os.environ[_OPTIONS] = "|".join(pairs)
        try:
            yield
        finally:
            if own is None:
                del os.environ[_OPTIONS]
            else:
                os.environ[_OPTIONS] = own


def _refers_to_others(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return bool(_REFERENCES.match(text)) or (text.startswith(b"<") and b"<mpd" in text)
