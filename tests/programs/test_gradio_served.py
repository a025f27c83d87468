"""How the page is served: over https, behind a proxy, and what it says where browsers give it no camera."""

import shutil
import ssl
import subprocess
import urllib.request

import numpy as np
import pytest

from apps import gradio_ui
from headpose.errors import HeadPoseError
from headpose.streams.gate import check_certificate, checked_root, is_local
from tests.programs.chromium import open_browser, write_camera_file
from tests.programs.gradio_server import Visitor, free_port, launch
from tests.programs.reverse_proxy import reverse_proxy
from tests.programs.test_gradio import Page


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Certificate and key of this machine, as a user would make them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed")
    folder = tmp_path_factory.mktemp("certificate")
    cert, key, locked = folder / "cert.pem", folder / "key.pem", folder / "locked.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", key, "-out", locked, "-aes128", "-passout", "pass:x"], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def serve():
    """Starts a page; gives its port and the line that it prints."""
    started = []

    def start(*arguments):
        port = free_port()
        server = launch(port, *arguments)
        started.append(server)
        line = server.stdout.readline().strip()
        assert line, server.communicate()[1]
        return port, line

    yield start
    for server in started:
        server.terminate()
        assert server.communicate(timeout=30)[1] == ""


@pytest.fixture(scope="module")
def behind(serve):
    """The port of a page that a proxy shows below /headpose."""
    return serve("--root-path", "/headpose/")[0]


def test_behind_a_proxy_the_page_names_its_files_by_the_proxy_s_address(behind, repo):
    jpeg = (repo / "examples" / "astronaut.jpg").read_bytes()
    for strip in (True, False):
        with reverse_proxy(behind, "/headpose", strip=strip) as address:
            visitor = Visitor(address)
            assert visitor.config["root"] == address
            ok, output = visitor.ask("photo", {"path": visitor.upload(jpeg, "a.jpg"), "orig_name": "a.jpg"})
            assert ok and 'class="yaw"' in output["data"][1]
            url = output["data"][0]["url"]
            assert url.startswith(f"{address}/gradio_api/file=")
            assert visitor.request(url.removeprefix(address))[0] == 200


def test_a_proxy_s_path_leads_past_no_check(behind, tmp_path, repo):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((repo / "examples" / "astronaut.jpg").read_bytes())
    with reverse_proxy(behind, "/headpose", strip=False) as address:
        visitor = Visitor(address)
        ok, output = visitor.ask("photo", {"path": str(secret), "orig_name": "a.jpg"})
        assert not ok and "not uploaded to this page" in output
        assert visitor.request("/gradio_api/run/photo", b'{"data": []}')[0] == 404
        assert visitor.request("/gradio_api/file=http://localhost/a")[0] == 403
        assert visitor.request("/headpose/gradio_api/queue/join", b"{}")[0] == 404


def test_a_whole_url_is_a_root_path_too(serve):
    port, _ = serve("--root-path", "https://example.org/a/b")
    with reverse_proxy(port, "/a/b", strip=False, forwarded=False) as address:
        assert Visitor(address).config["root"] == "https://example.org/a/b"


@pytest.mark.parametrize("root", ["headpose", "ftp://a/b"])
def test_a_root_path_is_a_path(root):
    with pytest.raises(HeadPoseError, match=r"such as /headpose"):
        checked_root(root)


def test_a_root_path_ends_without_a_slash():
    assert [checked_root(root) for root in ("", "/", "/a/", "/a")] == ["", "", "/a", "/a"]


def test_the_page_comes_over_https(serve, certificate):
    port, line = serve("--ssl-certfile", certificate / "cert.pem", "--ssl-keyfile", certificate / "key.pem")
    assert line == f"headpose: https://127.0.0.1:{port} (press Ctrl-C to stop)"
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    context.check_hostname = False  # the certificate is itself the one that is trusted
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=context) as answer:
        assert answer.status == 200
    assert Visitor(f"https://127.0.0.1:{port}").config["root"] == f"https://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        (None, "key.pem", "give --ssl-certfile, too"),
        ("none.pem", "key.pem", "No such file"),
        ("cert.pem", None, "cannot serve https with"),  # there is no key in it
        ("key.pem", "cert.pem", "cannot serve https with"),
        ("cert.pem", "locked.pem", "the key without a password"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line(certificate, capsys, cert, key, words):
    options = {"--ssl-certfile": cert, "--ssl-keyfile": key}
    arguments = [part for option, name in options.items() if name for part in (option, str(certificate / name))]
    assert gradio_ui.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("gradio_ui: error: ") and words in err and err.count("\n") == 1


def test_certificate_and_key_may_be_one_file(certificate, tmp_path):
    both = tmp_path / "both.pem"
    both.write_text((certificate / "cert.pem").read_text() + (certificate / "key.pem").read_text())
    check_certificate(str(both), None)
    check_certificate(None, None)


def test_which_addresses_are_local():
    assert all(map(is_local, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_local, ("0.0.0.0", "192.168.1.2", "::", "a.example.org")))


def test_for_the_network_the_program_says_what_cameras_need():
    port = free_port()
    with launch(port, "--host", "0.0.0.0") as server:
        assert server.stdout.readline() == f"headpose: http://0.0.0.0:{port} (press Ctrl-C to stop)\n"
        server.terminate()
        hint, err = server.stdout.read(), server.stderr.read()
        server.wait(timeout=30)
    assert "only with https" in hint and "--ssl-certfile" in hint and err == ""


@pytest.mark.browser
def test_the_page_says_why_a_browser_gives_it_no_camera(serve, certificate, tmp_path):
    """By another name than localhost, over http and over https."""
    camera = tmp_path / "camera.y4m"
    write_camera_file(camera, [np.full((480, 640, 3), 90, np.uint8)] * 2)
    plain, _ = serve()
    safe, _ = serve("--ssl-certfile", certificate / "cert.pem", "--ssl-keyfile", certificate / "key.pem")
    flags = ("--host-resolver-rules=MAP page.test 127.0.0.1", "--ignore-certificate-errors")
    with open_browser(tmp_path / "profile", camera, *flags) as browser:
        for address, shown in ((f"http://page.test:{plain}", True), (f"https://page.test:{safe}", False)):
            page = Page(browser, address)
            page.open()
            page.click("Webcam")
            page.find("#webcam video, #webcam button")
            assert ("start the program with --ssl-certfile" in browser.find_element("tag name", "body").text) == shown
        page.click("Access Webcam", within="//*[@id='webcam']")
        page.click("Record", within="//*[@id='webcam']")
        page.wait_for("No face found")


@pytest.mark.browser
def test_a_browser_reads_a_photo_through_a_proxy(behind, repo, tmp_path):
    camera = tmp_path / "camera.y4m"
    write_camera_file(camera, [np.full((480, 640, 3), 90, np.uint8)] * 2)
    with (
        reverse_proxy(behind, "/headpose") as address,
        open_browser(tmp_path / "profile", camera) as browser,
    ):
        page = Page(browser, f"{address}/")
        page.open()
        page.find("#photo input[type=file]").send_keys(str(repo / "examples" / "astronaut.jpg"))
        assert "+" in page.find("#photo-angles table").text
        assert page.find("#photo-drawn img").get_attribute("src").startswith(address)
