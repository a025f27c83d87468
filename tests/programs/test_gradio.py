"""apps/gradio_ui.py as a program, looked at in a headless Chromium whose camera is a file."""

import base64
import csv
import io
import os
import re
import socket
import struct
import time
import urllib.request

import cv2
import gradio as gr
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains

from apps import gradio_ui
from headpose import Box, EulerAngles, Face, HeadPose, HeadPoseError, HeadPoseEstimator, geometry
from headpose.draw import ANGLE_COLORS, describe, draw_poses
from headpose.estimator import DEFAULT_MODEL, Estimators
from headpose.geometry import rotation_from_direction
from headpose.streams.uploads import UploadBounds, Uploads
from tests.programs.chromium import open_browser, outside_requests, write_camera_file
from tests.programs.gradio_server import complaints, free_port, launch
from tests.videos import write_video

MODEL = os.environ.get("HEADPOSE_TEST_MODEL", DEFAULT_MODEL)  # a trained one: signs are checked
FRAMES = 20


def until(condition, what, seconds=60.0):
    """What ``condition`` returns, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} seconds in vain for {what}")


@pytest.fixture(scope="module")
def address():
    """The page's address. Its server must have nothing to complain about at the end."""
    server = launch(free_port(), "--model", MODEL)
    line = server.stdout.readline()
    assert "http://" in line, server.communicate()[1]
    yield re.search(r"http://\S+", line)[0]
    server.terminate()
    assert complaints(server.communicate(timeout=30)[1]) == ""


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """The camera's file: what is written to it is seen when the camera is next switched on."""
    return tmp_path_factory.mktemp("camera") / "camera.y4m"


@pytest.fixture(scope="module")
def browser(tmp_path_factory, camera):
    write_camera_file(camera, [np.full((480, 640, 3), 90, np.uint8)] * 2)
    with open_browser(tmp_path_factory.mktemp("profile"), camera) as driver:
        yield driver


class Page:
    """The page in a browser; everything waits until what it looks for is there."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def open(self):
        self.browser.get(self.address)
        self.find("#photo input[type=file]")

    def find(self, selector):
        return until(lambda: self.browser.find_elements("css selector", selector), selector)[0]

    def click(self, words, within="//body"):
        """Clicks the button, tab or choice with these words."""
        path = f"{within}//*[self::button or self::label][contains(., '{words}')]"
        shown = until(lambda: [e for e in self.browser.find_elements("xpath", path) if e.is_displayed()], words)
        shown[0].click()

    def press(self, key):
        ActionChains(self.browser).send_keys(key).perform()

    def stop(self):
        """Click Stop until the page says so: in a busy browser a click can be lost."""
        for attempt in range(6):
            self.click("Stop")
            try:
                until(lambda: "Stopped." in self.browser.find_element("tag name", "body").text, "Stopped.", 10)
            except AssertionError:
                if attempt == 5:
                    raise
            else:
                return

    def wait_for(self, words):
        until(lambda: words in self.browser.find_element("tag name", "body").text, words)


@pytest.fixture
def page(browser, address):
    page = Page(browser, address)
    page.open()
    return page


def angles_in(text):
    """Yaw, pitch and roll of the first face in a table's text."""
    return EulerAngles(*(float(angle) for angle in re.findall(r"([+-]\d+\.\d)°", text)[:3]))


def on_canvas(face):
    """The picture in the middle of a grey 640x480 frame."""
    canvas = np.full((480, 640, 3), 90, np.uint8)
    height, width = face.shape[:2]
    top, left = (480 - height) // 2, (640 - width) // 2
    canvas[top : top + height, left : left + width] = face
    return canvas


@pytest.fixture
def tilted_head(photo):
    """The astronaut, the picture turned clockwise by 25 degrees."""
    turn = cv2.getRotationMatrix2D((225, 115), -25, 1.0)
    return on_canvas(cv2.warpAffine(photo, turn, (512, 400), borderMode=cv2.BORDER_REPLICATE))


@pytest.fixture
def turned_head(data_dir):
    """A head that is turned by 41 degrees to the left of the image, and hardly otherwise."""
    image = cv2.imread(str(data_dir / "aflw2000" / "image00078.jpg"))
    assert image is not None
    return on_canvas(image)


@pytest.mark.browser
def test_an_uploaded_photo_gives_the_angles_of_the_package(page, photo, repo):
    page.find("#photo input[type=file]").send_keys(str(repo / "examples" / "astronaut.jpg"))
    text = page.find("#photo-angles table").text
    (pose,) = HeadPoseEstimator(MODEL, threads=1).estimate(photo)
    assert angles_in(text) == pytest.approx(pose.euler, abs=0.06)
    with_axes = page.find("#photo-drawn img").get_attribute("src")
    page.click("cube")
    until(lambda: page.find("#photo-drawn img").get_attribute("src") != with_axes, "the picture with a cube")


@pytest.mark.browser
def test_what_is_no_picture_is_reported_in_the_page(page, tmp_path):
    (tmp_path / "letter.jpg").write_bytes(b"Dear all, " * 100)
    page.find("#photo input[type=file]").send_keys(str(tmp_path / "letter.jpg"))
    page.wait_for("letter.jpg is not a picture")


@pytest.mark.browser
def test_a_video_comes_back_as_one_that_the_browser_plays_with_its_angles(page, photo, tmp_path):
    shifts = [np.array([[1, 0, 60.0 + 3 * index], [0, 1, 20.0]]) for index in range(FRAMES)]
    video = write_video(tmp_path / "face.avi", [cv2.warpAffine(photo, shift, (640, 480)) for shift in shifts], fps=10)
    page.click("Video")
    page.find("#video input[type=file]").send_keys(str(video))
    page.find("#video video")
    page.click("Estimate poses")
    page.wait_for(f"{FRAMES} frames, {FRAMES} of them with a face")
    player = page.find("#video-drawn video")
    until(lambda: int(player.get_property("readyState")) >= 2, "a frame of the video")
    assert player.get_property("videoWidth") == 640
    assert player.get_property("duration") == pytest.approx(FRAMES / 10, abs=0.15)
    link = page.find("#video-angles a").get_attribute("href")
    with urllib.request.urlopen(link) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    assert {row["track"] for row in rows} == {"1"}
    page.find("#video-curves canvas, #video-curves svg.marks")


@pytest.mark.browser
def test_a_video_that_waits_says_so_in_the_page(browser, tmp_path, photo):
    """Whoever comes second sees his place, and his video begins by itself."""
    video = write_video(tmp_path / "face.mp4", [cv2.resize(photo, (320, 320))] * 150, fps=10)
    server = launch(free_port(), "--model", MODEL, "--videos", "1")
    page = Page(browser, re.search(r"http://\S+", server.stdout.readline())[0])
    try:
        windows = []
        for _ in range(2):
            browser.switch_to.new_window("tab")
            windows.append(browser.current_window_handle)
            page.open()
            page.click("Video")
            page.find("#video input[type=file]").send_keys(str(video))
            page.find("#video video")
            page.click("Estimate poses")
        page.wait_for("busy with 1 other video: yours is number 1 in line")
        browser.switch_to.window(windows[0])
        page.stop()
        browser.switch_to.window(windows[1])
        page.wait_for("150 frames, 150 of them with a face. The curves show face 1.")
        for window in windows:
            browser.switch_to.window(window)
            browser.close()
    finally:
        browser.switch_to.window(browser.window_handles[0])
        server.terminate()
        assert complaints(server.communicate(timeout=30)[1]) == ""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_angles_have_the_colors_of_the_axes_that_they_turn_about(page, repo, theme):
    page.browser.get(f"{page.address}?__theme={theme}")
    page.find("#photo input[type=file]").send_keys(str(repo / "examples" / "astronaut.jpg"))
    page.find("#photo-angles table")
    for name, bgr in ANGLE_COLORS.items():
        cells = [page.find(f"#photo-angles td.{name}"), page.find(f"#legend .{name}")]
        shown = [cell.value_of_css_property("color") for cell in cells]
        assert shown[0] == shown[1]
        numbers = [float(part) for part in re.findall(r"[\d.]+", shown[0].rpartition("srgb")[2])[:3]]
        assert np.argsort(numbers).tolist() == np.argsort(bgr[::-1]).tolist(), (name, shown)


def test_rows_and_drawn_faces_share_their_numbers(tmp_path, photo):
    """In stills by their scores, as headpose estimate numbers them; from a webcam from left to right, which stays.

    A network without regions: its poses in a stream are those of a still.
    """
    canvas = np.full((512, 1100, 3), 90, np.uint8)
    canvas[:, 588:], canvas[100:400, 100:400] = photo, cv2.resize(photo, (300, 300))
    poses = HeadPoseEstimator("student", threads=1).estimate(canvas)
    assert len(poses) == 2 and poses[0].box.center[0] > poses[1].box.center[0], "the order of scores is not the other"
    handlers = gradio_ui.Handlers(Estimators(["student"], "blazeface", "cpu", 1), Uploads(tmp_path, UploadBounds()))
    sent = {"url": "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", canvas)[1].tobytes()).decode()}
    settings = ["axes", "student", 100, 0.5, 0.0]
    for order, (drawn, rows, *_) in (
        (poses, handlers.photo(sent, *settings)),
        (poses[::-1], handlers.live(gr.Request(), sent, False, None, *settings)),
    ):
        np.testing.assert_array_equal(drawn[..., ::-1], draw_poses(canvas, order))
        numbers = re.findall(r"<tr><td>(\d)</td>.*?([+-]\d+\.\d)°", rows)
        assert numbers == [(str(n), f"{pose.euler.yaw:+.1f}") for n, pose in enumerate(order, 1)]


@pytest.mark.parametrize(("seconds", "frames"), [(1_000_000, 1), (500, 1), (1, 0), (0, 25), (1, 1000), (1, 100_000)])
def test_a_video_is_annotated_whatever_rate_it_claims(tmp_path, photo, seconds, frames):
    """From one frame in eleven days to 100,000 a second, and none at all."""
    video = write_video(tmp_path / "face.avi", [photo] * 3, fps=25)
    data = bytearray(video.read_bytes())
    rate = data.index(b"strh") + 8 + 20  # of the stream's header: a scale, and the rate that is divided by it
    data[rate : rate + 8] = struct.pack("<II", seconds, frames)
    video.write_bytes(data)
    handlers = gradio_ui.Handlers(Estimators([MODEL], "blazeface", "cpu", 1), Uploads(tmp_path, UploadBounds()))
    results = list(handlers.video({"path": str(video)}, False, "axes", MODEL, 100, 0.5, 0.0))
    assert results[-1][1].startswith("3 frames, 3 of them with a face")


def test_a_false_face_in_one_frame_is_not_in_the_curves(tmp_path, photo):
    """The curves are those of one face: the one that is largest over all frames."""
    frames = [np.pad(photo[:300, 60:360], ((0, 300), (0, 600), (0, 0))) for _ in range(8)]
    frames[4][:, 300:] = cv2.resize(photo[:300, 60:360], (600, 600))
    video = write_video(tmp_path / "face.avi", frames, fps=25)
    handlers = gradio_ui.Handlers(Estimators([MODEL], "blazeface", "cpu", 1), Uploads(tmp_path, UploadBounds()))
    *_, plot = list(handlers.video({"path": str(video)}, False, "axes", MODEL, 100, 0.5, 0.0))[-1]
    assert sorted(set(plot["value"]["seconds"])) == pytest.approx([index / 25 for index in range(8)])
    assert plot["value"][plot["value"]["angle"] == "yaw"]["degrees"].std() < 2


def test_a_neutral_pose_makes_angles_relative_and_the_drawn_axes_stay(tmp_path, photo):
    # A network without regions: it reads the same picture in the same way twice.
    handlers = gradio_ui.Handlers(Estimators(["student"], "blazeface", "cpu", 1), Uploads(tmp_path, UploadBounds()))
    settings, visitor = ["axes", "student", 100, 0.5, 0.0], gr.Request(session_hash="a visitor")
    sent = {"url": "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", photo)[1].tobytes()).decode()}
    _, message = handlers.set_neutral(visitor)
    assert "No neutral pose: a neutral pose needs a face" in message and 'role="status"' in message
    drawn, before, plot = handlers.live(visitor, sent, False, None, *settings)
    assert max(map(abs, angles_in(before))) > 2 and "<caption>" not in before
    assert sorted(plot["value"]["degrees"]) == pytest.approx(sorted(angles_in(before)), abs=0.06)
    neutral, message = handlers.set_neutral(visitor)
    assert geometry.euler_from_rotation(neutral.rotation) == pytest.approx(angles_in(before), abs=0.06)
    assert f"yaw {angles_in(before).yaw:+.1f}°" in message
    relative, rows, _ = handlers.live(visitor, sent, False, neutral, *settings)
    assert angles_in(rows.partition("</caption>")[2]) == pytest.approx((0, 0, 0), abs=0.5)
    assert "<caption>Relative to the neutral pose" in rows
    (pose,) = HeadPoseEstimator("student", threads=1).estimate(photo)
    above = slice(0, int(pose.box.y2))  # the label, which has the relative angles, is below
    np.testing.assert_array_equal(relative[above], drawn[above])
    assert (relative != drawn).any()
    with pytest.raises(HeadPoseError, match="needs a face"):
        handlers._webcams.neutral("another visitor")


@pytest.mark.browser
def test_keys_set_and_clear_the_neutral_pose_of_a_webcam(page, camera, tilted_head):
    write_camera_file(camera, [tilted_head] * 2)
    page.open()
    page.press("z")  # in the tab of photos the keys do nothing
    page.click("Webcam")
    page.click("Access Webcam", within="//*[@id='webcam']")
    page.click("Record", within="//*[@id='webcam']")

    def roll():
        return abs(angles_in(page.find("#webcam-angles tr:last-of-type").text).roll)

    assert page.find("#neutral-message").text == "" and roll() > 15
    page.press("z")
    page.wait_for("Relative to the neutral pose (")
    until(lambda: roll() < 5, "relative angles")
    assert "Neutral pose set" in page.find("#neutral-message [role=status]").text
    page.find("#webcam-curves svg.marks, #webcam-curves canvas")
    page.press("x")
    page.wait_for("Neutral pose cleared")
    until(lambda: roll() > 15, "absolute angles")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("head", "angle"), [("tilted_head", "roll"), pytest.param("turned_head", "yaw", marks=pytest.mark.data)]
)
def test_the_webcam_is_not_mirrored(page, camera, request, head, angle):
    """The angle has the sign of what the camera sees, and the other one when it sees the mirror image."""
    picture = request.getfixturevalue(head)
    seen = []
    for image in (picture, np.ascontiguousarray(picture[:, ::-1])):
        write_camera_file(camera, [image] * 2)
        page.open()
        page.click("Webcam")
        page.click("Access Webcam", within="//*[@id='webcam']")
        page.click("Record", within="//*[@id='webcam']")
        seen.append(getattr(angles_in(page.find("#webcam-angles table").text), angle))
    assert seen[0] > 15 and seen[1] < -15
    assert seen[0] == pytest.approx(-seen[1], abs=8)


@pytest.mark.browser
def test_nothing_outside_this_machine_was_asked_for(page):
    """By all of the actions above; run by itself, by the page alone."""
    assert outside_requests(page.browser) == []


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        ((0.0, 1.0, -2.0), "looks straight ahead"),
        ((30.2, -10.0, 0.0), "looks 30° left and 10° down"),
        ((-30.0, 20.0, 12.0), "looks 30° right and 20° up, tilted 12° clockwise"),
        ((0.0, 0.0, -7.0), "looks straight ahead, tilted 7° counter-clockwise"),
        ((95.0, -3.0, 1.0), "looks 95° left and 3° down"),
    ],
)
def test_a_direction_in_words(direction, words):
    assert describe(HeadPose(Face(Box(0, 0, 9, 9), 1.0), rotation_from_direction(direction))) == words


def test_what_cannot_be_served_is_reported_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for model, message in (("no-such-model", "unknown model"), (MODEL, f"cannot serve on 127.0.0.1:{port}")):
            assert gradio_ui.main(["--port", port, "--threads", "1", "--model", model]) == 1
            out, err = capsys.readouterr()
            assert out == "" and err.startswith("gradio_ui: error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_an_invalid_port_is_one_line(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gradio_ui.main(["--port", port])
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"--port: {port!r} is not a port from 1 to 65535")
