"""The static page in apps/web, driven in a headless Chromium: ``make web`` builds it first."""

from __future__ import annotations

import csv
import functools
import http.server
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import Select, WebDriverWait

from headpose import Box, HeadPoseEstimator, geometry, read_image
from tests.programs.chromium import open_browser, outside_requests, write_camera_file

pytestmark = pytest.mark.browser
PICTURES = 50


class Files(http.server.SimpleHTTPRequestHandler):
    """A server as simple as they come: no headers of its own."""

    def guess_type(self, path):
        types = {".mjs": "text/javascript", ".wasm": "application/wasm"}  # not in the tables of every system
        return types.get(Path(path).suffix) or super().guess_type(path)

    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path):
    """The address of a folder, below a path of its own, until the end."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def built(repo):
    """The folder that ``make web`` writes."""
    web = repo / "apps" / "web"
    if not (web / "dist" / "index.html").is_file():
        pytest.skip("make web builds the page; it needs Node")
    sources = [p for name in ("src", "plugin", "public") for p in (web / name).rglob("*")] + [web / "index.html"]
    newest = max(path.stat().st_mtime for path in sources if path.is_file())
    assert newest <= (web / "dist" / "sw.js").stat().st_mtime, "apps/web/dist is older than its sources: make web"
    return web / "dist"


@pytest.fixture(scope="module")
def estimator():
    return HeadPoseEstimator("student", threads=1)


@pytest.fixture(scope="module")
def camera_file(tmp_path_factory, repo):
    """A camera in front of which a head moves to the right and back."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    head = cv2.resize(read_image(repo / "examples" / "astronaut.jpg")[:240, 120:360], (480, 480))
    frames = []
    for shift in (*range(0, 80, 2), *range(80, 0, -2)):
        frame = np.full((480, 640, 3), 90, np.uint8)
        frame[:, shift : shift + 480] = head
        frames.append(frame)
    write_camera_file(path, frames, fps=15)
    return path


def write_video(path, frames, fps=10):
    """Writes (H, W, 3) uint8 BGR frames as a video that browsers play."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), fps, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


class Page:
    """The page in a browser."""

    def __init__(self, browser, address, downloads):
        self.browser, self.downloads = browser, downloads
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        browser.get(address)
        self.wait_for("ready")

    def wait(self, condition, seconds=60):
        return WebDriverWait(self.browser, seconds, poll_frequency=0.1).until(lambda _: condition())

    def wait_for(self, state, seconds=90):
        try:
            self.wait(lambda: self.find("body").get_attribute("data-state") == state, seconds)
        except Exception as error:
            raise AssertionError(f"{self.text('body')}\n{self.browser.get_log('browser')}") from error

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def text(self, selector):
        return self.find(selector).text

    def press(self, key):
        ActionChains(self.browser).send_keys(key).perform()

    def choose(self, name, value):
        details = self.find("#settings")
        self.browser.execute_script("arguments[0].open = true", details)
        Select(self.find(f"#{name}")).select_by_value(value)

    def read(self, *files):
        """Open files and wait until they are read."""
        self.browser.execute_script("document.body.dataset.state = 'waiting'")
        self.find("#files").send_keys("\n".join(map(str, files)))
        self.wait_for("ready", 240)

    def angles(self):
        """Yaw, pitch and roll as they are shown; None without a face."""
        shown = [self.text(f"#{name}") for name in ("yaw", "pitch", "roll")]
        if "\N{EN DASH}" in shown:
            return None
        return [float(text.rstrip("°").replace("\N{MINUS SIGN}", "-")) for text in shown]

    def saved(self):
        """The rows of the CSV file that a click saves."""
        path = self.downloads / "headpose.csv"
        path.unlink(missing_ok=True)
        self.find("#save").click()
        self.wait(path.is_file)
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def errors(self):
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]


@contextmanager
def opened(built, tmp_path, camera):
    with served(built) as address, open_browser(tmp_path / "profile", camera) as browser:
        yield Page(browser, address, tmp_path)


def rotation(row):
    return geometry.rotation_from_euler([float(row[name]) for name in ("yaw", "pitch", "roll")])


def box(row):
    return Box(*(float(row[name]) for name in ("x1", "y1", "x2", "y2")))


def test_a_photo_is_read_as_in_python_without_another_host_and_offline(built, repo, tmp_path, camera_file, estimator):
    photo = repo / "examples" / "astronaut.jpg"
    (expected,) = estimator(photo)
    with open_browser(tmp_path / "profile", camera_file) as browser:
        with served(built) as address:
            page = Page(browser, address, tmp_path)
            page.read(photo)
            assert page.angles() == pytest.approx(expected.euler, abs=0.5)
            assert page.text("#status") == "One face"
            assert "looks straight ahead" not in page.find("#picture").get_attribute("aria-label")
            (row,) = page.saved()
            assert row["image"] == "astronaut.jpg" and row["time_s"] == ""
            assert geometry.geodesic_degrees(rotation(row), expected.rotation) < 0.5
            assert box(row).iou(expected.box) > 0.98

            page.press("c")
            assert page.find("#style").get_attribute("value") == "cube"
            page.choose("network", "compact-clean")
            page.wait(lambda: page.text("#status").startswith("Ready: compact-clean"))
            assert "Apache-2.0" in page.text("#license")
            page.read(photo)
            (other,) = page.saved()
            (wanted,) = HeadPoseEstimator("compact-clean", threads=1)(photo)
            assert geometry.geodesic_degrees(rotation(other), wanted.rotation) < 0.5

            text = tmp_path / "text.jpg"
            text.write_text("no picture")
            page.read(text)
            assert page.text("#message") == "This browser cannot read text.jpg: it is damaged, or not a picture."
            assert page.angles() is None

            page.wait(lambda: browser.execute_script("return navigator.serviceWorker.controller !== null"))
            browser.execute_async_script("const [done] = arguments; navigator.serviceWorker.ready.then(() => done())")
            assert outside_requests(browser) == []
            assert page.errors() == []
        # The server is gone.
        page = Page(browser, address, tmp_path)
        assert browser.execute_script("return crossOriginIsolated")
        page.read(photo)
        (again,) = page.saved()
        assert again == row
        assert page.errors() == []


def test_a_camera_is_followed_with_neutral_pose_chart_and_csv(built, tmp_path, camera_file):
    with opened(built, tmp_path, camera_file) as page:
        page.find("#camera").click()
        page.wait(lambda: page.angles() is not None)
        absolute = page.angles()
        assert page.text("#words").startswith("Looks ")
        time.sleep(1.5)
        page.press("z")
        page.wait(lambda: "relative to" in page.text("#neutral-state"))
        page.wait(lambda: max(map(abs, page.angles())) < 4)
        assert abs(absolute[1]) > 4, "else the neutral pose would not show"
        page.press("z")
        page.wait(lambda: abs(page.angles()[1]) > 4)
        page.press("d")
        page.wait(lambda: page.text("#status").startswith("Looks "))
        inked = (
            "const c = document.getElementById('chart');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n"
        )
        assert page.browser.execute_script(inked) > 300
        rows = page.saved()
        times = [float(row["time_s"]) for row in rows]
        tracks = [int(row["track"]) for row in rows]
        assert len(rows) >= 3 and times == sorted(times) and tracks == sorted(tracks) and tracks[0] == 1
        assert {row["face"] for row in rows} == {"1"}
        page.browser.execute_script("document.querySelectorAll('details').forEach((each) => each.open = true)")
        print(f"\n{page.text('#times')}\n{page.text('#speed')}, {page.text('footer p')}")
        assert float(page.text("#speed").split()[0]) > 0.5
        page.press("v")
        page.wait(lambda: page.text("#camera") == "Start camera" and page.angles() is None)
        assert not page.find("#picture").is_displayed()
        assert outside_requests(page.browser) == []
        assert page.errors() == []


def test_the_pose_of_a_still_face_hardly_varies(built, repo, tmp_path):
    """Between looks at the whole frame the detector looks only at the face, and its boxes differ a little."""
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[:, 80:560] = cv2.resize(read_image(repo / "examples" / "astronaut.jpg")[:240, 120:360], (480, 480))
    write_camera_file(tmp_path / "still.y4m", [frame] * 2)
    with opened(built, tmp_path, tmp_path / "still.y4m") as page:
        page.find("#camera").click()
        page.wait(lambda: page.angles() is not None)
        page.wait(lambda: len(page.saved()) >= 35)  # two looks at the whole frame at least
        rotations = np.array([rotation(row) for row in page.saved()])
    middle = geometry.nearest_rotation(rotations.mean(0))
    off = [float(geometry.geodesic_degrees(each, middle)) for each in rotations]
    apart = max(float(geometry.geodesic_degrees(a, b)) for a in rotations for b in rotations)
    print(f"\n{len(off)} frames: {np.mean(off):.2f} degrees from their mean, at most {apart:.2f} from each other")
    assert apart < 1.5


def test_the_camera_is_mirrored_on_the_screen_and_a_video_is_not(built, repo, tmp_path, camera_file, estimator):
    photo = cv2.resize(read_image(repo / "examples" / "astronaut.jpg")[:240, 120:360], (320, 320))
    frame = np.full((320, 480, 3), (0, 0, 255), np.uint8)
    frame[:, 160:] = photo
    video = tmp_path / "video.webm"
    write_video(video, [frame] * 10)
    corner = "return [...document.getElementById('picture').getContext('2d').getImageData(2, 2, 1, 1).data]"
    with opened(built, tmp_path, camera_file) as page:
        page.find("#files").send_keys(str(video))
        page.wait(lambda: page.angles() is not None)
        red, green, blue, _ = page.browser.execute_script(corner)
        assert red > 180 and max(green, blue) < 60
        page.wait(lambda: page.text("#pause") == "Play again")
        rows = page.saved()
        assert rows and all(0 <= float(row["time_s"]) <= 1.1 for row in rows)
        (expected,) = estimator(frame)  # before the video's loss
        assert max(geometry.geodesic_degrees(rotation(row), expected.rotation) for row in rows) < 4
        page.find("#pause").click()
        page.wait(lambda: page.text("#pause") == "Pause")

        page.press("v")  # in the camera's picture, the left edge is grey at times, the right edge always
        page.wait(lambda: page.angles() is not None)
        left = page.browser.execute_script(corner)
        assert max(abs(value - 90) for value in left[:3]) < 12, "the right edge of the camera's picture is on the left"
        page.press("m")
        page.wait(lambda: page.browser.execute_script(corner) != left)
        assert page.errors() == []


def test_without_a_camera_the_page_says_what_to_do(built, tmp_path, camera_file):
    with opened(built, tmp_path, camera_file) as page:
        denied = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }"
        page.browser.execute_script(denied)
        page.find("#camera").click()
        page.wait(lambda: page.text("#message").startswith("The camera is blocked for this page. Allow it"))
        assert page.text("#camera") == "Start camera"


@pytest.mark.data
@pytest.mark.slow
def test_fifty_pictures_are_read_as_in_python(built, tmp_path, camera_file, data_dir, estimator):
    pictures = sorted((data_dir / "aflw2000").rglob("*.jpg"))[::40][:PICTURES]
    assert len(pictures) == PICTURES
    with opened(built, tmp_path, camera_file) as page:
        page.choose("max-faces", "1000")
        page.read(*pictures)
        rows = page.saved()
    off, missing, faces = [], 0, 0
    for picture in pictures:
        own = [row for row in rows if row["image"] == picture.name]
        poses = estimator(picture)
        faces += len(poses)
        missing += abs(len(own) - len(poses))
        for pose in poses:
            near = [row for row in own if box(row).iou(pose.box) > 0.8]
            off += [geometry.geodesic_degrees(rotation(row), pose.rotation) for row in near[:1]]
    measured = f"mean {np.mean(off):.3f}, median {np.median(off):.3f}, worst {max(off):.2f} degrees"
    print(f"\n{PICTURES} pictures, {faces} faces, {missing} found on one side alone; geodesic difference: {measured}")
    assert len(off) >= PICTURES - 2 and missing == 0
    assert np.mean(off) < 0.05 and max(off) < 0.5  # asked for: 0.3 and 1.5
