"""Head pose in the browser: photos, the webcam and videos, on this computer and with no internet.

    python apps/gradio_ui.py [--host 127.0.0.1] [--port 7860] [--model student] [--device auto] [--threads 0]

Needs the ``apps`` extra. Nothing leaves the machine: no analytics, no share link, no web fonts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

# Before gradio is imported, which reads them once and would otherwise call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

from headpose.detection import DETECTORS
from headpose.draw import STYLES, Style, draw_mirrored, draw_poses
from headpose.errors import HeadPoseError
from headpose.estimator import DEFAULT_MODEL, HeadPoseEstimator
from headpose.images import decode_image
from headpose.inference import DEVICES
from headpose.streams import FrameSource, VideoFile, csv_file, open_source, silence_codecs
from headpose.tracking import FaceTracker, Smoothing
from headpose.types import EulerAngles, HeadPose, Image
from headpose.weights import manifest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
RGB = NDArray[np.uint8]
"""(H, W, 3) uint8, channels red, green, blue: what gradio shows."""

BUTTONS: Any = ["fullscreen", "download"]  # without the one that uploads to Hugging Face
CURVE_POINTS = 500  # of each angle; more only makes the browser slow
PREVIEW_EVERY_S = 0.5
STRAIGHT = 2.5  # degrees that are not worth a word

CONVENTION = (
    "**Yaw** > 0: the nose points to the left of the picture. **Pitch** > 0: up. **Roll** > 0: the head is tilted "
    "clockwise on the screen. Degrees, of the picture as it is: a mirrored one has yaw and roll of the other sign."
)
CSS = """
.gradio-container {max-width: 1180px !important; margin: auto}
#heading h1 {margin: 0.2em 0 0; font-size: 1.7em} #heading p {opacity: 0.75; margin: 0}
table.angles {width: 100%; border: 0 !important; border-collapse: collapse; font-variant-numeric: tabular-nums}
table.angles :is(tr, td, th) {border: 0; background: none}
table.angles th {text-align: right; font-weight: 500; opacity: 0.65; padding: 4px 8px}
table.angles td {text-align: right; padding: 6px 8px; border-top: 1px solid var(--border-color-primary) !important}
table.angles :is(td, th):first-child, table.angles :is(td, th):nth-child(5) {text-align: left}
table.angles .yaw, table.angles .pitch, table.angles .roll {font-size: 1.25em; font-weight: 600}
table.angles .yaw {color: #d9822b} table.angles .pitch {color: #2f9e6e} table.angles .roll {color: #4c7fe0}
.note {opacity: 0.65; font-size: 0.9em; margin: 6px 8px}
@media (max-width: 640px) {
  table.angles :is(td, th):nth-child(5), table.angles :is(td, th):nth-child(6) {display: none}
}
"""
COLOURS = {"yaw": "#d9822b", "pitch": "#2f9e6e", "roll": "#4c7fe0"}


class Estimators:
    """One estimator for each of ``models``, loaded when it is first asked for. Threads take turns."""

    def __init__(self, models: Sequence[str], detector: str, device: str, threads: int) -> None:
        self.models = tuple(models)
        self._detector: Any = detector
        self._settings: dict[str, Any] = {"device": device, "threads": threads}
        self._loaded: dict[str, HeadPoseEstimator] = {}
        self._lock = threading.Lock()

    def load(self, model: str) -> HeadPoseEstimator:
        """HeadPoseError if there is no such model."""
        if model not in self.models:  # a request may hold anything: no file is loaded because a page says so
            raise HeadPoseError(f"this page has no model {model}")
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = HeadPoseEstimator(model, detector=self._detector, **self._settings)
                self._detector = self._loaded[model].detector  # one for all models
            return self._loaded[model]

    def estimate(self, image: Image, model: str, max_faces: int, min_score: float) -> list[HeadPose]:
        """Poses of the ``max_faces`` best faces that score ``min_score`` or more."""
        estimator = self.load(model)
        # A lock for each picture, not a queue of jobs: a photo gets its turn between two frames of a video.
        with self._lock:
            poses = estimator.estimate(image)
        return [pose for pose in poses if pose.face.score >= min_score][: int(max_faces)]


def swap_red_and_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR -> RGB and back."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def describe(euler: EulerAngles) -> str:
    """The angles in words, left and right being those of the picture."""
    sides = (("left", "right"), ("up", "down"))
    ways = [
        f"{abs(angle):.0f}° {positive if angle > 0 else negative}"
        for angle, (positive, negative) in zip(euler[:2], sides, strict=True)
        if abs(angle) >= STRAIGHT
    ]
    looks = "looks " + (" and ".join(ways) or "straight ahead")
    if abs(euler.roll) < STRAIGHT:
        return looks
    return f"{looks}, tilted {abs(euler.roll):.0f}° {'' if euler.roll > 0 else 'counter-'}clockwise"


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
def in_one_line(path: str = "") -> Iterator[None]:
    """Shows a ``HeadPoseError`` in a corner of the page, with the name of ``path`` instead of where gradio keeps it."""
    try:
        yield
    except HeadPoseError as error:
        message = str(error).replace(path, Path(path).name) if path else str(error)
        raise gr.Error(message, print_exception=False) from None


def curve_frame(curve: Sequence[tuple[float, EulerAngles]]) -> Any:
    """Data frame (seconds, degrees, angle) for the plot, of at most ``CURVE_POINTS`` moments."""
    import pandas as pd  # gradio brings it; only a video needs it

    step = max(1, -(-len(curve) // CURVE_POINTS))
    points = [(time_s, angle, name) for time_s, euler in curve[::step] for name, angle in euler._asdict().items()]
    return pd.DataFrame(points, columns=["seconds", "degrees", "angle"])


class Handlers:
    """What the page's events call; ``settings`` are those of ``Estimators.estimate`` after the picture."""

    def __init__(self, estimators: Estimators) -> None:
        self._estimators = estimators

    def photo(self, upload: dict[str, Any] | None, style: Style, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated picture and table of an upload as gradio stored it."""
        if not upload:
            return None, ""
        # The file itself: ``decode_image`` knows more formats than gradio, and says what is wrong with one.
        data, name = Path(upload["path"]).read_bytes(), upload["orig_name"] or "the picture"
        with in_one_line():
            return self._annotated(decode_image(data, name), style, False, settings)

    def live(self, frame: RGB | None, mirror: bool, style: Style, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated frame and table; ``mirror`` turns the shown picture, never the estimated one."""
        if frame is None:
            return None, ""
        with in_one_line():
            return self._annotated(swap_red_and_blue(frame), style, mirror, settings)

    def _annotated(self, image: Image, style: Style, mirror: bool, settings: Sequence[Any]) -> tuple[RGB, str]:
        started = time.perf_counter()
        poses = self._estimators.estimate(image, *settings)
        took = 1e3 * (time.perf_counter() - started)
        picture = (draw_mirrored if mirror else draw_poses)(image, poses, style)
        return swap_red_and_blue(picture), table(poses, f"{image.shape[1]} x {image.shape[0]} pixels, {took:.0f} ms")

    def video(self, path: str | None, smooth: bool, style: Style, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Preview, state, video, CSV, curves: the first two while it works, the others at the end."""
        if not path:
            raise gr.Error("Choose a video first.", print_exception=False)
        # Gradio copies what is yielded, so the files need not outlive this call.
        with in_one_line(path), tempfile.TemporaryDirectory() as folder, open_source(path) as source:
            # WebM: of what OpenCV's wheels can write, the one that browsers play.
            annotated, angles = Path(folder, "headpose.webm"), Path(folder, "headpose.csv")
            curve: list[tuple[float, EulerAngles]] = []
            tracker = FaceTracker(Smoothing() if smooth else None)
            frames = yield from self._process(source, tracker, annotated, angles, curve, style, settings)
            for problem in source.problems:
                gr.Warning(problem.replace(path, Path(path).name))
            state = f"{frames} frames, {len(curve)} of them with a face. The curves are those of the largest."
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
        style: Style,
        settings: Sequence[Any],
    ) -> Generator[tuple[Any, ...], None, int]:
        """Fills the two files and ``curve``, the angles of the largest face; yields previews, returns the count."""
        count = 0
        started = shown = time.monotonic()
        with VideoFile(annotated, source.fps, style, by_clock=True) as video, csv_file(angles, tracks=True) as rows:
            for frame in source:
                poses = tracker.update(self._estimators.estimate(frame.image, *settings), frame.time_s)
                count += 1
                video.write(frame, poses)
                rows.write(frame, poses)
                if poses:
                    largest = max(poses, key=lambda pose: pose.box.width * pose.box.height)
                    curve.append((frame.time_s, largest.euler))
                if time.monotonic() - shown > PREVIEW_EVERY_S:
                    shown = time.monotonic()
                    preview = swap_red_and_blue(draw_poses(frame.image, poses, style))
                    state = f"Frame {count}" + (f" of {source.length}" if source.length else "")
                    state += f", {count / (shown - started):.0f} frames/s"
                    nothing_yet = gr.update(value=None, visible=False)
                    yield gr.update(value=preview, visible=True), state, nothing_yet, nothing_yet, nothing_yet
        return count


def build(estimators: Estimators, model: str) -> gr.Blocks:
    """The page, with ``model`` chosen."""
    handlers = Handlers(estimators)
    with gr.Blocks(title="headpose", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# headpose\nYaw, pitch and roll of every face. Nothing leaves this computer.", elem_id="heading")
        with gr.Row():
            models = [(Path(name).stem, name) for name in estimators.models]
            choice = gr.Dropdown(models, value=model, label="Model", scale=2, min_width=150)
            style = gr.Radio(list(STYLES), value="axes", label="Drawing", scale=3, min_width=270, elem_id="style")
            max_faces = gr.Slider(1, 20, value=10, step=1, label="Faces, at most", scale=2, min_width=150)
            min_score = gr.Slider(0.5, 0.95, value=0.5, step=0.05, label="Lowest score", scale=2, min_width=150)
        settings = [style, choice, max_faces, min_score]
        with gr.Tab("Photo"):
            photo_tab(handlers, settings)
        with gr.Tab("Webcam"):
            webcam_tab(handlers, settings)
        with gr.Tab("Video"):
            video_tab(handlers, settings)
        gr.Markdown(CONVENTION)
    return page


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
        gr.Examples([[str(EXAMPLE)]], [photo], label="For a try")
    changes = [photo.change, *(setting.change for setting in settings)]
    gr.on(changes, handlers.photo, [photo, *settings], [drawn, angles], preprocess=False)


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
        handlers.video, [video, smooth, *settings], [preview, state, drawn, angles, plot], show_progress="hidden"
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
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until Ctrl-C; returns the exit status."""
    args = parse(arguments)
    silence_codecs()
    if args.threads > 0:
        cv2.setNumThreads(args.threads)
    font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", font=font, font_mono=["ui-monospace", "monospace"]
    )
    try:
        names = list(manifest())
        names = names if args.model in names else [args.model, *names]
        estimators = Estimators(names, args.detector, args.device, args.threads)
        estimators.load(args.model)  # a wrong name is told before there is a page
        page = build(estimators, args.model)
        page.launch(
            server_name=args.host,
            server_port=args.port,
            theme=theme,
            css=CSS,
            quiet=True,
            share=False,
            show_error=True,
            footer_links=[],
            run_history=False,
            prevent_thread_lock=True,
        )
    except HeadPoseError as error:
        print(f"gradio_ui: error: {error}", file=sys.stderr)
        return 1
    except OSError:
        print(f"gradio_ui: error: cannot serve on {args.host}:{args.port}: try another --port", file=sys.stderr)
        return 1
    print(f"headpose: http://{args.host}:{args.port} (Ctrl-C ends it)", flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
