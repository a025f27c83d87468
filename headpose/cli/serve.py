"""``headpose serve``: head poses over HTTP and WebSocket."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys

from headpose.choices import DEFAULT_MODEL
from headpose.cli.arguments import port, positive
from headpose.cli.live import seconds
from headpose.cli.program import sigterm_as_interrupt
from headpose.errors import HeadPoseError, install_advice

_EPILOG = """\
POST /v1/estimate takes a picture as body or as the field image of a form; ?draw=axes returns a picture. The
WebSocket /v1/stream takes JPEG frames and returns JSON, with one tracker per connection. GET /v1/models,
/healthz, /metrics (Prometheus), /docs and /openapi.json describe the server.

By default only programs of this machine can connect. For another --host set the environment variable
HEADPOSE_TOKEN to a secret; clients then send the header "Authorization: Bearer SECRET". The server speaks plain
HTTP: put a proxy with TLS before it on a network that others use. SIGTERM and Ctrl-C finish the requests in
progress and stop the server with status 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose serve``."""
    parser.epilog = _EPILOG
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="TCP port (8000)")
    parser.add_argument(
        "--models",
        default=DEFAULT_MODEL,
        metavar="NAME,...",
        help="networks that requests may use, the default first (%(default)s)",
    )
    parser.add_argument(
        "--workers", type=positive, default=0, metavar="N", help="pictures processed at once, one thread each (CPUs)"
    )
    parser.add_argument(
        "--at-once", type=positive, default=32, metavar="N", help="requests held at once; others get 503 (32)"
    )
    parser.add_argument("--streams", type=positive, default=16, metavar="N", help="WebSocket streams at once (16)")
    parser.add_argument("--megabytes", type=positive, default=20, metavar="N", help="largest picture file, MB (20)")
    parser.add_argument(
        "--megapixels", type=positive, default=50, metavar="N", help="largest picture, millions of pixels (50)"
    )
    parser.add_argument("--seconds", type=seconds, default=30.0, metavar="S", help="longest time for a request (30)")


def run(args: argparse.Namespace) -> int:
    """Run ``headpose serve`` and return the exit status."""
    from headpose.serve.settings import TOKEN, ServeSettings, check_exposure

    settings = ServeSettings(
        models=tuple(filter(None, args.models.split(","))),
        token=os.environ.get(TOKEN) or None,
        workers=args.workers,
        at_once=args.at_once,
        streams=args.streams,
        megabytes=args.megabytes,
        megapixels=args.megapixels,
        seconds=args.seconds,
    )
    check_exposure(args.host, settings)
    try:
        import uvicorn

        from headpose.serve.app import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("headpose"):
            raise
        raise HeadPoseError(f"headpose serve needs {error.name}: {install_advice('serve')}") from None
    import cv2

    cv2.setNumThreads(1)  # each worker is one thread
    with _listen(args.host, args.port) as listening:
        config = uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            ws_max_size=settings.largest_bytes + 1,  # one byte more, so that the answer can say why
            ws_max_queue=2,
            timeout_graceful_shutdown=int(settings.seconds) + 1,
            server_header=False,
        )
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"headpose: serving on http://{host}:{listening.getsockname()[1]}, Ctrl-C stops it", file=sys.stderr)
        # uvicorn raises the signal that stopped it once more, after it has finished.
        with sigterm_as_interrupt(), contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, number: int) -> socket.socket:
    """Return a listening socket; HeadPoseError if the address is not available."""
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(256)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise HeadPoseError(f"cannot listen on {host} port {number}: {error.strerror or error}") from None
    return listening
