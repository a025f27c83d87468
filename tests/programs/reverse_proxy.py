"""A small reverse proxy that shows a server of this machine below a path, as nginx or Caddy would."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@contextmanager
def reverse_proxy(port: int, path: str, *, strip: bool = True, forwarded: bool = True) -> Iterator[str]:
    """The address at which the server of ``port`` is shown.

    Args:
        port: of the server behind.
        path: below which it is shown, such as ``/headpose``; what is not below it is answered with 404.
        strip: take ``path`` away from what the server is asked for.
        forwarded: tell the server under which host it is shown (``X-Forwarded-Host``).
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(path + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            if forwarded:
                headers["X-Forwarded-Host"] = self.headers["Host"]
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with closing(behind):  # also where the visitor has left
                asked = self.path.removeprefix(path) if strip else self.path
                behind.request(self.command, asked, body or None, headers)
                answer = behind.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.end_headers()
                while part := answer.read1(1 << 16):  # events come one by one
                    self.wfile.write(part)
                    self.wfile.flush()

        do_POST = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{path}"
        finally:
            server.shutdown()
            thread.join()
