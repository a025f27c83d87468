"""Where pictures come from and where results go.

A source yields frames; a sink takes each frame with its poses. Both are context managers, and a new
kind of either (a network protocol, say) only has to keep the Protocol.
"""

from headpose.streams.newest import NewestFrames
from headpose.streams.recorder import Recorder
from headpose.streams.sinks import PictureFile, PictureFolder, RowFile, Sink, VideoFile, csv_file, json_lines
from headpose.streams.sources import Frame, FrameSource, open_pictures, open_source, silence_codecs, source_files
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
