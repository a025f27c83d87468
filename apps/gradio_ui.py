"""Head pose in the browser: photos, the webcam and videos, on this computer and with no internet.

    python apps/gradio_ui.py [--host 127.0.0.1] [--port 7860] [--model student] [--device auto] [--threads 0]

Needs the ``apps`` extra. Nothing leaves the machine: no analytics, no share link, no web fonts. No file of the machine
is read because a visitor names it: only what was uploaded, into a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before gradio is imported, which reads them once and would otherwise call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray
from starlette.middleware import Middleware

from headpose.cli import run_program
from headpose.cli.log import add_verbose, show_log
from headpose.detection import DETECTORS
from headpose.draw import STYLES, Style, describe, draw_mirrored, draw_poses
from headpose.errors import HeadPoseError
from headpose.estimator import DEFAULT_MODEL, Estimators
from headpose.images import decode_image
from headpose.inference import DEVICES, bounded_threads
from headpose.streams import FrameSource, VideoFile, csv_file, open_source, silence_codecs
from headpose.streams.uploads import BOUNDS, Gate, UploadBounds, Uploads
from headpose.tracking import FaceTracker, Smoothing
from headpose.types import EulerAngles, HeadPose
from headpose.weights import manifest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
RGB = NDArray[np.uint8]
"""(H, W, 3) uint8, channels red, green, blue: what gradio shows."""

BUTTONS: Any = ["fullscreen", "download"]  # without the one that uploads to Hugging Face
CURVE_POINTS = 500  # of each angle; more only makes the browser slow
PREVIEW_EVERY_S = 0.5
MOST_FACES = 20
# Inputs come to the handlers as they were sent: gradio would open a file before it was checked.
RAW: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
PHOTOS, WEBCAMS = 2, 8  # at once

CONVENTION = (
    "**Yaw** > 0: the nose points to the left of the picture. **Pitch** > 0: up. **Roll** > 0: the head is tilted "
    "clockwise on the screen. Degrees, of the picture as it is: a mirrored one has yaw and roll of the other sign."
)
CSS = Path(__file__).with_suffix(".css")
COLOURS = {"yaw": "#d9822b", "pitch": "#2f9e6e", "roll": "#4c7fe0"}


def swap_red_and_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR -> RGB and back."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def table(poses: Sequence[HeadPose], note: str) -> str:
    """HTML: a row for each face, from left to right in the picture, and a note below."""
    if not poses:
        return f'<p class="note">No face found. {note}</p>'
    rows = "".join(
        f"<tr><td>{number}</td>"
        + "".join(f'<td class="{name}">{angle:+.1f}°</td>' for name, angle in pose.euler._asdict().items())
        + f"<td>{describe(pose.euler)}</td><td>{pose.face.score:.2f}</td></tr>"
        for number, pose in enumerate(sorted(poses, key=lambda pose: pose.box.center[0]), 1)
    )
    head = "".join(f"<th>{title}</th>" for title in ("Face", "Yaw", "Pitch", "Roll", "In words", "Score"))
    return f'<table class="angles"><tr>{head}</tr>{rows}</table><p class="note">{note}</p>'


@contextlib.contextmanager
def in_one_line(path: str = "", name: str = "") -> Iterator[None]:
    """Shows a ``HeadPoseError`` in a corner of the page, with ``name`` for the ``path`` where gradio keeps it."""
    try:
        yield
    except HeadPoseError as error:
        message = str(error).replace(path, name) if path else str(error)
        raise gr.Error(message, print_exception=False) from None


class Settings(NamedTuple):
    """The page's, which every event has: how poses are drawn, and what ``Estimators.estimate`` takes."""

    style: Style
    model: str
    max_faces: int
    min_score: float


def checked(settings: Sequence[Any]) -> Settings:
    """HeadPoseError if no page sends such values."""
    style, model, max_faces, min_score = settings
    numbers = all(isinstance(number, int | float) for number in (max_faces, min_score))
    if style not in STYLES or not numbers or not (1 <= max_faces <= MOST_FACES and 0.0 <= min_score <= 1.0):
        raise HeadPoseError("a setting of this page is out of its range: load the page again")
    return Settings(style, model, int(max_faces), min_score)


def curve_frame(curve: Sequence[tuple[float, EulerAngles]]) -> Any:
    """Data frame (seconds, degrees, angle) for the plot, of at most ``CURVE_POINTS`` moments."""
    import pandas as pd  # gradio brings it; only a video needs it

    step = max(1, -(-len(curve) // CURVE_POINTS))
    points = [(time_s, angle, name) for time_s, euler in curve[::step] for name, angle in euler._asdict().items()]
    return pd.DataFrame(points, columns=["seconds", "degrees", "angle"])


class Handlers:
    """What the page's events call, each with its inputs as the browser sent them, unchecked.

    ``settings`` are the four of ``checked``.
    """

    def __init__(self, estimators: Estimators, uploads: Uploads) -> None:
        self._estimators, self._uploads = estimators, uploads
        self._videos = threading.BoundedSemaphore(uploads.bounds.videos)

    def photo(self, upload: Any, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated picture and table of an upload as gradio stored it."""
        return self._annotated(upload, False, settings)

    def live(self, frame: Any, mirror: Any, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated frame and table; ``mirror`` turns the shown picture, never the estimated one."""
        return self._annotated(frame, bool(mirror), settings)

    def _annotated(self, sent: Any, mirror: bool, settings: Sequence[Any]) -> tuple[RGB | None, str]:
        if not sent:
            return None, ""
        with in_one_line():
            chosen = checked(settings)
            # The file itself: ``decode_image`` knows more formats than gradio, and says what is wrong with one.
            data, name = self._uploads.picture(sent)
            image = decode_image(data, name, max_pixels=int(1e6 * self._uploads.bounds.megapixels))
            started = time.perf_counter()
            poses = self._estimators.estimate(image, *chosen[1:])
        took = 1e3 * (time.perf_counter() - started)
        picture = (draw_mirrored if mirror else draw_poses)(image, poses, chosen.style)
        return swap_red_and_blue(picture), table(poses, f"{image.shape[1]} x {image.shape[0]} pixels, {took:.0f} ms")

    def video(self, upload: Any, smooth: Any, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Preview, state, video, CSV, curves: the first two while it works, the others at the end."""
        if not upload:
            raise gr.Error("Choose a video first.", print_exception=False)
        with in_one_line():
            path, name = self._uploads.video(upload)
            chosen = checked(settings)
        # Refused, not queued: a queue full of videos would keep everybody's photos out.
        if not self._videos.acquire(blocking=False):
            raise gr.Error("Other videos are being read: try again when they are done.", print_exception=False)
        try:
            yield from self._video(str(path), name, bool(smooth), chosen)
        finally:
            self._videos.release()

    def _video(self, path: str, name: str, smooth: bool, settings: Settings) -> Iterator[tuple[Any, ...]]:
        # Gradio copies what is yielded, so the files need not outlive this call.
        with in_one_line(path, name), tempfile.TemporaryDirectory() as folder, open_source(path) as source:
            # WebM: of what OpenCV's wheels can write, the one that browsers play.
            annotated, angles = Path(folder, "headpose.webm"), Path(folder, "headpose.csv")
            curve: list[tuple[float, EulerAngles]] = []
            tracker = FaceTracker(Smoothing() if smooth else None)
            frames, ended = yield from self._process(source, tracker, annotated, angles, curve, settings)
            for problem in (*source.problems, *ended):
                gr.Warning(problem.replace(path, name))
            state = f"{frames} frames, {len(curve)} of them with a face. The curves are those of the largest."
            state = " ".join([*ended, state])
            numbers = gr.update(value=str(angles), visible=True)
            plot = gr.update(value=curve_frame(curve), visible=True)
            yield gr.update(visible=False), state, gr.update(value=str(annotated), visible=True), numbers, plot

    def _process(
        self,
        source: FrameSource,
        tracker: FaceTracker,
        annotated: Path,
        angles: Path,
        curve: list[tuple[float, EulerAngles]],
        settings: Settings,
    ) -> Generator[tuple[Any, ...], None, tuple[int, list[str]]]:
        """Fills the two files and ``curve``, the angles of the largest face; yields previews.

        Returns:
            The number of frames, and what ended the work before the video's end, if anything did.
        """
        if source.kind != "video":  # a picture would be read whole before its pixels are counted
            raise HeadPoseError(f"{source.name} is not a video: the tab Photo takes pictures")
        count, bounds = 0, self._uploads.bounds
        started = shown = time.monotonic()
        drawn = VideoFile(annotated, source.fps, settings.style, by_clock=True)
        with drawn as video, csv_file(angles, tracks=True) as rows:
            for frame in source:
                if frame.image.shape[0] * frame.image.shape[1] > 1e6 * bounds.megapixels:
                    raise HeadPoseError(f"a frame of the video has more than {bounds.megapixels:g} million pixels")
                poses = tracker.update(self._estimators.estimate(frame.image, *settings[1:]), frame.time_s)
                count += 1
                video.write(frame, poses)
                rows.write(frame, poses)
                if poses:
                    largest = max(poses, key=lambda pose: pose.box.width * pose.box.height)
                    curve.append((frame.time_s, largest.euler))
                if time.monotonic() - started > bounds.video_seconds:
                    return count, [f"Stopped after {bounds.video_seconds:g} seconds of work: the video is longer."]
                if time.monotonic() - shown > PREVIEW_EVERY_S:
                    shown = time.monotonic()
                    preview = swap_red_and_blue(draw_poses(frame.image, poses, settings.style))
                    state = f"Frame {count}" + (f" of {source.length}" if source.length else "")
                    state += f", {count / (shown - started):.0f} frames/s"
                    nothing_yet = gr.update(value=None, visible=False)
                    yield gr.update(value=preview, visible=True), state, nothing_yet, nothing_yet, nothing_yet
        return count, []


def build(estimators: Estimators, model: str, uploads: Uploads) -> gr.Blocks:
    """The page, with ``model`` chosen."""
    handlers = Handlers(estimators, uploads)
    with gr.Blocks(title="headpose", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# headpose\nYaw, pitch and roll of every face. Nothing leaves this computer.", elem_id="heading")
        with gr.Row():
            models = [(Path(name).stem, name) for name in estimators.models]
            choice = gr.Dropdown(models, value=model, label="Model", scale=2, min_width=150)
            style = gr.Radio(list(STYLES), value="axes", label="Drawing", scale=3, min_width=270, elem_id="style")
            max_faces = gr.Slider(1, MOST_FACES, value=10, step=1, label="Faces, at most", scale=2, min_width=150)
            min_score = gr.Slider(0.5, 0.95, value=0.5, step=0.05, label="Lowest score", scale=2, min_width=150)
        settings = [style, choice, max_faces, min_score]
        with gr.Tab("Photo"):
            photo_tab(handlers, settings)
        with gr.Tab("Webcam"):
            webcam_tab(handlers, settings)
        with gr.Tab("Video"):
            video_tab(handlers, settings)
        gr.Markdown(CONVENTION)
    return page.queue(max_size=uploads.bounds.waiting, api_open=False)


def drawn_picture(elem_id: str) -> gr.Image:
    """Where a picture with its poses is shown."""
    return gr.Image(
        label="Head pose",
        format="jpeg",
        height=380,
        min_width=300,
        interactive=False,
        buttons=BUTTONS,
        elem_id=elem_id,
    )


def photo_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        photo = gr.Image(sources=["upload", "clipboard"], label="Photo", height=380, min_width=300, elem_id="photo")
        drawn = drawn_picture("photo-drawn")
    angles = gr.HTML(elem_id="photo-angles")
    if EXAMPLE.is_file():
        gr.Examples([[str(EXAMPLE)]], [photo], label="For a try", api_visibility="private")
    changes = [photo.change, *(setting.change for setting in settings)]
    gr.on(changes, handlers.photo, [photo, *settings], [drawn, angles], concurrency_limit=PHOTOS, **RAW)


def webcam_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        # Gradio mirrors the webcam by default, which would give yaw and roll the other sign.
        camera = gr.Image(
            sources=["webcam"],
            streaming=True,
            webcam_options=gr.WebcamOptions(mirror=False),
            label="Webcam",
            height=380,
            min_width=300,
            elem_id="webcam",
        )
        drawn = drawn_picture("webcam-drawn")
    mirror = gr.Checkbox(label="Show the right picture as a mirror (the angles stay those of the camera)")
    angles = gr.HTML(elem_id="webcam-angles")
    camera.stream(
        handlers.live,
        [camera, mirror, *settings],
        [drawn, angles],
        stream_every=0.05,
        time_limit=None,
        show_progress="hidden",
        concurrency_limit=WEBCAMS,
        **RAW,
    )


def video_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.Video(sources=["upload"], label="Video", height=380, elem_id="video")
            with gr.Row():
                start = gr.Button("Read the poses", variant="primary", elem_id="video-start")
                stop = gr.Button("Stop")
            smooth = gr.Checkbox(label="Smooth: calm the tremble of angles and boxes", elem_id="video-smooth")
        with gr.Column():
            preview = gr.Image(label="At work", format="jpeg", height=380, visible=False, interactive=False, buttons=[])
            drawn = gr.Video(
                label="Head pose", height=380, interactive=False, buttons=["download"], elem_id="video-drawn"
            )
            state = gr.Markdown(elem_id="video-state")
    plot = gr.LinePlot(
        x="seconds", y="degrees", color="angle", color_map=COLOURS, height=260, visible=False, elem_id="video-curves"
    )
    angles = gr.File(label="Angles of every face in every frame (CSV)", visible=False, elem_id="video-angles")
    working = start.click(
        handlers.video,
        [video, smooth, *settings],
        [preview, state, drawn, angles, plot],
        show_progress="hidden",
        concurrency_limit=None,  # the handler's own
        **RAW,
    )
    stop.click(None, cancels=[working])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; wrong usage ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="gradio_ui", description="Head pose in the browser, on this computer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 for the whole network")
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"a name or an .onnx file ({DEFAULT_MODEL})")
    parser.add_argument("--detector", choices=DETECTORS[:2], default=DETECTORS[0], help=f"({DETECTORS[0]})")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="processor threads (all)")
    add_verbose(parser)
    bounds = parser.add_argument_group("bounds of what visitors may ask for")
    for name, words in BOUNDS.items():
        default = getattr(UploadBounds(), name)
        option = f"--{name.replace('_', '-')}"
        bounds.add_argument(option, type=type(default), default=default, metavar="N", help=f"{words} ({default:g})")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until Ctrl-C; returns the exit status."""
    return run_program("gradio_ui", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    args = parse(arguments)
    silence_codecs()
    show_log("gradio_ui", args.verbose)
    if threads := bounded_threads(args.threads):
        cv2.setNumThreads(threads)
    # A folder of its own: the one that gradio takes by default also holds what other programs were sent.
    with tempfile.TemporaryDirectory(prefix="headpose-page-", ignore_cleanup_errors=True) as folder:
        # Links resolved, as gradio names files by this path and ``Uploads`` compares the names.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(os.environ.get("GRADIO_TEMP_DIR") or folder).resolve())
        serve(args, os.environ["GRADIO_TEMP_DIR"])
    return 0


def serve(args: argparse.Namespace, folder: str) -> None:
    """Serves until Ctrl-C or SIGTERM, with uploads in ``folder``; HeadPoseError if it cannot."""
    uploads = Uploads(folder, UploadBounds(**{name: getattr(args, name) for name in BOUNDS}))
    names = list(manifest())
    names = names if args.model in names else [args.model, *names]
    estimators = Estimators(names, args.detector, args.device, args.threads)
    estimators.load(args.model)  # an error for a wrong name comes before there is a page
    page = build(estimators, args.model, uploads)
    font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", font=font, font_mono=["ui-monospace", "monospace"]
    )
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            app_kwargs={"middleware": [Middleware(Gate, uploads=uploads)]},
            max_file_size=int(1e6 * max(args.picture_mb, args.video_mb)),
            theme=theme,
            css_paths=CSS,
            quiet=True,
            share=False,
            show_error=True,
            footer_links=[],
            run_history=False,
            prevent_thread_lock=True,
        )
    except OSError:
        raise HeadPoseError(f"cannot serve on {args.host}:{args.port}: try another --port") from None
    print(f"headpose: http://{args.host}:{args.port} (Ctrl-C ends it)", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder is removed then, too
    page.block_thread()


if __name__ == "__main__":
    sys.exit(main())
