"""Videos that are not as their headers say: rates, times, damage, pixels; and what is no video but a way to one."""

from __future__ import annotations

import http.server
import itertools
import os
import socket
import struct
import sys
import threading

import cv2
import numpy as np
import pytest

from headpose.errors import ImageError
from headpose.streams import Recorder, VideoFile, open_source, timing
from tests.videos import edit_mp4, put_box, read_video, shade, write_video


def frames_of(source):
    with open_source(source) as opened:
        return list(opened), opened


def annotated(source, target):
    """Every frame through ``VideoFile``, as --out writes it; its frames, its rate and its notes."""
    with open_source(source) as opened, VideoFile(target, opened.fps, by_clock=True) as sink:
        for frame in opened:
            sink.write(frame, [])
    return *read_video(target), sink.notes


def write_steps(path, fps=12.5):
    """Twenty frames; a bright block moves from left to right, twelve pixels a frame."""
    frames = np.zeros((20, 48, 240, 3), np.uint8)
    for index in range(20):
        frames[index, :, 12 * index : 12 * index + 12] = 255
    return write_video(path, list(frames), fps)


def index_of(picture):
    """Which frame of ``write_steps`` a picture is."""
    return int(picture[..., 0].mean(0).reshape(20, 12).mean(1).argmax())


def test_a_rate_that_cannot_be_is_replaced_by_that_of_the_frames_times(repo, tmp_path):
    """As browsers record: times in whole milliseconds, no duration; OpenCV says 1000 frames a second."""
    path = repo / "tests" / "streams" / "browser.webm"
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 1000
    frames, source = frames_of(path)
    assert len(frames) == 30 and source.problems == []
    times = [frame.time_s for frame in frames]
    assert times == sorted(times) and times[-1] == pytest.approx(1.184)
    assert source.fps == pytest.approx(29 / 1.184)
    written, fps, _ = annotated(path, tmp_path / "out.mp4")
    assert len(written) / fps == pytest.approx(1.184 + 1 / 24.5, abs=0.06)
    assert 28 <= len(written) <= 31


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_variable_rate_keeps_its_times(tmp_path, suffix):
    """Five frames of 0.2 s, then fifteen of 0.04 s; the header's 12.5 frames a second are their mean."""
    path = edit_mp4(write_steps(tmp_path / "a.mp4"), ticks=[3200] * 5 + [640] * 15)
    frames, _ = frames_of(path)
    times = [frame.time_s for frame in frames]
    assert times == pytest.approx([0.2 * min(i, 5) + 0.04 * max(0, i - 5) for i in range(20)], abs=1e-3)
    written, fps, notes = annotated(path, tmp_path / f"out{suffix}")
    assert len(written) / fps == pytest.approx(1.6, abs=1.5 / fps)
    for position, picture in enumerate(written):
        now = position / fps
        due = max(index for index, time_s in enumerate(times) if time_s <= now + 1e-3)
        assert abs(times[index_of(picture)] - times[due]) <= 1 / fps, "a frame is shown when it is not its time"
    assert len(notes) == 1 and "lacks" in notes[0]  # 25 a second do not go into 12.5
    left_out = 20 - len({index_of(picture) for picture in written})
    assert f"lacks {left_out} frames" in notes[0]


def test_a_constant_rate_gives_each_frame_once(tmp_path):
    for fps in (12.5, 23.976, 29.97, 59.94):
        path = write_steps(tmp_path / "a.mkv", fps)  # whose times are whole milliseconds
        written, out_fps, notes = annotated(path, tmp_path / "out.mp4")
        assert [index_of(picture) for picture in written] == list(range(20))
        assert out_fps == pytest.approx(fps, rel=1e-3)
        assert notes == []


def write_y4m(path, shades, interlaced):
    """Raw frames of 64x48, each of one shade; the header says how they were scanned."""
    frames = b"".join(b"FRAME\n" + bytes([shade]) * 3072 + b"\x80" * 1536 for shade in shades)
    scan = "It" if interlaced else "Ip"
    path.write_bytes(f"YUV4MPEG2 W64 H48 F25:1 {scan} A1:1 C420jpeg\n".encode() + frames)
    return path


def test_an_interlaced_video_is_read_right_or_refused(tmp_path):
    """OpenCV 4.14 reports success and gives what was in memory, as the last frame of the video before."""
    before, _ = frames_of(write_y4m(tmp_path / "p.y4m", [200] * 3, interlaced=False))
    assert [frame.image.mean() for frame in before] == pytest.approx([200 * 1.164 - 18] * 3, abs=4)
    path = write_y4m(tmp_path / "i.y4m", [60, 110, 160], interlaced=True)
    try:
        frames, _ = frames_of(path)
    except ImageError as error:
        assert str(error).startswith(f"{path} is interlaced")
    else:
        assert [frame.image.mean() for frame in frames] == pytest.approx([52, 110, 168], abs=4)


def test_a_video_that_stands_still_is_none_that_cannot_be_read(tmp_path):
    for count in (1, 4):
        frames, source = frames_of(write_y4m(tmp_path / "p.y4m", [90] * count, interlaced=False))
        assert len(frames) == count and source.problems == []


def test_no_module_of_the_working_folder_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cv2.py").write_text("import pathlib\npathlib.Path('imported').touch()\n")
    frames_of(write_y4m(tmp_path / "p.y4m", [90] * 3, interlaced=False))
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("noise", [0, 40])  # a file that FFmpeg takes for MJPEG, and one that it takes for JPEGs
def test_motion_jpeg_is_a_video_though_it_begins_as_a_picture(tmp_path, noise):
    random = np.random.default_rng(0)
    frames = [random.integers(60 + 20 * i - noise, 61 + 20 * i + noise, (256, 256, 3), np.uint8) for i in range(4)]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    read, source = frames_of(tmp_path / "a.mjpeg")
    assert source.kind == "video"
    assert [frame.image.mean() for frame in read] == pytest.approx([60, 80, 100, 120], abs=2)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match=r"a\.mp4 is a pipe"):
        open_source(tmp_path / "a.mp4")


def test_a_file_that_counts_from_before_its_first_frame_is_not_cut_short():
    """As a part of a Matroska video that kept its times: 2 s from second 100 on, and a duration of 102 s."""

    def line(start_s, frames):
        losses = timing.Losses(25.0, 2550, 102.0)
        for index in frames:
            losses.add(index / 25, 0)
        return losses.line("a.mkv", start_s)

    assert line(100.0, range(50)) == ""
    assert line(0.0, range(50)) == "a.mkv is cut short: 50 of its 2550 frames could be read"
    assert line(100.0, range(30)) == "a.mkv is cut short: 30 of its 50 frames could be read"
    assert line(100.0, [*range(20), *range(30, 50)]).startswith("a.mkv is damaged: 40 of its 50 frames could be read")


@pytest.mark.skipif(not hasattr(cv2, "CAP_PROP_PTS"), reason="OpenCV does not say when a file begins")
def test_a_matroska_video_that_begins_late_is_whole(tmp_path):
    path = write_video(tmp_path / "a.mkv", [np.full((48, 64, 3), i, np.uint8) for i in range(60)], fps=100)
    data = bytearray(path.read_bytes())
    cluster, duration = data.index(b"\x1f\x43\xb6\x75"), data.index(b"\x44\x89\x88") + 3
    start = data.index(b"\xe7\x81\x00", cluster) + 2
    data[start] = 250  # milliseconds, as all times here
    struct.pack_into(">d", data, duration, 250 + struct.unpack_from(">d", data, duration)[0])
    path.write_bytes(data)
    frames, source = frames_of(path)
    assert len(frames) == 60 and source.length == 85
    assert source.problems == []


def test_a_damaged_stretch_is_passed_over_and_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.mp4", list(noise), fps=10)
    data = bytearray(path.read_bytes())
    at = len(data) * 42 // 100
    data[at : at + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)
    frames, source = frames_of(path)
    assert 80 < len(frames) < 96 and frames[-1].index == 99
    assert frames[-1].time_s == pytest.approx(9.9)
    (problem,) = source.problems
    lost = 100 - len(frames)
    assert problem.startswith(f"{path} is damaged: {len(frames)} of its 100 frames could be read, {lost} are lost")
    gap = max(np.diff([frame.time_s for frame in frames]))
    before = next(a.time_s for a, b in itertools.pairwise(frames) if b.time_s - a.time_s == gap)
    assert f"(at {before:.1f} s)" in problem and 2 < before < 5


def test_a_single_lost_frame_is_reported(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.mp4", list(noise), fps=10)
    data = bytearray(path.read_bytes())
    at = data.index(b"\0\0\x01\xb6", len(data) // 2)  # where a picture begins
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    frames, source = frames_of(path)
    assert len(frames) == 99 and [frame.index for frame in frames][-1] == 99
    assert "99 of its 100 frames could be read, 1 is lost" in source.problems[0]


def test_a_stretch_that_a_container_skips_without_a_word_is_reported_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.mkv", list(noise), fps=10)
    data = bytearray(path.read_bytes())
    at = len(data) * 42 // 100
    data[at : at + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)
    frames, source = frames_of(path)
    assert 60 < len(frames) < 96 and frames[-1].time_s == pytest.approx(9.9)
    assert source.problems and f"is damaged: {len(frames)} of its 100 frames" in source.problems[0]


def test_a_video_that_an_editor_has_cut_by_a_list_is_whole(tmp_path):
    """The list says: show the first half. All twenty frames are counted, ten are shown."""
    path = write_video(tmp_path / "a.mp4", 20)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") // 2).to_bytes(4, "big")
    path.write_bytes(data)
    frames, source = frames_of(path)
    assert len(frames) < 15 and source.problems == []


@pytest.mark.parametrize(
    ("pixel", "turned", "shape"),
    [
        ((2, 1), False, (48, 128)),
        ((1, 2), False, (96, 64)),
        ((64, 45), False, (48, 91)),
        ((1, 1), True, (64, 48)),
        ((2, 1), True, (128, 48)),
        ((1000, 1), False, (48, 64)),
    ],
)
def test_pixels_are_made_square_and_videos_upright(tmp_path, pixel, turned, shape):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 200  # the corner says which way up
    path = edit_mp4(write_video(tmp_path / "a.mp4", [picture] * 6), pixel=pixel, turned=turned)
    frames, source = frames_of(path)
    assert [frame.image.shape[:2] for frame in frames] == [shape] * 6
    means = cv2.resize(frames[0].image[..., 0], (2, 2), interpolation=cv2.INTER_AREA)
    lit = (0, 1) if turned else (0, 0)
    assert means[lit] > 150 and means.sum() - means[lit] < 90
    assert bool(source.notes) == (pixel == (1000, 1))
    written, _, _ = annotated(path, tmp_path / "out.mp4")
    assert written[0].shape[:2] == (shape[0], shape[1] + shape[1] % 2)
    with open_source(path) as opened, Recorder(opened) as recorder:
        recorder.start(tmp_path / "recorded.mp4")
        for frame in opened:
            recorder.write(frame, frame.image)
    assert read_video(tmp_path / "recorded.mp4")[0][0].shape == written[0].shape


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
@pytest.mark.parametrize(
    "name", ["10:30.avi", "concat:a|b.avi", "v ! x.avi", "data:,x.avi", "img_%03d.avi", "pipe:0.avi"]
)
def test_any_name_is_a_files_own(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.avi", 6).rename(tmp_path / name)
    frames, source = frames_of(name)
    assert len(frames) == 6 and source.kind == "video"
    written = tmp_path / name.replace("avi", "mkv")
    with VideoFile(written.name, 10) as sink:
        for frame in frames:
            sink.write(frame, [])
    assert written.exists() and len(frames_of(written)[0]) == 6


@pytest.fixture
def secret(tmp_path):
    """A video that no playlist may show."""
    path = tmp_path / "secret.ts"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MPEG"), 25, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), shade(index), np.uint8))
    writer.release()
    return path


PLAYLISTS = {
    "p.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:0.8,\n{path}\n#EXT-X-ENDLIST\n",
    "p.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:0.8,\n{path}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "list.mkv": "ffconcat version 1.0\nfile {name}\n",
    "p.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "p.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n',
    "p.pls": "[playlist]\nFile1={path}\n",
    "p.asx": "<ASX version='3.0'><entry><ref href='{path}'/></entry></ASX>\n",
    "bom.m3u8": "\ufeff\n#EXTM3U\n{path}\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_no_way_to_a_file(tmp_path, secret, name):
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(path=secret, name=secret.name), "utf-8")
    with pytest.raises(ImageError, match="is a playlist, which only refers"):
        open_source(path)
    assert len(frames_of(secret)[0]) == 20


def test_playlists_are_what_ffmpeg_would_have_played(tmp_path, secret):
    """Else the test before would show nothing."""
    for name in ("p.m3u8", "list.ffconcat", "list.mkv"):
        (tmp_path / name).write_text(PLAYLISTS[name].format(path=secret, name=secret.name))
        assert cv2.VideoCapture(str(tmp_path / name), cv2.CAP_FFMPEG).read()[0]


def test_a_quicktime_file_is_no_way_to_another(tmp_path, monkeypatch):
    """Its index names the file that holds the pictures, here another one; FFmpeg can follow it."""
    video = write_video(tmp_path / "secret.mp4", 6)
    name = os.fsencode(video) + bytes(len(os.fsencode(video)) % 2)
    alias = bytes(150) + struct.pack(">hH", 2, len(os.fsencode(video))) + name + struct.pack(">hH", -1, 0)
    data = bytearray(video.read_bytes())
    parents = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    put_box(data, data.index(b"url \0\0\0\1") - 4, b"alis" + bytes(4) + alias, parents)
    (tmp_path / "a.mov").write_bytes(data)
    with pytest.raises(ImageError, match="gives no picture"):
        frames_of(tmp_path / "a.mov")
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "enable_drefs;1|use_absolute_path;1")
    assert cv2.VideoCapture(str(tmp_path / "a.mov"), cv2.CAP_FFMPEG).read()[0]  # it can be followed


@pytest.fixture
def server(tmp_path):
    """Serves the folder ``tmp_path``; gives the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self):
            if not self.path.startswith("/redirect"):
                return super().do_GET()
            self.send_response(302)
            self.send_header("Location", f"https://127.0.0.1:{self.path.split('?')[1]}/a.mkv")
            self.end_headers()
            return None

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_video_of_the_network(tmp_path, server):
    write_video(tmp_path / "a.mkv", 12)
    frames, source = frames_of(f"HTTP://user:secret@{server}/a.mkv")
    assert (len(frames), source.kind, source.name) == (12, "video", f"HTTP://user:***@{server}/a.mkv")
    assert frames[-1].time_s == pytest.approx(11 / 12.5, abs=2e-3)


@pytest.mark.parametrize("line", ["{path}", "file://{path}", "http://{server}/secret.ts", "secret.ts"])
def test_a_playlist_of_the_network_is_refused(tmp_path, server, secret, line):
    (tmp_path / "p.m3u8").write_text(PLAYLISTS["p.m3u8"].replace("{path}", line).format(path=secret, server=server))
    with pytest.raises(ImageError, match="cannot open"):
        open_source(f"http://{server}/p.m3u8")
    if line == "secret.ts":
        assert cv2.VideoCapture(f"http://{server}/p.m3u8", cv2.CAP_FFMPEG).read()[0]  # left to itself, FFmpeg plays it


def test_a_url_leads_to_no_other_protocol(server):
    """Nothing connects where a redirection from http to https points."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.3)
        with pytest.raises(ImageError, match="cannot open"):
            open_source(f"http://{server}/redirect?{other.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rtsp://user:secret@127.0.0.1:9/cam", r"cannot open rtsp://user:\*\*\*@127\.0\.0\.1:9/cam"),
        ("rtmp://127.0.0.1:9/cam", "cannot open"),
        ("https://127.0.0.1:9/a.mp4", "cannot open"),
        ("file:///etc/hostname", "use one of rtsp://"),
        ("concat://a|b", "use one of rtsp://"),
        ("ftp://127.0.0.1/a.mp4", "use one of rtsp://"),
    ],
)
def test_urls_that_cannot_be_opened(url, message):
    with pytest.raises(ImageError, match=message) as caught:
        open_source(url)
    assert "secret" not in str(caught.value)


def test_ffmpeg_options_of_the_user_stay_and_win(tmp_path, monkeypatch):
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    video, other = write_video(tmp_path / "a.avi", 6), write_video(tmp_path / "a.mkv", 6)
    monkeypatch.delenv(name, raising=False)
    assert len(frames_of(video)[0]) == 6 and name not in os.environ
    monkeypatch.setenv(name, "format_whitelist;avi")
    assert len(frames_of(video)[0]) == 6
    with pytest.raises(ImageError, match=r"a\.mkv"):
        open_source(other)
    assert os.environ[name] == "format_whitelist;avi"
