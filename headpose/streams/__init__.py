"""Where pictures come from and where results go.

A source yields frames; a sink takes each frame with its poses. Both are context managers, and a new
kind of either (a network protocol, say) only has to keep the Protocol.
"""

from headpose.streams.sinks import PictureFile, PictureFolder, RowFile, Sink, VideoFile, csv_file, json_lines
from headpose.streams.sources import Frame, FrameSource, open_source, silence_codecs

__all__ = [
    "Frame",
    "FrameSource",
    "PictureFile",
    "PictureFolder",
    "RowFile",
    "Sink",
    "VideoFile",
    "csv_file",
    "json_lines",
    "open_source",
    "silence_codecs",
]
