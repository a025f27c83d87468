"""Messages with head poses for other programs: OpenTrack's UDP packet, OSC and VMC, JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from headpose import geometry
from headpose.errors import HeadPoseError, install_advice
from headpose.types import HeadPose

Encoder = Callable[[float, Sequence[HeadPose]], bytes | None]
"""Function of (time in seconds, poses) that returns a message; None if there is nothing to send."""


def opentrack_packet(time_s: float, poses: Sequence[HeadPose]) -> bytes | None:
    """Encode the first pose for OpenTrack's input "UDP over network".

    Args:
        time_s: Ignored; the packet has no time.
        poses: Poses of one frame.

    Returns:
        48 bytes, six little-endian doubles: x, y, z in centimeters (right in the image, up, away from the camera; 0
        where the place is unknown) and yaw, pitch, roll in degrees as ``geometry.to_opentrack`` returns them. None
        without a pose: OpenTrack then keeps the last one.
    """
    if not poses:
        return None
    x, y, z = poses[0].place or (0.0, 0.0, 0.0)
    return struct.pack("<6d", x, y, -z, *geometry.to_opentrack(poses[0].rotation))


def osc_bundle() -> Encoder:
    """Return the encoder of OSC bundles; HeadPoseError if python-osc is not installed.

    A bundle holds, for each frame:

    * ``/headpose/faces`` (int): number of faces.
    * ``/headpose/pose`` (int, float, float, float), for each face: track number (0 without tracking), yaw, pitch, roll
      in degrees.
    * ``/headpose/place`` (int, float, float, float), for each face whose place is known: track number, x, y, z in
      centimeters (``HeadPose.place``).
    * ``/VMC/Ext/OK`` (int) 1 and ``/VMC/Ext/T`` (float) seconds, and for the first face ``/VMC/Ext/Bone/Pos`` (string
      "Head", 7 floats): a position of 0 and the quaternion of ``geometry.to_unity``.
    """
    try:
        from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
        from pythonosc.osc_message_builder import OscMessageBuilder
    except ModuleNotFoundError:
        raise HeadPoseError(f"osc:// needs python-osc: {install_advice('live')}") from None

    def encode(time_s: float, poses: Sequence[HeadPose]) -> bytes:
        bundle = OscBundleBuilder(IMMEDIATELY)
        for address, values in _osc_values(time_s, poses):
            message = OscMessageBuilder(address)
            for value in values:
                message.add_arg(value)
            bundle.add_content(message.build())
        return bundle.build().dgram

    return encode


def _osc_values(time_s: float, poses: Sequence[HeadPose]) -> list[tuple[str, list[int | float | str]]]:
    """Return (address, arguments) of each message of a bundle; the types of the arguments are those of OSC."""
    messages: list[tuple[str, list[int | float | str]]] = [("/headpose/faces", [len(poses)])]
    for pose in poses:
        track = pose.track or 0
        messages.append(("/headpose/pose", [track, *pose.euler]))
        if pose.place is not None:
            messages.append(("/headpose/place", [track, *pose.place]))
    messages += [("/VMC/Ext/OK", [1]), ("/VMC/Ext/T", [float(time_s)])]
    for pose in poses[:1]:
        turn = map(float, geometry.to_unity(pose.rotation))
        messages.append(("/VMC/Ext/Bone/Pos", ["Head", 0.0, 0.0, 0.0, *turn]))
    return messages


def json_message(time_s: float, poses: Sequence[HeadPose]) -> bytes:
    """Encode the poses of one frame as one JSON object.

    Args:
        time_s: Time of the frame in seconds.
        poses: Poses of the frame.

    Returns:
        UTF-8 text without a line break: ``time_s`` and ``faces``, a list of ``HeadPose.to_dict``.
    """
    return json.dumps(frame_dict(time_s, poses)).encode()


def frame_dict(time_s: float, poses: Sequence[HeadPose]) -> dict[str, Any]:
    """Return the object that ``json_message`` encodes."""
    return {"time_s": round(time_s, 6), "faces": [pose.to_dict() for pose in poses]}
