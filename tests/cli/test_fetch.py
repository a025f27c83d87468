import contextlib
import dataclasses
import hashlib
import http.server
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from headpose import cli, weights
from headpose.types import CropSpec, ModelInfo
from tests.cli.errors import assert_error

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` under any name, and notes what it was asked for."""

    content = CONTENT
    cut_after = None  # bytes after which the connection breaks
    ranges = True  # whether it can go on in the middle
    status = 200
    pause_s = 0.0  # after each part of 32 kB

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/v1/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        content = server.content[start : server.cut_after]
        for first in range(0, len(content), 1 << 15):
            with contextlib.suppress(OSError):  # the other side was killed
                self.wfile.write(content[first : first + (1 << 15)])
            time.sleep(server.pause_s)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(monkeypatch, server, user_cache):
    info = ModelInfo(
        "large",
        "large.onnx",
        hashlib.sha256(CONTENT).hexdigest(),
        len(CONTENT),
        *("fp32", "research-only", "", "", "", ""),
        CropSpec(size=96),
    )
    other = dataclasses.replace(info, name="second", file="second.onnx")
    monkeypatch.setattr(weights, "manifest", lambda: {"large": info, "second": other})
    monkeypatch.setenv("HEADPOSE_SOURCE", server.address)
    return user_cache


@pytest.fixture
def fetch(capsys):
    def run(*arguments):
        capsys.readouterr()
        status = cli.main(["fetch", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_a_network_comes_into_the_cache_and_is_found_there(fetch, cache, server):
    status, out, _ = fetch("large")
    assert status == 0
    assert out == f"large: {cache / 'large.onnx'}\n"
    assert weights.find("large").read_bytes() == CONTENT
    assert server.asked == [("/v1/large.onnx", None)]
    assert fetch("large")[0] == 0
    assert len(server.asked) == 1  # it is here already


def test_a_download_that_was_cut_off_goes_on(fetch, cache, server):
    server.cut_after = 100_000
    assert_error(fetch("large"), "connection ended after 100000 of 300000 bytes; give the same command again")
    assert not (cache / "large.onnx").exists()
    server.cut_after = None
    assert fetch("large")[0] == 0
    assert server.asked[-1] == ("/v1/large.onnx", "bytes=100000-")
    assert weights.find("large").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["large.onnx"]


def test_a_server_that_cannot_go_on_sends_all_of_it(fetch, cache, server):
    server.cut_after, server.ranges = 100_000, False
    assert fetch("large")[0] == 1
    server.cut_after = None
    assert fetch("large")[0] == 0
    assert weights.find("large").read_bytes() == CONTENT


def test_a_server_that_begins_again_leaves_nothing_of_the_old_part(fetch, cache, server):
    cache.mkdir(parents=True)
    (cache / ".large.onnx.part").write_bytes(b"?" * 200_000)
    server.cut_after, server.ranges = 100_000, False
    assert fetch("large")[0] == 1
    server.cut_after, server.ranges = None, True
    assert fetch("large")[0] == 0
    assert server.asked[-1] == ("/v1/large.onnx", "bytes=100000-")


def test_a_download_that_was_whole_but_for_its_name(fetch, cache, server):
    cache.mkdir(parents=True)
    (cache / ".large.onnx.part").write_bytes(CONTENT)
    assert fetch("large")[0] == 0
    assert server.asked == []


@pytest.mark.parametrize("content", [b"x" * len(CONTENT), CONTENT + b"more", CONTENT[:-1] + b"x"])
def test_another_file_is_not_kept(fetch, cache, server, content):
    server.content = content
    result = fetch("large")
    if content.startswith(CONTENT):  # what is beyond the network's end is never read
        assert result[0] == 0
    else:
        assert_error(result, "is not model large of this version")
        assert not list(cache.iterdir())


def test_a_spoiled_part_is_not_kept(fetch, cache, server):
    cache.mkdir(parents=True)
    (cache / ".large.onnx.part").write_bytes(b"?" * 1000)
    assert_error(fetch("large"), "is not model large of this version")
    assert fetch("large")[0] == 0


CODE = """
import sys
from headpose import cli, weights
texts = ("fp32", "research-only", "", "", "", "")
info = weights.ModelInfo("large", "large.onnx", sys.argv[1], int(sys.argv[2]), *texts, None)
weights.manifest = lambda: {"large": info}
sys.exit(cli.main(["fetch", "large"]))
"""


def test_two_at_once_both_end_with_the_whole_file(cache, server):
    server.pause_s = 0.05
    command = [sys.executable, "-c", CODE, hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT))]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **options) for _ in range(3)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in running]
    for (out, err), status in ended:
        assert status == 0, err
        assert out == f"large: {cache / 'large.onnx'}\n"
    assert [path.name for path in cache.iterdir()] == ["large.onnx"]
    assert (cache / "large.onnx").read_bytes() == CONTENT
    assert server.asked == [("/v1/large.onnx", None)]


def test_the_second_goes_on_where_the_first_was_killed(fetch, cache, server):
    server.pause_s = 0.2
    command = [sys.executable, "-c", CODE, hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT))]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (part := cache / ".large.onnx.part").exists() or part.stat().st_size < 60_000:
        time.sleep(0.01)
    running.kill()
    running.wait()
    server.pause_s = 0.0
    assert fetch("large")[0] == 0
    assert server.asked[-1][1].startswith("bytes=") and server.asked[-1][1] != "bytes=0-"
    assert (cache / "large.onnx").read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling"])
def test_a_part_that_is_a_link_is_not_followed(fetch, cache, server, tmp_path, kind):
    cache.mkdir(parents=True)
    precious, part = tmp_path / "precious", cache / ".large.onnx.part"
    if kind != "dangling":
        precious.write_bytes(CONTENT[:1000])  # the network's own beginning: appended to, it would pass
    part.hardlink_to(precious) if kind == "hard" else part.symlink_to(precious)
    assert fetch("large")[0] == 0
    assert precious.exists() == (kind != "dangling")
    if kind != "dangling":
        assert precious.read_bytes() == CONTENT[:1000]
    target = cache / "large.onnx"
    assert target.read_bytes() == CONTENT and not target.is_symlink() and target.stat().st_nlink == 1


def test_nothing_that_came_leaves_nothing(fetch, cache, server):
    server.status = 404
    assert fetch("large")[0] == 1
    assert list(cache.iterdir()) == []


def test_all_and_another_folder(fetch, cache, server, tmp_path):
    assert fetch("--all", "--to", tmp_path / "here")[0] == 0
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"large.onnx", "second.onnx"}
    assert not cache.exists()


def test_mistakes_are_reported(fetch, cache, server, monkeypatch, tmp_path):
    assert_error(fetch(), "either the names of networks to fetch or --all")
    assert_error(fetch("large", "--all"), "either the names of networks to fetch or --all")
    assert_error(fetch("huge"), "unknown model 'huge'")
    server.status = 404
    assert_error(fetch("large"), r"large\.onnx: the server says 404")
    (tmp_path / "file").write_text("")
    assert_error(fetch("large", "--to", tmp_path / "file"), "cannot fetch")
    for source, message in (("http://127.0.0.1:9/", "refused"), ("nowhere", "unknown url type"), ("", "")):
        monkeypatch.setenv("HEADPOSE_SOURCE", source)
        if source:
            assert_error(fetch("large"), message)


def test_a_network_that_is_not_here_names_the_command(cache):
    with pytest.raises(weights.WeightsError, match="headpose fetch large"):
        weights.find("large")
