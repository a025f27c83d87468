"""Sink that writes events of attention as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from headpose.attention import Attention, AttentionSettings
from headpose.streams.sinks import TextFile
from headpose.streams.sources import Frame
from headpose.types import HeadPose


class EventFile(TextFile):
    """JSON lines, one object per event (``attention.Event.to_dict``). Stdout is flushed after each frame."""

    def __init__(self, target: str | os.PathLike[str], settings: AttentionSettings | None = None) -> None:
        """Prepare the output.

        Args:
            target: File to write, or "-" for stdout.
            settings: When a face counts as looking away; None uses the defaults.

        Raises:
            HeadPoseError: The extension of ``target`` belongs to an image, a video or a network.
        """
        super().__init__(target)
        self._attention = Attention(settings)

    def __enter__(self) -> EventFile:
        super().__enter__()
        return self

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Write the events of one frame, whose poses need track numbers."""
        events = self._attention.update(poses, frame.time_s)
        self.write_lines([json.dumps(event.to_dict()) + "\n" for event in events])
