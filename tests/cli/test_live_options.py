"""The options of estimate that correct, filter, watch and send poses."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from headpose import geometry
from headpose.neutral import NeutralPose


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_events_of_a_clip(estimate, clip):
    status, out, err = estimate(clip, "--events", "-", "--away", "1", "--after", "0.05")
    assert status == 0, err
    assert [event["event"] for event in lines(out)] == ["found", "away"]
    assert lines(out)[1]["since_s"] == 0 and 0.05 <= lines(out)[1]["time_s"] < 0.3 and lines(out)[1]["angle"] > 1
    status, out, _ = estimate(clip, "--away", "179", "-q")
    assert [event["event"] for event in lines(out)] == ["found"]


def test_faces_that_look_elsewhere_are_left_out_and_counted(estimate, clip, tmp_path):
    status, _, err = estimate(clip, "--frontal", "1", "--json", tmp_path / "a.json")
    assert status == 0 and (tmp_path / "a.json").read_text() == ""
    assert "--frontal 1: 5 of 5 faces left out" in err
    _, out, err = estimate(clip, "--frontal", "179", "--json", "-")
    assert len(lines(out)) == 5 and "0 of 5 faces" in err


def test_a_neutral_pose_and_a_camera_change_what_is_told(estimate, astronaut, tmp_path):
    (plain,) = lines(estimate(astronaut, "--json", "-")[1])
    NeutralPose(geometry.rotation_from_euler((plain["yaw"], plain["pitch"], plain["roll"]))).write(tmp_path / "n.json")
    (relative,) = lines(estimate(astronaut, "--json", "-", "--neutral", tmp_path / "n.json")[1])
    assert [relative[key] for key in ("yaw", "pitch", "roll")] == pytest.approx([0, 0, 0], abs=1e-4)
    assert relative["box"] == plain["box"] and "place" not in plain
    (seen,) = lines(estimate(astronaut, "--json", "-", "--fov", "60")[1])
    assert seen["place"][2] < -10 and geometry.geodesic_degrees(seen["rotation"], plain["rotation"]) > 1


def test_poses_are_sent_and_counted(estimate, clip):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        address = f"opentrack://127.0.0.1:{receiver.getsockname()[1]}"
        status, out, err = estimate(clip, "--send", address, "--json", "-")
        packets = [struct.unpack("<6d", receiver.recv(100)) for _ in range(5)]
    assert status == 0 and f"headpose: {address}: 5 messages sent, 0 dropped" in err
    for packet, row in zip(packets, lines(out), strict=True):
        assert row["track"] == 1 and packet[3:] == pytest.approx(geometry.to_opentrack(row["rotation"]), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--send", "udp://h:1"], "cannot send to udp://h:1"),
        (["--send", "opentrack://h:1", "--send-face", "all"], "OpenTrack takes one head"),
        (["--camera", "none.yml"], "none.yml does not exist"),
        (["--neutral", "none.json"], "none.json does not exist"),
        (["--events", "-"], "has no timestamps"),
        (["--events", "a.json"], "has no timestamps"),
        (["--events", "-", "--json", "-"], "--json - and --events - cannot share stdout"),
        (["--away", "20", "--csv", "-"], "--csv - and --events - cannot share stdout"),
        (["--events", "a.jpg"], "cannot write text to a.jpg"),
    ],
)
def test_what_cannot_be_is_one_line(estimate, astronaut, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = estimate(astronaut, *arguments)
    assert (status, out) == (1, "") and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_events_are_of_one_source(estimate, astronaut, clip):
    status, _, err = estimate(astronaut, clip, "--events", "-")
    assert status == 1 and "take one video or camera" in err


@pytest.mark.parametrize("words", [["--fov", "180"], ["--fov", "nan"], ["--away", "0"], ["--after", "-1"]])
def test_numbers_out_of_range_are_wrong_usage(estimate, astronaut, words):
    with pytest.raises(SystemExit, match="2"):
        estimate(astronaut, *words)
