"""Program of the decoding process: ``python -m headpose.bulk.decoding``. ``decoder.Decoder`` starts it.

Picture and video codecs read data that anyone may have written. They run here, so that a file that crashes them, or
that they never finish, costs one process and not the run. The process reads requests from stdin and answers on stdout.
A message is a length (8 bytes), a JSON object of that length, and as many bytes of data as its ``bytes`` says.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any

import cv2

from headpose import images
from headpose.bulk import videos
from headpose.errors import HeadPoseError
from headpose.streams import silence_codecs

_LENGTH = struct.Struct("<Q")


def write_message(stream: IO[bytes], header: dict[str, Any], data: Any = b"") -> None:
    """Write a message; ``data`` is bytes or a contiguous array."""
    view = memoryview(data).cast("B")
    text = json.dumps(header | {"bytes": view.nbytes}).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    stream.write(view)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytearray] | None:
    """Read a message; None at the end of the stream, also in the middle of a message."""
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    text = stream.read(_LENGTH.unpack(length)[0])
    try:
        header = json.loads(text)
    except ValueError:
        return None
    data = bytearray(header["bytes"])
    view = memoryview(data)
    while view.nbytes:
        if not (got := stream.readinto(view)):  # type: ignore[attr-defined]
            return None
        view = view[got:]
    return header, data


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until stdin ends: the process that asked has ended."""
    while (message := read_message(requests)) is not None:
        try:
            for header, data in _answers(*message):
                write_message(answers, header, data)
        except HeadPoseError as error:
            write_message(answers, {"error": str(error)})
        except (cv2.error, MemoryError, ValueError, OSError) as error:
            write_message(answers, {"error": f"cannot be decoded: {type(error).__name__}"})


def _answers(request: dict[str, Any], data: bytearray) -> Iterator[tuple[dict[str, Any], Any]]:
    if request["do"] == "picture":
        name = request["name"]
        image = images.read_image(request["path"]) if "path" in request else images.decode_image(bytes(data), name)
        yield {"shape": image.shape}, image
    elif request["do"] == "scan":
        yield {"segments": videos.segments(request["path"], request["least"])}, b""
    else:
        wanted = request["start"], request["count"], request["every"]
        for index, time_s, image in videos.frames(request["path"], *wanted):
            yield {"shape": image.shape, "index": index, "time_s": time_s}, image
        yield {"end": True}, b""


def main() -> None:
    """Serve stdin and stdout. Whatever a library prints goes to stderr."""
    cv2.setNumThreads(1)
    silence_codecs()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
