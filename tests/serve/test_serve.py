"""The server: a real one on a free port, with clients that do and do not behave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from headpose import cli
from headpose.errors import HeadPoseError, InputError
from headpose.images import decode_image
from headpose.serve.app import create_app
from headpose.serve.settings import ServeSettings, check_exposure
from tests.network_files import color_network
from tests.picture_files import encoded

TOKEN = "a secret of some length"


@contextlib.contextmanager
def serving(settings):
    """A server in a thread; gives its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        config = uvicorn.Config(
            create_app(settings), log_level="error", ws_max_size=settings.largest_bytes + 1, timeout_graceful_shutdown=3
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return str(color_network(tmp_path_factory.mktemp("networks") / "color.onnx"))


@pytest.fixture(scope="module")
def settings(network):
    return ServeSettings(models=(network,), workers=1, at_once=2, streams=2, megabytes=1, megapixels=2, seconds=2)


@pytest.fixture(scope="module")
def server(settings):
    with serving(settings) as address:
        yield address


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def jpeg(repo):
    return (repo / "examples" / "astronaut.jpg").read_bytes()


def metric(client, name):
    rows = [line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(value) for _, value in rows)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_picture_as_body_and_as_form(client, jpeg):
    answer = client.post("/v1/estimate", content=jpeg)
    assert answer.status_code == 200
    result = answer.json()
    assert (result["model"], result["width"], result["height"]) == ("color", 512, 512)
    (face,) = result["faces"]
    assert face["box"] == pytest.approx([178, 83, 273, 176], abs=2) and np.shape(face["rotation"]) == (3, 3)
    assert set(face) >= {"track", "score", "yaw", "pitch", "roll", "quality"}
    assert client.post("/v1/estimate", files={"image": ("a.jpg", jpeg)}).json() == result
    assert client.post("/v1/estimate?min_score=1", content=jpeg).json()["faces"] == []


@pytest.mark.parametrize(("accept", "kind"), [("*/*", "image/jpeg"), ("image/png", "image/png")])
def test_a_drawn_picture(client, jpeg, accept, kind):
    answer = client.post("/v1/estimate?draw=axes", content=jpeg, headers={"accept": accept})
    assert answer.headers["content-type"] == kind
    drawn, given = decode_image(answer.content), decode_image(jpeg)
    assert drawn.shape == given.shape and np.abs(drawn.astype(int) - given).max() > 100


def test_models_health_and_metrics(client, jpeg):
    (model,) = client.get("/v1/models").json()["models"]
    assert model == {"name": "color", "default": True, "license": "unknown", "bytes": None, "metrics": {}}
    assert client.get("/healthz").json() == {"status": "ok"}
    before = metric(client, "headpose_faces_total")
    client.post("/v1/estimate", content=jpeg)
    assert metric(client, "headpose_faces_total") == before + 1
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'headpose_requests_total{path="/v1/estimate",status="200"}' in text
    assert 'headpose_requests_total{path="other",status="404"}' in text and "/no/such" not in text


def bomb():
    """A PNG of a few bytes that would have 10^8 pixels."""
    head = b"IHDR" + (10_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    small = encoded("png", np.zeros((4, 4, 3), np.uint8))
    return small[:12] + head + zlib.crc32(head).to_bytes(4, "big") + small[33:]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "bomb", "video", "large", "animation"])
def test_what_is_no_picture_is_a_line_and_the_server_lives(client, jpeg, kind):
    bodies = {
        "empty": b"",
        "text": b"<html>",
        "cut": jpeg[: len(jpeg) // 2],
        "bomb": bomb(),
        "video": b"\0\0\0\x18ftypmp42",
        "large": encoded("jpg", np.zeros((1500, 1500, 3), np.uint8)),
        "animation": b"GIF89a" + bytes(20),
    }
    answer = client.post("/v1/estimate", content=bodies[kind])
    assert answer.status_code == 400 and "\n" not in answer.json()["detail"]
    assert client.post("/v1/estimate", content=jpeg).status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"files": {"other": b"x"}}, 400),
        ({"files": {"image": b""}}, 400),
        ({"files": [("image", b"x"), ("image", b"y")]}, 400),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"data": {"image": "text"}, "files": {"other": b"x"}}, 400),
    ],
)
def test_a_form_without_a_picture(client, form, status):
    assert client.post("/v1/estimate", **form).status_code == status


def test_limits_of_bytes_and_of_parameters(client, jpeg):
    assert client.post("/v1/estimate", content=bytes(1_000_001)).status_code == 413
    assert client.post("/v1/estimate", content=iter([bytes(600_000)] * 2)).status_code == 413  # no Content-Length
    assert client.post("/v1/estimate", files={"image": bytes(1_000_001)}).status_code == 413
    for query in ("max_faces=0", "max_faces=x", "min_score=2", "draw=arrow", f"model={'x' * 300}"):
        assert client.post(f"/v1/estimate?{query}", content=jpeg).status_code == 422
    assert client.post("/v1/estimate?model=teacher", content=jpeg).status_code == 404
    assert client.post("/v1/estimate?model=/etc/passwd", content=jpeg).status_code == 404
    assert client.get("/v1/estimate").status_code == 405


def begun(server, sent=b"x"):
    """A connection that has sent the head of a request, and less than its body."""
    host, port = server.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), 10)
    head = f"POST /v1/estimate HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
    opened.sendall(head.encode() + sent)
    return opened


def test_beyond_the_places_is_503_and_slow_bodies_are_408(server, client, jpeg):
    with begun(server) as one, begun(server) as other:
        until(lambda: metric(client, "headpose_requests_held") == 2)
        refused = client.post("/v1/estimate", content=jpeg)
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
        for slow in (one, other):
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
    until(lambda: metric(client, "headpose_requests_held") == 0)
    assert client.post("/v1/estimate", content=jpeg).status_code == 200


def test_a_client_that_hangs_up_leaves_its_place(server, client, jpeg):
    with begun(server):
        until(lambda: metric(client, "headpose_requests_held") == 1)
    until(lambda: metric(client, "headpose_requests_held") == 0)
    before = metric(client, "headpose_pictures_total")
    with begun(server, jpeg[:1000]):  # complete, and nobody waits for the answer
        pass
    until(lambda: metric(client, "headpose_requests_held") == 0)
    assert metric(client, "headpose_pictures_total") == before
    assert client.post("/v1/estimate", content=jpeg).status_code == 200


def address_of(server, query=""):
    return server.replace("http", "ws") + "/v1/stream" + query


def test_a_stream_has_a_tracker_of_its_own(server, jpeg):
    with connect(address_of(server)) as one, connect(address_of(server, "?smooth=true")) as other:
        for frame in range(3):
            one.send(jpeg)
            answer = json.loads(one.recv(10))
            assert answer["frame"] == frame and [face["track"] for face in answer["faces"]] == [1]
        other.send(jpeg)
        assert json.loads(other.recv(10))["faces"][0]["track"] == 1


def test_a_stream_says_what_is_wrong_and_goes_on(server, jpeg):
    with connect(address_of(server)) as socket_:
        socket_.send("text")
        assert "binary" in json.loads(socket_.recv(10))["error"]
        socket_.send(b"no picture")
        assert "not a picture" in json.loads(socket_.recv(10))["error"]
        socket_.send(bomb())
        assert "too large" in json.loads(socket_.recv(10))["error"]
        socket_.send(jpeg)
        assert json.loads(socket_.recv(10))["frame"] == 0
        socket_.send(bytes(1_000_001))
        with pytest.raises(ConnectionClosed, match="1009"):
            socket_.recv(10)


def test_streams_are_limited_and_idle_ones_are_closed(server, client):
    with connect(address_of(server)) as idle, connect(address_of(server)):
        until(lambda: metric(client, "headpose_streams") == 2)
        with connect(address_of(server)) as third, pytest.raises(ConnectionClosed, match="1013"):
            third.recv(10)
        with pytest.raises(ConnectionClosed, match="no picture for too long"):
            idle.recv(10)
    until(lambda: metric(client, "headpose_streams") == 0)


def test_a_stream_of_an_unknown_network_is_refused(server):
    for query in ("?model=teacher", "?max_faces=0"):
        with pytest.raises(InvalidStatus, match="403"), connect(address_of(server, query)):
            pass


def test_pages_of_other_sites_are_refused(server, client, jpeg):
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert client.post("/v1/estimate", content=jpeg, headers=headers).status_code == 403
    assert client.get("/v1/models", headers={"origin": "http://localhost:3000"}).status_code == 200
    with pytest.raises(InvalidStatus, match="403"), connect(address_of(server), origin="https://evil.example"):
        pass


def test_a_token_is_needed_where_one_is_set(network, jpeg):
    settings = ServeSettings(models=(network,), workers=1, token=TOKEN)
    right = {"authorization": f"Bearer {TOKEN}"}
    with serving(settings) as address, httpx.Client(base_url=address) as client:
        for headers in ({}, {"authorization": TOKEN}, {"authorization": f"Bearer {TOKEN}x"}):
            answer = client.post("/v1/estimate", content=jpeg, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401 and client.get("/healthz").status_code == 200
        assert client.post("/v1/estimate", content=jpeg, headers=right).status_code == 200
        with pytest.raises(InvalidStatus, match="403"), connect(address_of(address)):
            pass
        with connect(address_of(address), additional_headers=right) as stream:
            stream.send(jpeg)
            assert json.loads(stream.recv(10))["frame"] == 0
        assert "security" in client.get("/openapi.json", headers=right).json()["paths"]["/v1/estimate"]["post"]


def test_settings_out_of_range():
    for values in ({"workers": -1}, {"at_once": 0}, {"seconds": float("nan")}, {"models": ()}, {"token": "short"}):
        with pytest.raises(InputError, match=r"must|needs"):
            ServeSettings(**values)
    assert ServeSettings().workers >= 1
    check_exposure("127.0.0.1", ServeSettings())
    check_exposure("0.0.0.0", ServeSettings(token=TOKEN))
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(HeadPoseError, match="HEADPOSE_TOKEN"):
            check_exposure(host, ServeSettings())


def test_what_cannot_be_served_is_one_line(capsys, network, monkeypatch):
    monkeypatch.delenv("HEADPOSE_TOKEN", raising=False)
    threads = cv2.getNumThreads()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--port", port, "--models", network]) == 1
    assert "cannot listen on 127.0.0.1 port" in capsys.readouterr().err
    assert cli.main(["serve", "--models", "none"]) == 1
    assert cli.main(["serve", "--host", "0.0.0.0"]) == 1
    err = capsys.readouterr().err
    assert "unknown model" in err and "HEADPOSE_TOKEN" in err and "Traceback" not in err
    cv2.setNumThreads(threads)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_finishes_the_request_in_progress(network, jpeg):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "headpose", "serve", "--port", str(port), "--models", network, "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "HEADPOSE_TOKEN"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert f"serving on http://127.0.0.1:{port}" in process.stderr.readline()
        with begun(f"http://127.0.0.1:{port}", b"") as opened:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            opened.sendall(jpeg[:1000])
            assert opened.recv(100).startswith(b"HTTP/1.1 400")
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
