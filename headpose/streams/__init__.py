"""Frame sources and result sinks.

A source yields frames; a sink receives each frame with its poses: files, and senders to other programs. Both are
context managers. A new kind of source or sink implements the ``FrameSource`` or ``Sink`` protocol.
"""

from headpose.streams.event_file import EventFile
from headpose.streams.ffmpeg import silence_codecs
from headpose.streams.newest import NewestFrames
from headpose.streams.recorder import Recorder
from headpose.streams.senders import Sender, send_to
from headpose.streams.sinks import PictureFile, PictureFolder, RowFile, Sink, csv_file, json_lines
from headpose.streams.sources import Frame, FrameSource, open_pictures, open_source, source_files
from headpose.streams.video_file import VideoFile
from headpose.streams.window import ESCAPE, Window, letter_of

__all__ = [
    "ESCAPE",
    "EventFile",
    "Frame",
    "FrameSource",
    "NewestFrames",
    "PictureFile",
    "PictureFolder",
    "Recorder",
    "RowFile",
    "Sender",
    "Sink",
    "VideoFile",
    "Window",
    "csv_file",
    "json_lines",
    "letter_of",
    "open_pictures",
    "open_source",
    "send_to",
    "silence_codecs",
    "source_files",
]
