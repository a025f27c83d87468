"""Frame sources and result sinks.

A source yields frames; a sink receives each frame with its poses. Both are context managers. A new kind of source or
sink, such as a network protocol, implements the ``FrameSource`` or ``Sink`` protocol.
"""

from headpose.streams.ffmpeg import silence_codecs
from headpose.streams.newest import NewestFrames
from headpose.streams.recorder import Recorder
from headpose.streams.sinks import PictureFile, PictureFolder, RowFile, Sink, VideoFile, csv_file, json_lines
from headpose.streams.sources import Frame, FrameSource, open_pictures, open_source, source_files
from headpose.streams.window import ESCAPE, Window, letter_of

__all__ = [
    "ESCAPE",
    "Frame",
    "FrameSource",
    "NewestFrames",
    "PictureFile",
    "PictureFolder",
    "Recorder",
    "RowFile",
    "Sink",
    "VideoFile",
    "Window",
    "csv_file",
    "json_lines",
    "letter_of",
    "open_pictures",
    "open_source",
    "silence_codecs",
    "source_files",
]
