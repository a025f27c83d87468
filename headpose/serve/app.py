"""The application: routes of the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import cv2
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, WebSocket, WebSocketException
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from starlette.requests import ClientDisconnect

from headpose import weights
from headpose._version import __version__
from headpose.choices import STYLES
from headpose.draw import draw_poses
from headpose.errors import HeadPoseError, ImageError
from headpose.estimator import HeadPoseEstimator
from headpose.facestream import FaceStream
from headpose.images import decode_image
from headpose.serve import schema
from headpose.serve.body import FIELD, picture_of
from headpose.serve.guard import Counted, Guard, Metrics
from headpose.serve.pool import BusyError, Pool
from headpose.serve.settings import ServeSettings
from headpose.serve.stream import stream
from headpose.smoothing import Smoothing
from headpose.types import HeadPose, Image

_RETRY_S = "1"
_UNKNOWN = "this network is not served here: see /v1/models"
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _PICTURE,
            "image/jpeg": _PICTURE,
            "image/png": _PICTURE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "required": [FIELD],
                }
            },
        },
    }
}
_DESCRIPTION = """Yaw, pitch and roll of every face in a picture.

The WebSocket `/v1/stream` takes one picture per binary message, such as the JPEG frames of a camera, and answers each
with one JSON message: `frame`, `time_s` and `faces` with track numbers, or `error`. It takes the query parameters of
`/v1/estimate` except `draw`, and `smooth=true`."""

Model = Annotated[str | None, Query(max_length=200, description="network, from /v1/models; the first by default")]
MaxFaces = Annotated[int, Query(ge=1, le=1000, description="maximum number of faces, highest score first")]
MinScore = Annotated[float, Query(ge=0, le=1, description="minimum score of a face")]


def create_app(settings: ServeSettings) -> FastAPI:
    """Return the ASGI application, with its networks loaded.

    Args:
        settings: Settings of the server.

    Raises:
        HeadPoseError: A network does not exist, or a file is unusable.
    """
    pool, metrics = Pool(settings), Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(title="headpose", version=__version__, description=_DESCRIPTION, lifespan=lifespan)
    app.add_middleware(Guard, token=settings.token)
    app.add_middleware(Counted, metrics=metrics)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    metrics.held.set_function(lambda: pool.held)
    metrics.streams.set_function(lambda: pool.streams)
    # The middleware checks the token; this only documents it.
    security = [Depends(HTTPBearer(auto_error=False))] if settings.token else []
    _add_estimate(app, settings, pool, metrics, security)
    _add_information(app, settings, pool, metrics, security)

    @app.websocket("/v1/stream")
    async def stream_poses(
        socket: WebSocket,
        model: Model = None,
        max_faces: MaxFaces = 100,
        min_score: MinScore = 0.0,
        smooth: Annotated[bool, Query()] = False,
    ) -> None:
        if (estimator := pool.estimator(model or pool.models[0])) is None:
            raise WebSocketException(1008, _UNKNOWN)
        limited = HeadPoseEstimator(estimator.model, detector=estimator.detector, max_faces=max_faces)
        faces = FaceStream(limited, smoothing=Smoothing() if smooth else None, min_score=min_score)
        await stream(socket, settings, pool, metrics, faces)

    return app


def _add_estimate(app: FastAPI, settings: ServeSettings, pool: Pool, metrics: Metrics, security: list[Any]) -> None:
    problems = {400: "not a picture", 404: "unknown network", 408: "too slow", 413: "too large", 503: "busy"}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": schema.Result, "content": {"image/jpeg": _PICTURE, "image/png": _PICTURE}},
        **{status: {"model": schema.Problem, "description": text} for status, text in problems.items()},
        **_refusals(settings),
    }

    @app.post("/v1/estimate", responses=responses, openapi_extra=_BODY, dependencies=security)
    async def estimate(
        request: Request,
        model: Model = None,
        max_faces: MaxFaces = 100,
        min_score: MinScore = 0.0,
        draw: Annotated[
            Literal["axes", "cube", "none"] | None,
            Query(description="answer with the picture and its poses drawn: JPEG, or PNG if the header Accept says so"),
        ] = None,
    ) -> Response:
        """Estimate the head poses in the picture of the body, or of the form's field `image`."""
        name = model or pool.models[0]
        if (estimator := pool.estimator(name)) is None:
            raise HTTPException(404, _UNKNOWN)
        find = _limited(estimator, max_faces, min_score)
        try:
            async with pool.place():
                data = await picture_of(request, settings.largest_bytes, settings.seconds)
                png = "image/png" in request.headers.get("accept", "")
                image, poses, drawn = await pool.run(lambda: _read(data, settings.max_pixels, find, draw, png=png))
        except BusyError:
            raise HTTPException(503, "busy: try again later", {"Retry-After": _RETRY_S}) from None
        except TimeoutError:
            raise HTTPException(503, "it took too long: try again later", {"Retry-After": _RETRY_S}) from None
        except ImageError as error:
            raise HTTPException(400, str(error)) from None
        metrics.pictures.labels("request").inc()
        metrics.faces.inc(len(poses))
        if drawn is not None:
            return Response(drawn, media_type="image/png" if png else "image/jpeg")
        faces = [pose.to_dict() for pose in poses]
        return JSONResponse({"model": name, "width": image.shape[1], "height": image.shape[0], "faces": faces})


def _add_information(app: FastAPI, settings: ServeSettings, pool: Pool, metrics: Metrics, security: list[Any]) -> None:
    @app.get("/v1/models", responses={200: {"model": schema.Networks}, **_refusals(settings)}, dependencies=security)
    async def models() -> JSONResponse:
        """List the networks that requests may use."""
        return JSONResponse({"models": [_network(name, pool.models[0]) for name in pool.models]})

    @app.get("/healthz", responses={200: {"model": schema.Health}})
    async def health() -> JSONResponse:
        """Answer while the server accepts requests. It needs no token."""
        return JSONResponse({"status": "ok"})

    plain = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    answers: dict[int | str, dict[str, Any]] = {200: plain, **_refusals(settings)}

    @app.get("/metrics", responses=answers, response_class=Response, dependencies=security)
    async def prometheus() -> Response:
        """Return the metrics for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def _limited(estimator: HeadPoseEstimator, max_faces: int, min_score: float) -> Callable[[Image], list[HeadPose]]:
    """Return the function from a picture to its poses."""

    def find(image: Image) -> list[HeadPose]:
        return [pose for pose in estimator.estimate(image) if pose.score >= min_score][:max_faces]

    return find


def _read(
    data: bytes, max_pixels: int, find: Callable[[Image], list[HeadPose]], draw: str | None, *, png: bool
) -> tuple[Image, list[HeadPose], bytes | None]:
    """Decode a picture, find its poses, and draw them if ``draw`` is a style. Runs in a worker."""
    image = decode_image(data, "the body", max_pixels=max_pixels)
    poses = find(image)
    if draw is None:
        return image, poses, None
    style = next(style for style in STYLES if style == draw)
    done, encoded = cv2.imencode(".png" if png else ".jpg", draw_poses(image, poses, style))
    if not done:
        raise ImageError("the drawn picture cannot be encoded")
    return image, poses, encoded.tobytes()


def _network(name: str, first: str) -> dict[str, Any]:
    default = name == first
    try:
        info = weights.lookup(name)
    except HeadPoseError:  # a file, not a name of the manifest
        return {"name": name, "default": default, "license": "unknown", "bytes": None, "metrics": {}}
    return {"name": name, "default": default, "license": info.license, "bytes": info.bytes, "metrics": info.metrics}


def _refusals(settings: ServeSettings) -> dict[int | str, dict[str, Any]]:
    """Return the answers of ``Guard``."""
    status, text = (401, "no token") if settings.token else (403, "a page of another site")
    return {status: {"model": schema.Problem, "description": text}}


async def _hung_up(request: Request, error: Exception) -> Response:
    """Answer nobody: the client hung up. 499 is what the metrics count."""
    return Response(status_code=499)
