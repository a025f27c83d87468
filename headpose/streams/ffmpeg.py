"""What FFmpeg may open: one local file, or what one URL names, and nothing that these refer to.

A playlist is a way to any file of the machine, and FFmpeg takes many names for protocols. So local files
reach it as ``file:`` URLs, and only formats that hold their own pictures are let in.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2

from headpose.errors import ImageError

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_options_lock = threading.Lock()
_MATROSKA_SEGMENT, _MATROSKA_UNKNOWN = b"\x18\x53\x80\x67\x01", 2**56 - 1  # with a size of seven bytes

# FFmpeg's demuxers of self-contained video. Not among them: hls, concat, dash, imf, sdp, vobsub (which
# open other files) and image2 (a name with %d is a pattern). tty is, as FFmpeg would write a line to stderr
# about every text file; ``open_file`` refuses what it reads.
_FORMATS = (
    "mov mp4 matroska webm avi mpegts mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf flv live_flv ogg asf rm "
    "mjpeg jpeg_pipe mpjpeg yuv4mpegpipe gif apng dv mxf gxf nut nsv wtv swf dirac dnxhd vc1 cavsvideo 3g2 mj2 rtsp tty"
)
_FILE_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0"}
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
_PROBE = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]  # no cv2.py of the working folder
import cv2
capture = cv2.VideoCapture(sys.stdin.readline().rstrip("\\n"), cv2.CAP_FFMPEG)
for _ in range(5):
    capture.read()
"""
_PROBE_S = 30.0
_NOT_CONVERTED = b"Cannot convert interlaced"  # FFmpeg's log


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
    capture = _open(local(path), _FILE_OPTIONS)
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
    capture = _open(*_stream(url))
    if not capture.isOpened():
        raise ImageError(f"{name} cannot be opened: is it there, and a video (a playlist is not read)?")
    return capture


def is_unreadable(source: Path | str) -> bool:
    """Whether OpenCV cannot convert the pictures of a video, and gives what was in memory before as if it were one.

    OpenCV does so with interlaced videos (seen in 4.14) and reports success; only FFmpeg's log tells. Its level is
    set once in a process, so the first pictures are read in another process.

    Args:
        source: a file, or the URL of a stream.
    """
    name, options = (local(source), _FILE_OPTIONS) if isinstance(source, Path) else _stream(source)
    with _capture_options(_allowed(options)):
        environment = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "16"}  # AV_LOG_ERROR
    command = [sys.executable or "python3", "-c", _PROBE]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        probe = subprocess.run(
            command, input=os.fsencode(name), env=environment, capture_output=True, timeout=_PROBE_S, check=False
        )
        return _NOT_CONVERTED in probe.stdout + probe.stderr
    return False


def count_frames(path: Path) -> int:
    """How many whole frames a video file holds; 0 if it cannot be opened. Nothing is decoded."""
    options = {"protocol_whitelist": "file", "fflags": "discardcorrupt"}  # a cut last frame does not count
    capture, count = _open(local(path), options), 0
    capture.set(cv2.CAP_PROP_FORMAT, -1)
    while capture.grab():
        count += 1
    capture.release()
    return count


def is_complete(path: Path) -> bool | None:
    """Whether a file has all the bytes that its container announces; None if it announces none that is known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(128)
        if is_mp4(head):
            return _end_of_boxes(file, size) == size
    if head[:4] == b"RIFF":
        return size >= 8 + int.from_bytes(head[4:8], "little") > 8
    segment = head.find(_MATROSKA_SEGMENT)
    if segment < 0:
        return None
    announced = int.from_bytes(head[segment + 5 : segment + 12], "big")
    return None if announced == _MATROSKA_UNKNOWN else size >= segment + 12 + announced


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins so is of the family of MP4 and QuickTime."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # it did not fit in 32 bits
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8:
            return -1
        position += length
    return position


def _stream(url: str) -> tuple[str, dict[str, str]]:
    """FFmpeg's name of a stream, and the options to open it with."""
    scheme = url_scheme(url)
    # The scheme in lower case: FFmpeg compares it letter by letter.
    return scheme + url[len(scheme) :], {"protocol_whitelist": _PROTOCOLS[scheme], "rtsp_flags": "prefer_tcp"}


def _allowed(options: dict[str, str]) -> dict[str, str]:
    return {"format_whitelist": ",".join(_FORMATS.split()), **options}


def _open(name: str, options: dict[str, str]) -> cv2.VideoCapture:
    with _capture_options(_allowed(options)):
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
