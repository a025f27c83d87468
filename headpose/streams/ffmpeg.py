"""Open videos with FFmpeg safely: one local file or one URL, and nothing that they refer to.

A playlist could name any file of the machine, and FFmpeg interprets many file names as protocols. Local files are
therefore passed as ``file:`` URLs, and only self-contained formats are allowed.
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

from headpose.errors import HeadPoseError, ImageError

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_options_lock = threading.Lock()
_MATROSKA_SEGMENT, _MATROSKA_UNKNOWN = b"\x18\x53\x80\x67\x01", 2**56 - 1  # for a size of seven bytes

# FFmpeg's demuxers of self-contained video. The list excludes hls, concat, dash, imf, sdp and vobsub, which open other
# files, and image2, which expands %d in names. It includes tty, because FFmpeg would otherwise print a line about every
# text file; ``open_file`` rejects what tty reads.
_FORMATS = (
    "mov mp4 matroska webm avi mpegts mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf flv live_flv ogg asf rm "
    "mjpeg jpeg_pipe mpjpeg yuv4mpegpipe gif apng dv mxf gxf nut nsv wtv swf dirac dnxhd vc1 cavsvideo 3g2 mj2 rtsp tty"
)
_FILE_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0"}
# Protocols that FFmpeg may use for each URL scheme.
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
# Signatures of formats that refer to other files: HLS, playlists of FFmpeg and Kodi, SDP, PLS, ASX, RAM.
_REFERENCES = re.compile(rb"#extm3u|ffconcat|v=0\s|\[playlist\]|\[reference\]|<asx|<smil|rtsptext|rtsp://|https?://")
_TEXT_AS_VIDEO = int.from_bytes(b"ansi", "little")  # libav renders .txt files as terminal output
_PROBE = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]  # do not import a cv2.py from the working directory
import cv2
capture = cv2.VideoCapture(sys.stdin.readline().rstrip("\\n"), cv2.CAP_FFMPEG)
for _ in range(5):
    capture.read()
"""
_PROBE_S = 30.0
_NOT_CONVERTED = b"Cannot convert interlaced"  # in FFmpeg's log


def check_name(path: Path, error: type[HeadPoseError]) -> None:
    """Raise ``error`` if a file name is not valid Unicode: such names crash OpenCV's video functions."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(f"the name of {str(path)!a} is not UTF-8: rename the file") from None


def silence_codecs() -> None:
    """Keep OpenCV and libav from writing to stderr. Call it in programs before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def local(path: str | os.PathLike[str]) -> str:
    """Return a ``file:`` URL, which FFmpeg opens as a file even if the path contains colons."""
    return "file:" + os.path.abspath(path)  # noqa: PTH100, the extension of a link selects the format


def url_scheme(text: str) -> str:
    """Return the scheme of a URL in lower case, such as ``rtsp``; "" if ``text`` is not a URL."""
    found = _URL.match(text)
    return found[1].lower() if found else ""


def without_password(url: str) -> str:
    """Return a URL with its password masked, for messages."""
    return _PASSWORD.sub(r"\1:***@", url)


def open_file(path: Path) -> cv2.VideoCapture:
    """Open a local video.

    Args:
        path: Video file.

    Raises:
        ImageError: The file is empty, refers to other files, or is not a readable video.
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
    """Open a network stream or video, with no protocol other than that of the URL.

    Args:
        url: URL, which may contain a user name and a password.

    Raises:
        ImageError: The protocol is not supported, or the URL is not a video.
    """
    scheme, name = url_scheme(url), without_password(url)
    if scheme not in _PROTOCOLS:
        raise ImageError(f"{name} cannot be opened: use one of {' '.join(f'{known}://' for known in _PROTOCOLS)}")
    capture = _open(*_stream(url))
    if not capture.isOpened():
        raise ImageError(f"cannot open {name}: check that it exists and is a video; playlists are refused")
    return capture


def is_unreadable(source: Path | str) -> bool:
    """Return whether OpenCV fails to convert the images of a video.

    OpenCV 4.14 fails for interlaced videos: it reports success and returns old memory; only FFmpeg's log shows the
    error. The log level is fixed per process, so the first images are read in a subprocess.

    Args:
        source: Video file, or URL of a stream.
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
    """Count the complete frames of a video file without decoding them; 0 if the file cannot be opened."""
    options = {"protocol_whitelist": "file", "fflags": "discardcorrupt"}  # ignores a truncated last frame
    capture, count = _open(local(path), options), 0
    capture.set(cv2.CAP_PROP_FORMAT, -1)
    while capture.grab():
        count += 1
    capture.release()
    return count


def is_complete(path: Path) -> bool | None:
    """Return whether a file has all bytes that its container announces; None if the container does not say."""
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
    """Return whether a file is MP4 or QuickTime.

    Args:
        head: First bytes of the file, at least 8.
    """
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # a 64-bit length follows
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # the box extends to the end of the file
            length = size - position
        if length < 8:
            return -1
        position += length
    return position


def _stream(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL for FFmpeg and the options to open it with."""
    scheme = url_scheme(url)
    # FFmpeg compares schemes case-sensitively.
    return scheme + url[len(scheme) :], {"protocol_whitelist": _PROTOCOLS[scheme], "rtsp_flags": "prefer_tcp"}


def _allowed(options: dict[str, str]) -> dict[str, str]:
    return {"format_whitelist": ",".join(_FORMATS.split()), **options}


def _open(name: str, options: dict[str, str]) -> cv2.VideoCapture:
    with _capture_options(_allowed(options)):
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)  # with CAP_ANY, OpenCV would expand %d in names


@contextlib.contextmanager
def _capture_options(options: dict[str, str]) -> Iterator[None]:
    """Set FFmpeg options in the environment, where OpenCV reads them. Options set by the user take precedence."""
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


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Redirect stderr to the null device: OpenCV warns about WebM codec tags at every log level."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
