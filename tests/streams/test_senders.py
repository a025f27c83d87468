"""Poses in other programs: a receiver of each kind, and receivers that are slow, missing, restarted or foreign."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time

import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from headpose import geometry
from headpose.errors import HeadPoseError, InputError
from headpose.streams import Frame, send_to
from headpose.streams.senders import Selection, Sender
from headpose.streams.websocket import WebSocketServer
from headpose.types import Box, Face, HeadPose

ROTATION = geometry.rotation_from_euler((25.0, -10.0, 5.0))


def pose(rotation=ROTATION, side=10.0, track=None, place=None):
    return HeadPose(Face(Box(0, 0, side, side), 0.9), rotation, track, place=place)


def frame(index=0):
    return Frame(index, index / 30, "", np.zeros((1, 1, 3), np.uint8))


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(5)
        yield bound


def port_of(bound):
    return bound.getsockname()[1]


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_opentrack_gets_six_little_endian_doubles(receiver):
    head = pose(place=(3.0, -2.0, -60.0))
    with send_to(f"opentrack://127.0.0.1:{port_of(receiver)}") as sender:
        sender.write(frame(), [head])
        packet = receiver.recv(100)
    assert len(packet) == 48
    x, y, z, *angles = struct.unpack("<6d", packet)
    assert (x, y, z) == (3.0, -2.0, 60.0)  # away from the camera is positive there
    assert geometry.from_opentrack(angles) == pytest.approx(ROTATION)
    assert angles[0] > 20 and angles[1] < -5
    assert sender.notes == [f"opentrack://127.0.0.1:{port_of(receiver)}: 1 message sent, 0 dropped"]


def test_opentrack_keeps_the_last_pose_while_there_is_no_face(receiver):
    with send_to(f"opentrack://127.0.0.1:{port_of(receiver)}") as sender:
        sender.write(frame(), [])
        sender.write(frame(1), [pose()])
        assert struct.unpack("<6d", receiver.recv(100))[:3] == (0.0, 0.0, 0.0)  # no camera, no place
    assert sender.sent == 1


def test_osc_carries_angles_and_the_head_of_an_avatar(receiver):
    with send_to(f"osc://127.0.0.1:{port_of(receiver)}", faces="all") as sender:
        sender.write(frame(30), [pose(track=4, place=(1.0, 2.0, -50.0)), pose(np.eye(3))])
        bundle = OscBundle(receiver.recv(4096))
    messages = [(message.address, message.params) for message in bundle]
    assert [address for address, _ in messages] == [
        "/headpose/faces",
        "/headpose/pose",
        "/headpose/place",
        "/headpose/pose",
        "/VMC/Ext/OK",
        "/VMC/Ext/T",
        "/VMC/Ext/Bone/Pos",
    ]
    assert messages[0][1] == [2] and messages[4][1] == [1] and messages[5][1] == [1.0]
    assert messages[1][1] == pytest.approx([4, 25, -10, 5], abs=1e-4)
    assert messages[2][1] == [4, 1.0, 2.0, -50.0]
    name, *numbers = messages[6][1]
    assert name == "Head" and numbers[:3] == [0, 0, 0]
    assert geometry.from_unity(numbers[3:]) == pytest.approx(ROTATION, abs=1e-5)


def test_a_missing_receiver_is_counted_and_a_new_one_gets_the_rest(receiver):
    port = port_of(receiver)
    receiver.close()
    with send_to(f"opentrack://127.0.0.1:{port}") as sender:
        for index in range(4):  # the system tells of the first with the second
            sender.write(frame(index), [pose()])
            time.sleep(0.02)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as restarted:
            restarted.bind(("127.0.0.1", port))
            restarted.settimeout(5)
            for index in range(3):
                sender.write(frame(index), [pose()])
                time.sleep(0.02)
            assert len(restarted.recv(100)) == 48
    (note,) = sender.notes
    assert sender.unheard >= 1 and sender.sent + sender.unheard == 7 and sender.dropped == 0
    assert note.endswith(f"{sender.sent} messages sent, 0 dropped, {sender.unheard} without a receiver")


class Stuck:
    """A transport that takes its first message only when it is let go."""

    def __init__(self):
        self.dropped = 0
        self.go, self.taken = threading.Event(), []

    def open(self):
        pass

    def send(self, message):
        self.go.wait(10)
        self.taken.append(json.loads(message))
        return True

    def close(self):
        pass


def test_a_slow_network_never_slows_the_loop_and_the_newest_poses_survive():
    stuck = Stuck()
    with Sender("stuck", stuck, lambda time_s, poses: json.dumps(round(30 * time_s)).encode()) as sender:
        started = time.perf_counter()
        for index in range(1000):
            sender.write(frame(index), [pose()])
        assert time.perf_counter() - started < 0.5
        stuck.go.set()
    assert stuck.taken[-8:] == list(range(992, 1000)) and len(stuck.taken) <= 10
    assert sender.dropped == 1000 - len(stuck.taken) and f"{sender.dropped} dropped" in sender.notes[0]


def test_leaving_does_not_wait_for_a_network_that_hangs():
    stuck = Stuck()
    started = time.perf_counter()
    with Sender("stuck", stuck, lambda time_s, poses: b"1") as sender:
        for index in range(3):
            sender.write(frame(index), [pose()])
    assert time.perf_counter() - started < 4
    assert sender.dropped >= 2
    stuck.go.set()


@pytest.fixture
def server():
    transport = WebSocketServer("127.0.0.1", 0)
    with Sender("ws", transport, lambda time_s, poses: json.dumps({"n": round(30 * time_s)}).encode()) as sender:
        yield sender, transport


def test_every_websocket_client_gets_every_frame():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = port_of(free)
    with (
        send_to(f"ws://127.0.0.1:{port}") as sender,
        connect(f"ws://127.0.0.1:{port}") as one,
        connect(f"ws://127.0.0.1:{port}", origin="http://localhost:8000") as other,
    ):
        until(lambda: len(sender._transport._clients) == 2)
        sender.write(frame(3), [pose(track=1), pose(np.eye(3))])
        for client in (one, other):
            message = json.loads(client.recv(5))
            assert message["time_s"] == 0.1 and len(message["faces"]) == 2
            assert message["faces"][0]["yaw"] == pytest.approx(25) and message["faces"][0]["track"] == 1


def test_a_page_of_another_site_is_refused(server):
    _, transport = server
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example"):
        with pytest.raises(InvalidStatus, match="403"), connect(f"ws://127.0.0.1:{transport.port}", origin=origin):
            pass


def test_a_site_that_the_address_names_is_admitted():
    with send_to("ws://127.0.0.1:8799?origin=https://good.example") as _:
        with connect("ws://127.0.0.1:8799", origin="https://good.example"):
            pass
        with pytest.raises(InvalidStatus), connect("ws://127.0.0.1:8799", origin="https://bad.example"):
            pass


def test_a_websocket_client_that_does_not_read_loses_messages_and_others_do_not(server):
    sender, transport = server
    sender._encode = lambda time_s, poses: json.dumps({"n": round(30 * time_s), "filler": "x" * 20_000}).encode()
    address = f"ws://127.0.0.1:{transport.port}"
    with connect(address, max_queue=1, close_timeout=0.1) as _lazy, connect(address) as eager:
        until(lambda: len(transport._clients) == 2)
        for index in range(300):
            sender.write(frame(index), [])
            assert json.loads(eager.recv(5))["n"] == index
    assert transport.dropped > 20


def test_a_websocket_client_may_come_and_go(server):
    sender, transport = server
    for index in range(3):
        with connect(f"ws://127.0.0.1:{transport.port}") as client:
            until(lambda: len(transport._clients) == 1)
            sender.write(frame(index), [])
            assert json.loads(client.recv(5)) == {"n": index}
        until(lambda: not transport._clients)


def test_a_port_in_use_is_one_line(receiver):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sender = send_to(f"ws://127.0.0.1:{port_of(taken)}")
        with pytest.raises(HeadPoseError, match=r"cannot listen on 127.0.0.1 port \d+: "):
            sender.__enter__()


def test_an_unknown_host_is_one_line():
    with pytest.raises(HeadPoseError, match=r"cannot send to no\.such\.host\.invalid port 4242: "):
        send_to("opentrack://no.such.host.invalid").__enter__()


@pytest.mark.parametrize(
    "address",
    [
        *("", "127.0.0.1:4242", "udp://127.0.0.1:1", "opentrack://", "opentrack://h:99999", "osc://h:0", "osc://h:x"),
        *("osc://h/path", "ws://h?x=1", "osc://h?origin=https://a.example", "ws://user@h", "ws://h#part", "ws://[::1"),
    ],
)
def test_a_wrong_address_says_what_a_right_one_is(address):
    with pytest.raises(InputError, match=r"use an address such as opentrack://127\.0\.0\.1:4242"):
        send_to(address)


def test_the_default_ports():
    names = [send_to(f"{scheme}://localhost").name for scheme in ("opentrack", "osc", "ws")]
    assert names == ["opentrack://localhost:4242", "osc://localhost:9000", "ws://localhost:8765"]
    assert send_to("osc://[::1]:7").name == "osc://[::1]:7"


def test_opentrack_takes_one_head():
    with pytest.raises(InputError, match="OpenTrack takes one head"):
        send_to("opentrack://localhost", faces="all")
    with pytest.raises(InputError, match="must be one of largest, first, all, got 'second'"):
        send_to("osc://localhost", faces="second")


def test_the_choice_stays_with_a_face_that_is_seen():
    select = Selection("largest")
    assert [each.track for each in select([pose(side=9, track=1), pose(side=10, track=2)])] == [2]
    assert [each.track for each in select([pose(side=20, track=1), pose(side=10, track=2)])] == [2]
    assert [each.track for each in select([pose(side=20, track=1)])] == [1]
    assert select([]) == []
    assert [each.track for each in Selection("first")([pose(side=9, track=5), pose(side=10, track=3)])] == [3]
    assert len(Selection("all")([pose(), pose()])) == 2
    largest = [pose(side=9), pose(side=10)]
    assert Selection("largest")(largest) == largest[1:] and Selection("first")(largest) == largest[:1]
