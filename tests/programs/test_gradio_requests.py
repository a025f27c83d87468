"""What the page does with requests that its own browser side never sends, or sends too many or too large."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import socket
import threading
import time
import uuid

import cv2
import gradio as gr
import numpy as np
import pytest

from apps import gradio_ui
from headpose.errors import HeadPoseError
from headpose.estimator import Estimators
from headpose.streams.uploads import Places, UploadBounds, Uploads
from tests.programs.gradio_server import SETTINGS, Visitor, complaints, free_port, launch
from tests.videos import write_video

EVENTS = {"photo": [], "live": [False, None], "video": [False]}  # with what each takes before the settings
FILE = {"meta": {"_type": "gradio.FileData"}}
SMALL = ("--picture-mb", "0.3", "--video-mb", "20", "--megapixels", "0.5", "--video-seconds", "3")
SMALL += ("--videos", "1", "--videos-waiting", "2")


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a page; its server must have nothing to complain about, and leave nothing, at the end."""
    started = []

    def start(*arguments):
        folder = tmp_path_factory.mktemp("temporary")
        server = launch(free_port(), *arguments, env={**os.environ, "TMPDIR": str(folder)})
        started.append((server, folder))
        line = server.stdout.readline()
        assert "http://" in line, server.communicate()[1]
        return Visitor(re.search(r"http://\S+", line)[0])

    yield start
    for server, folder in started:
        server.terminate()
        assert complaints(server.communicate(timeout=30)[1]) == ""
        assert list(folder.glob("headpose-*")) == []


@pytest.fixture(scope="module")
def visitor(serve):
    return serve()


@pytest.fixture(scope="module")
def small(serve):
    """A page with small bounds."""
    return serve(*SMALL, "--waiting", "2")


@pytest.fixture(scope="module")
def jpeg(repo):
    return (repo / "examples" / "astronaut.jpg").read_bytes()


@pytest.fixture
def listener():
    """The address of a server of this machine that nobody may be sent to."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.2)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TimeoutError):
            server.accept()


def uploads_folder(visitor, jpeg):
    """The folder that a page keeps its uploads in."""
    return os.path.dirname(os.path.dirname(visitor.upload(jpeg, "any.jpg")))  # noqa: PTH120


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("more", [{}, FILE], ids=["no meta", "meta"])
def test_no_file_is_read_but_uploads(visitor, event, more, jpeg, repo, tmp_path, listener):
    folder = uploads_folder(visitor, jpeg)
    assert "headpose-page-" in folder  # the page's own, not that of all gradio pages
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(jpeg)
    link = f"{folder}/link-{uuid.uuid4().hex}.jpg"
    os.symlink(outside, link)  # noqa: PTH211
    paths = ["/etc/passwd", str(outside), "/dev/zero", link, f"{folder}/../../secret.jpg", f"{folder}/..{outside}"]
    paths += [str(repo / "examples" / "astronaut.jpg"), "astronaut.jpg", folder, "", "\0", f"{folder}/none.jpg"]
    paths += [f"{listener}/a.jpg", "https://example.com/a.jpg", f"file://{outside}", "//host/share/a.jpg", "0"]
    for path in paths:
        ok, output = visitor.ask(event, {"path": path, "orig_name": "x", **more}, *EVENTS[event])
        assert not ok and "not uploaded to this page" in output, path
    for sent in ({"url": f"{listener}/a.jpg"}, {"path": None, "url": f"{listener}/a.jpg"}):
        ok, output = visitor.ask(event, {**sent, **more}, *EVENTS[event])
        assert not ok and "not uploaded to this page" in output, sent


def test_a_url_beside_an_upload_is_not_asked_for(visitor, jpeg, listener):
    path = visitor.upload(jpeg, "a.jpg")
    ok, output = visitor.ask("photo", {"path": path, "url": f"{listener}/b.jpg", **FILE})
    assert ok and 'class="yaw"' in output["data"][1]


def test_what_is_uploaded_is_read_and_the_example_too(visitor, jpeg):
    ok, output = visitor.ask("photo", {"path": visitor.upload(jpeg, "a.jpg"), "orig_name": "a.jpg"})
    assert ok and 'class="yaw"' in output["data"][1]
    status, drawn = visitor.file(output["data"][0]["path"])
    assert status == 200 and cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)
    body = json.dumps({"data": [0], "fn_index": visitor.events["load_example"], "session_hash": "s"}).encode()
    status, answer = visitor.request("/gradio_api/run/predict", body)
    (example,) = json.loads(answer)["data"]
    ok, of_example = visitor.ask("photo", example.get("value", example))
    assert ok, of_example
    assert table_of(of_example) == table_of(output)


def table_of(output):
    """The angles, without the milliseconds."""
    return output["data"][1].split('<p class="note">')[0]


def test_a_frame_of_the_webcam_is_read_and_no_file_takes_its_place(visitor, jpeg, tmp_path):
    session, frame = uuid.uuid4().hex, {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()}
    status, answer = visitor.join("live", [frame, True, None, *SETTINGS], session)
    assert status == 200
    ok, output = visitor.result(session)
    assert ok and 'class="yaw"' in output["data"][1]
    stream = f"/gradio_api/stream/{json.loads(answer)['event_id']}"
    (tmp_path / "secret.jpg").write_bytes(jpeg)
    body = {"data": [{"path": str(tmp_path / "secret.jpg")}, True, None, *SETTINGS], "fn_index": visitor.events["live"]}
    assert visitor.request(stream, json.dumps(body).encode())[0] == 403
    assert visitor.request(f"{stream}/close", b"")[0] == 200


def test_webcams_do_not_wait_for_each_other(visitor, jpeg):
    frame = {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()}
    started = time.monotonic()
    for _ in range(3):  # none is closed before the next begins; a stream without frames ends after 30 seconds
        assert visitor.ask("live", frame, False, None)[0]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("data", ["data:image/jpeg;base64,????", "data:image/jpeg,abc", "data:;base64,AAAA", "data:"])
def test_a_damaged_frame_is_reported_in_a_line(visitor, data):
    ok, output = visitor.ask("live", {"url": data}, False, None)
    assert not ok and "picture" in output["error"]


@pytest.mark.parametrize(
    "settings",
    [
        ["sphere", "student", 10, 0.5, 0.0],
        [["axes"], "student", 10, 0.5, 0.0],
        ["axes", "/etc/passwd", 10, 0.5, 0.0],
        ["axes", "student", "10", 0.5, 0.0],
        ["axes", "student", 10**6, 0.5, 0.0],
        ["axes", "student", 10, None, 0.0],
        ["axes", "student", 10, 0.5, 1.5],
    ],
)
def test_settings_that_the_page_does_not_have_are_refused_in_a_line(visitor, jpeg, settings):
    session = uuid.uuid4().hex
    visitor.join("photo", [{"path": visitor.upload(jpeg, "a.jpg")}, *settings], session)
    ok, output = visitor.result(session)
    assert not ok and re.search("out of its range|model .* is not available here", output["error"])


def test_nothing_is_fetched_from_elsewhere(visitor, listener):
    for route in ("file=", "file/", "proxy=", "file=%68ttp", "file= "):
        target = listener.removeprefix("http") if "%" in route else listener
        status, answer = visitor.request(f"/gradio_api/{route}{target}/a".replace(" ", "%20"))
        assert status == 403 and b"does not download" in answer


def test_only_the_routes_of_the_page_take_a_post(visitor):
    for route in ("run/photo", "call/photo", "api/predict", "process_recording", "component_server", "vibe-edit"):
        assert visitor.request(f"/gradio_api/{route}", b'{"data": []}')[0] == 404
    photo = json.dumps({"data": [None, *SETTINGS], "fn_index": visitor.events["photo"], "session_hash": "s"}).encode()
    assert visitor.request("/gradio_api/run/predict", photo)[0] == 404  # past the queue and its bounds


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff\xfe"], ids=["cut", "deep", "no text"])
def test_a_body_that_is_no_json_is_refused(visitor, body):
    assert visitor.request("/gradio_api/queue/join", body)[0] == 400


@pytest.mark.parametrize(
    ("route", "header", "status"),
    [
        ("upload", "Transfer-Encoding: chunked", 411),
        ("upload", "Content-Length: 10\r\nTransfer-Encoding: chunked", 411),
        ("upload", "Content-Length: 22000000", 413),
        ("queue/join", "Content-Length: 9000000", 413),
        ("queue/join", "Content-Length: 9000000000000000000", 413),
    ],
)
def test_a_body_of_unknown_or_too_great_a_length_is_refused_before_it_is_read(small, route, header, status):
    host, port = small.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST /gradio_api/{route} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert f" {status} ".encode() in connection.recv(100)


def test_large_files_and_pictures_are_refused_by_kind(small, jpeg, tmp_path):
    ok, output = small.ask("photo", {"path": small.upload(jpeg + bytes(300_000), "big.jpg"), "orig_name": "big.jpg"})
    assert not ok and output["error"] == "big.jpg has 0.4 MB: this page takes 0.3 MB at most"
    frame = {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg + bytes(300_000)).decode()}
    ok, output = small.ask("live", frame, False, None)
    assert not ok and "0.4 MB" in output["error"]
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.zeros((1000, 1000, 3), np.uint8))
    for event in ("photo", "live"):
        frame = {"url": "data:image/png;base64," + base64.b64encode(large.read_bytes()).decode()}
        ok, output = small.ask(event, frame, *EVENTS[event])
        assert not ok and output["error"].endswith("is too large: 1000 x 1000 pixels, and the limit is 500,000 in all")
    video = write_video(tmp_path / "large.avi", [np.zeros((1000, 1000, 3), np.uint8)] * 3, fps=10)
    ok, output = small.ask("video", {"path": small.upload(video.read_bytes(), "large.avi"), **FILE}, False)
    assert not ok and "more than 0.5 million pixels" in output["error"]


def test_a_picture_is_no_video(visitor, jpeg):
    ok, output = visitor.ask("video", {"path": visitor.upload(jpeg, "a.jpg"), "orig_name": "mine.jpg", **FILE}, False)
    assert not ok and output["error"] == "mine.jpg is not a video: the tab Photo takes pictures"


@pytest.fixture(scope="module")
def long_video(small, jpeg, tmp_path_factory):
    """The upload of a video that takes longer than the page has for one."""
    photo = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    file = write_video(tmp_path_factory.mktemp("video") / "long.mp4", [photo[:240, 100:420]] * 2000, fps=30)
    return {"path": small.upload(file.read_bytes(), "v.mp4"), **FILE}


def test_a_long_video_ends_by_itself_and_keeps_no_photo_out(small, jpeg, long_video):
    results = {}

    def read_poses():
        results["video"] = small.ask("video", long_video, False)

    reading = threading.Thread(target=read_poses)
    reading.start()
    time.sleep(0.7)
    assert small.ask("photo", {"path": small.upload(jpeg, "a.jpg")})[0]
    assert reading.is_alive()
    reading.join(timeout=60)
    ok, output = results["video"]
    assert ok and output["data"][1].startswith("Stopped after 3 seconds of processing")
    frames = int(re.search(r"(\d+) frames", output["data"][1])[1])
    assert 0 < frames < 2000


def states(visitor, video):
    """The state line of the video tab as it changes, from when the server has the request to its last message."""
    session = uuid.uuid4().hex
    assert visitor.join("video", [video, False, *SETTINGS], session)[0] == 200
    for message in visitor.messages(session):
        data = message.get("output", {}).get("data")
        if message.get("msg") == "process_generating":
            # What has changed since the message before comes as a list of edits.
            yield data[1] if isinstance(data[1], str) else data[1][0][2] if data[1] else ""
        elif message.get("msg") == "process_completed":
            yield message["output"].get("error") or data[1]
            return


def test_a_second_video_waits_with_its_place_in_line_and_begins_by_itself(small, long_video):
    first, second, third = (states(small, long_video) for _ in range(3))
    assert next(first).startswith("Frame ")
    seen = [next(second)]
    assert seen[0] == "The page is busy with 1 other video: yours is number 1 in line."
    assert "yours is number 2 in line" in next(third)
    third.close()  # a visitor who leaves while he waits
    seen += list(second)
    assert any(line.startswith("Frame ") for line in seen)
    assert "Stopped after 3 seconds of processing" in seen[-1]


def test_visitors_who_leave_give_their_place_to_the_next(small, long_video):
    first, second, third = (states(small, long_video) for _ in range(3))
    assert next(first).startswith("Frame ")
    assert "number 1 in line" in next(second)
    assert "number 2 in line" in next(third)
    refused = list(states(small, long_video))
    assert refused[-1] == "2 others wait already: try again later" and "2 others wait" in refused[0]
    second.close()
    assert any("number 1 in line" in line for _, line in zip(range(20), third, strict=False))
    first.close()
    assert any(line.startswith("Frame ") for _, line in zip(range(20), third, strict=False))
    third.close()


def test_a_webcam_for_which_there_is_no_place_says_so(tmp_path, jpeg):
    handlers = gradio_ui.Handlers(Estimators(["student"], "blazeface", "cpu", 1), Uploads(tmp_path, UploadBounds()))
    frame = {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()}

    def live(number):
        return handlers.live(gr.Request(session_hash=f"session {number}"), frame, False, None, *SETTINGS)

    for number in range(gradio_ui.WEBCAMS):
        assert live(number)[0] is not None
    picture, words, _ = live("late")
    assert picture is None and f"busy with {gradio_ui.WEBCAMS} webcams" in words
    assert live(0)[0] is not None, "those that are here stay"


def test_a_place_is_free_again_when_its_visitor_falls_silent(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("headpose.streams.uploads.time.monotonic", lambda: now[0])
    places = Places(1)
    assert places.take("a") and not places.take("b")
    now[0] = 4.0
    assert places.take("a")
    now[0] = 8.0
    assert not places.take("b")
    now[0] = 9.5
    assert places.take("b") and not places.take("a")


def test_more_requests_than_may_wait_are_refused(small, jpeg):
    path = small.upload(jpeg, "a.jpg")
    sessions = [uuid.uuid4().hex for _ in range(30)]
    answers = [small.join("photo", [{"path": path}, *SETTINGS], session) for session in sessions]
    assert {status for status, _ in answers} == {200, 503}
    for session, (status, _) in zip(sessions, answers, strict=True):
        if status == 200:
            assert small.result(session)[0]


def test_handlers_look_at_files_themselves(tmp_path, jpeg, photo):
    """Without the gate before them, and without gradio's own check."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.jpg").write_bytes(jpeg)
    (tmp_path / "uploads" / "link.jpg").symlink_to(tmp_path / "b.jpg")
    os.mkfifo(tmp_path / "uploads" / "pipe")
    uploads = Uploads(tmp_path / "uploads", UploadBounds())
    handlers = gradio_ui.Handlers(Estimators(["student"], "blazeface", "cpu", 1), uploads)
    assert handlers.photo({"path": str(tmp_path / "uploads" / "a.jpg")}, *SETTINGS)[0].shape == photo.shape
    for name in ("b.jpg", "uploads/link.jpg", "uploads/../b.jpg", "uploads/pipe", "uploads", "uploads/none.jpg"):
        sent = {"path": str(tmp_path / name), "orig_name": "a.jpg"}
        for handle in (handlers.photo, lambda s, *r: handlers.live(gr.Request(), s, True, None, *r)):
            with pytest.raises(gr.Error, match="not uploaded"):
                handle(sent, *SETTINGS)
        with pytest.raises(gr.Error, match="not uploaded"):
            next(handlers.video(sent, False, *SETTINGS))


@pytest.mark.parametrize("bound", [field.name for field in dataclasses.fields(UploadBounds)])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_bound_is_a_number_above_zero(bound, value):
    with pytest.raises(HeadPoseError, match=bound):
        UploadBounds(**{bound: value})
