"""The page as a program, and a visitor without a browser."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps import gradio_ui

SETTINGS = ["axes", "student", 10, 0.5, 0.0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(port: int, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(gradio_ui.__file__), "--port", str(port), "--threads", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def complaints(log: str) -> str:
    """What a server wrote, but for one race that is Gradio's own.

    It names the file of a streamed frame by its content: when two frames are equal it writes the file again while the
    first is still being sent, and the sender finds it shorter or longer than announced.
    """
    heading = "ERROR:    Exception in ASGI application\n"
    first, *others = log.split(heading)
    race = re.compile(r"LocalProtocolError: Too (little|much) data for declared Content-Length")
    return first + "".join(heading + part for part in others if not race.search(part))


class Visitor:
    """Posts what a browser would, or should not."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # A certificate that a test has made itself.
        self._context = ssl._create_unverified_context() if address.startswith("https:") else None
        with urllib.request.urlopen(f"{self.address}/config", timeout=30, context=self._context) as answer:
            self.config = json.load(answer)
        self.events = {each["api_name"]: each["id"] for each in self.config["dependencies"]}

    def request(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer; a POST where there is a body."""
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def upload(self, content: bytes, name: str) -> str:
        """The path of an uploaded file."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        status, answer = self.request(
            "/gradio_api/upload", body, Content_Type=f"multipart/form-data; boundary={boundary}"
        )
        assert status == 200, answer
        return json.loads(answer)[0]

    def join(self, event: str, data: list[Any], session: str) -> tuple[int, bytes]:
        """Puts an event into the queue."""
        body = {"data": data, "fn_index": self.events[event], "session_hash": session}
        return self.request("/gradio_api/queue/join", json.dumps(body).encode())

    def ask(self, event: str, *data: Any) -> tuple[bool, Any]:
        """What an event comes to in the end: whether it succeeded, and its output; a refusal is no success."""
        session = uuid.uuid4().hex
        status, answer = self.join(event, [*data, *SETTINGS], session)
        if status != 200:
            return False, answer.decode()
        return self.result(session)

    def result(self, session: str) -> tuple[bool, Any]:
        """The last message of a session's event."""
        for message in self.messages(session):
            if message.get("msg") in ("process_completed", "process_streaming"):
                return message["success"], message["output"]
        raise AssertionError("the queue ended without a result")

    def messages(self, session: str) -> Iterator[dict[str, Any]]:
        """The messages of a session, as they come; a visitor who leaves closes the iterator."""
        url = f"{self.address}/gradio_api/queue/data?session_hash={session}"
        with urllib.request.urlopen(url, timeout=120, context=self._context) as lines:
            for line in lines:
                if line.startswith(b"data:"):
                    yield json.loads(line.removeprefix(b"data:"))

    def file(self, path: str | Path) -> tuple[int, bytes]:
        """A file that the page serves."""
        return self.request(f"/gradio_api/file={path}")
