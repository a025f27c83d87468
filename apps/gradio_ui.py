"""Head pose in the browser: photos, webcam and videos, processed on this computer without internet access.

    python apps/gradio_ui.py [--host 127.0.0.1] [--port 7860] [--model student-wide] [--device auto] [--threads 0]
    python apps/gradio_ui.py --host 0.0.0.0 --ssl-certfile cert.pem --ssl-keyfile key.pem   # cameras over the network
    python apps/gradio_ui.py --root-path /headpose   # behind a reverse proxy, under this path

Needs the extra ``apps``. No data leave the machine: there are no analytics, no share link and no web fonts. Visitors
can only access the files they uploaded, which are stored in a folder that is removed at exit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Set before gradio is imported: it reads them once, and sends analytics by default.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import cv2
import numpy as np

from headpose.choices import DEFAULT_DETECTOR, DEFAULT_MODEL, DETECTORS, DEVICES, STYLES
from headpose.cli.arguments import port
from headpose.cli.log import add_verbose, show_log
from headpose.cli.program import imports_from, run_program
from headpose.draw import draw_mirrored, draw_poses
from headpose.errors import HeadPoseError
from headpose.estimator import Estimators
from headpose.images import decode_image
from headpose.inference import bounded_threads
from headpose.neutral import NeutralPose
from headpose.smoothing import Smoothing
from headpose.streams import VideoFile, csv_file, open_source, silence_codecs
from headpose.streams.chart import SPAN_S, History
from headpose.streams.gate import Gate, check_certificate, checked_root, is_local
from headpose.streams.page import COLORS, RGB, curve_frame, in_words, note_on, said, swap_red_and_blue, table
from headpose.streams.uploads import BOUNDS, Line, Places, Settings, UploadBounds, Uploads, checked, read_video
from headpose.streams.uploads import page_stream as stream_of
from headpose.streams.webcams import Webcams
from headpose.types import Image
from headpose.weights import list_models

with imports_from("apps", "gradio_ui"):
    import gradio as gr
    from starlette.middleware import Middleware

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"

BUTTONS: Any = ["fullscreen", "download"]  # without the button that uploads to Hugging Face
PREVIEW_EVERY_S = 0.5
MOST_FACES = 100
LOWEST_FPS, HIGHEST_FPS = 1.0, 120.0  # range of the frame rate of annotated videos
# Handlers get the inputs as sent by the browser: with preprocessing, gradio would open a file before we check it.
RAW: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
SIZE: dict[str, Any] = {"height": 380, "min_width": 300}  # of image and video components, pixels
PHOTOS, WEBCAMS, WEBCAMS_WAITING = 2, 8, 16  # maximum numbers at the same time
THREADS = 20  # for all requests except videos and webcams
CSS, LEGEND, SCRIPT = (Path(__file__).with_suffix(ending) for ending in (".css", ".html", ".js"))
NO_CAMERA = (
    "Browsers allow camera access only to pages from https or from the same computer (localhost). This page came from "
    "plain http: start the program with --ssl-certfile and --ssl-keyfile, and open its https:// address."
)


@contextlib.contextmanager
def in_one_line(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Show a ``HeadPoseError`` as a message on the page, with paths on this machine replaced by ``names``."""
    try:
        yield
    except HeadPoseError as error:
        message = str(error)
        for path, name in (names or {}).items():
            message = message.replace(path, name)
        raise gr.Error(message, print_exception=False) from None


def at_work(state: str, preview: RGB | None = None) -> tuple[Any, ...]:
    """Return the updates of the video tab during processing: preview, state, and no video, CSV file or curves."""
    nothing_yet = gr.update(value=None, visible=False)
    return gr.update(value=preview, visible=preview is not None), state, *(nothing_yet,) * 3


def chart(history: History) -> Any:
    """Return the update of the webcam's chart."""
    return gr.update(value=curve_frame(history.lines), y_lim=[-history.limit, history.limit], visible=True)


class Handlers:
    """Event handlers of the page. Inputs are unchecked, as sent by the browser; ``checked`` validates ``settings``."""

    def __init__(self, estimators: Estimators, uploads: Uploads) -> None:
        self._estimators, self._uploads = estimators, uploads
        self._videos = Line(uploads.bounds.videos, uploads.bounds.videos_waiting)
        self._places, self._webcams = Places(WEBCAMS), Webcams(estimators)

    def photo(self, upload: Any, *settings: Any) -> tuple[RGB | None, str]:
        """Return the annotated image and the table of an uploaded image."""
        if not upload:
            return None, ""
        with in_one_line():
            chosen, image = self._read(upload, settings)
            started = time.perf_counter()
            poses = self._estimators.estimate(image, *chosen[1:])
            note = note_on(image, time.perf_counter() - started)
        return swap_red_and_blue(draw_poses(image, poses, chosen.style)), table(poses, note)

    def live(
        self, request: gr.Request, frame: Any, mirror: Any, neutral: NeutralPose | None, *settings: Any
    ) -> tuple[RGB | None, str, Any]:
        """Return the annotated frame, the table and the chart; the chart only now and then.

        ``mirror`` mirrors the shown image, never the estimated one.
        """
        if not self._places.take(request.session_hash):
            return None, said(f"The page is busy with {WEBCAMS} webcams: yours starts when one stops."), gr.skip()
        if not frame:
            return None, "", gr.skip()
        with in_one_line():
            chosen, image = self._read(frame, settings)
            started = time.perf_counter()
            seen = self._webcams.update(request.session_hash or "", image, chosen, neutral)
            note = note_on(image, time.perf_counter() - started)
        picture = (draw_mirrored if mirror else draw_poses)(image, seen.poses, chosen.style, numbers=seen.reported)
        plot = gr.skip() if seen.history is None else chart(seen.history)
        return swap_red_and_blue(picture), table(seen.reported, note, neutral), plot

    def set_neutral(self, request: gr.Request) -> tuple[Any, str]:
        """Return the visitor's new neutral pose, the mean of the last second, and a message."""
        try:
            neutral = self._webcams.neutral(request.session_hash or "")
        except HeadPoseError as error:
            return gr.skip(), said(f"No neutral pose: {error}.")
        return neutral, said(
            f"Neutral pose set: {in_words(neutral)}. Angles are relative to it, the drawn axes are not."
        )

    def _read(self, sent: Any, settings: Sequence[Any]) -> tuple[Settings, Image]:
        chosen = checked(settings, MOST_FACES)
        # Decode the file here: ``decode_image`` supports more formats than gradio and has clear error messages.
        data, name = self._uploads.picture(sent)
        return chosen, decode_image(data, name, max_pixels=int(1e6 * self._uploads.bounds.megapixels))

    def video(self, upload: Any, smooth: Any, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Yield (preview, state, video, CSV, curves): the first two during processing, the others at the end."""
        if not upload:
            raise gr.Error("Choose a video first.", print_exception=False)
        with in_one_line():
            file, name = self._uploads.video(upload)
            path = str(file)
            chosen = checked(settings, MOST_FACES)
        try:
            with in_one_line(), self._videos.place() as wait:
                place = wait(0.0)
                while place:
                    others = f"{count} other videos" if (count := self._videos.at_once) > 1 else "1 other video"
                    yield at_work(f"The page is busy with {others}: yours is number {place} in line.")
                    place = wait(1.0)
                yield from self._video(path, name, bool(smooth), chosen)
        except gr.Error as error:  # the page hides it after a while
            yield at_work(f"**{error.message}**")
            raise

    def _video(self, path: str, name: str, smooth: bool, settings: Settings) -> Iterator[tuple[Any, ...]]:
        # Gradio copies the files that are yielded, so they can be deleted at the end of this call.
        with tempfile.TemporaryDirectory() as folder, in_one_line({path: name, f"{folder}{os.sep}": ""}):
            # WebM is the only format that OpenCV's wheels can write and browsers can play.
            annotated, angles = Path(folder, "headpose.webm"), Path(folder, "headpose.csv")
            curves: dict[int | None, array[float]] = {}  # per face: time, yaw, pitch, roll, time, ...
            sizes: Counter[int | None] = Counter()
            estimate = stream_of(self._estimators, settings, Smoothing() if smooth else None)
            ended, shown, with_face = [], time.monotonic(), 0
            with open_source(path) as source:
                fps = min(max(source.fps, LOWEST_FPS), HIGHEST_FPS)  # by_clock keeps the speed at any rate
                drawn = VideoFile(annotated, fps, settings.style, by_clock=True)
                with drawn as video, csv_file(angles, tracks=True) as rows:
                    for seen in read_video(source, estimate, [video, rows], self._uploads.bounds):
                        with_face += bool(seen.poses)
                        for pose in seen.poses:
                            curves.setdefault(pose.track, array("d")).extend((seen.frame.time_s, *pose.euler))
                            sizes[pose.track] += round(pose.box.width * pose.box.height)
                        if seen.late:
                            seconds = self._uploads.bounds.video_seconds
                            ended = [f"Stopped after {seconds:g} seconds of processing: the video is longer."]
                        elif time.monotonic() - shown > PREVIEW_EVERY_S:
                            shown = time.monotonic()
                            preview = swap_red_and_blue(draw_poses(seen.frame.image, seen.poses, settings.style))
                            of = f" of {source.length}" if source.length else ""
                            yield at_work(f"Frame {seen.count}{of}, {seen.per_second:.0f} frames/s", preview)
            for problem in (*source.problems, *ended):
                gr.Warning(problem.replace(path, name))
            frames = "1 frame" if seen.count == 1 else f"{seen.count} frames"
            ended += [f"{frames}, {with_face} of them with a face."]
            numbers, plot = gr.update(value=str(angles), visible=True), gr.update(visible=False)
            for face, _ in sizes.most_common(1):  # the largest over all frames: single frames have false positives
                ended += [f"The curves show face {face}."]
                plot = gr.update(value=curve_frame([np.reshape(curves[face], (-1, 4))]), visible=True)
            video_file = gr.update(value=str(annotated), visible=True)
            yield gr.update(visible=False), " ".join(ended), video_file, numbers, plot


def build(estimators: Estimators, model: str, uploads: Uploads) -> gr.Blocks:
    """Build the page, with ``model`` selected."""
    handlers = Handlers(estimators, uploads)
    with gr.Blocks(title="headpose", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# headpose\nYaw, pitch and roll of every face. Nothing leaves this computer.", elem_id="heading")
        with gr.Row():
            models = [(Path(name).stem, name) for name in estimators.models]
            choice = gr.Dropdown(models, value=model, label="Model", scale=2, min_width=150)
            style = gr.Radio(list(STYLES), value=STYLES[0], label="Drawing", scale=3, min_width=270, elem_id="style")
            max_faces = gr.Slider(1, MOST_FACES, value=MOST_FACES, step=1, label="Max faces", scale=2, min_width=150)
            min_score = gr.Slider(0.5, 0.95, value=0.5, step=0.05, label="Min score", scale=2, min_width=150)
            confidence = gr.Slider(0.0, 1.0, value=0.0, step=0.05, label="Min confidence", scale=2, min_width=150)
        settings = [style, choice, max_faces, min_score, confidence]
        with gr.Tab("Photo"):
            photo_tab(handlers, settings)
        with gr.Tab("Webcam"):
            webcam_tab(handlers, settings)
        with gr.Tab("Video"):
            video_tab(handlers, settings)
        gr.HTML(LEGEND.read_text("utf-8"), elem_id="legend")
        page.load(None, js=SCRIPT.read_text("utf-8"))
    return page.queue(max_size=uploads.bounds.waiting, api_open=False)


def drawn_picture(elem_id: str) -> gr.Image:
    """Create the component that shows an image with drawn poses."""
    return gr.Image(label="Head pose", format="jpeg", interactive=False, buttons=BUTTONS, elem_id=elem_id, **SIZE)


def angle_plot(elem_id: str, **more: Any) -> gr.LinePlot:
    """Create the component that shows yaw, pitch and roll over time."""
    # Without a height: gradio 6.31 cuts off the legend of a plot with a height and a label.
    return gr.LinePlot(x="seconds", y="degrees", color="angle", color_map=COLORS, elem_id=elem_id, **more)


def photo_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        photo = gr.Image(sources=["upload", "clipboard"], label="Photo", elem_id="photo", **SIZE)
        drawn = drawn_picture("photo-drawn")
    angles = gr.HTML(elem_id="photo-angles")
    if EXAMPLE.is_file():
        gr.Examples([[str(EXAMPLE)]], [photo], label="Example", api_visibility="private")
    changes = [photo.change, *(setting.change for setting in settings)]
    gr.on(changes, handlers.photo, [photo, *settings], [drawn, angles], concurrency_limit=PHOTOS, **RAW)


def webcam_tab(handlers: Handlers, settings: list[Any]) -> None:
    gr.HTML(f"<p>{NO_CAMERA}</p>", elem_id="no-camera")
    with gr.Row():
        # Gradio mirrors the webcam by default, which would flip the signs of yaw and roll.
        options = gr.WebcamOptions(mirror=False)
        camera = gr.Image(
            sources=["webcam"], streaming=True, webcam_options=options, label="Webcam", elem_id="webcam", **SIZE
        )
        drawn = drawn_picture("webcam-drawn")
    with gr.Row(equal_height=True):
        mirror = gr.Checkbox(label="Mirror the annotated image (the angles do not change)", scale=3)
        new = gr.Button("Set neutral pose (z)", elem_id="neutral-set", min_width=150)
        clear = gr.Button("Clear neutral pose (x)", elem_id="neutral-clear", min_width=150)
    state, message = gr.State(), gr.HTML(elem_id="neutral-message")
    new.click(handlers.set_neutral, None, [state, message], show_progress="hidden", **RAW)
    cleared = said("Neutral pose cleared: angles are absolute.")
    clear.click(lambda: (None, cleared), None, [state, message], show_progress="hidden", **RAW)
    angles = gr.HTML(elem_id="webcam-angles")
    title = f"Last {SPAN_S:g} seconds of the largest face"
    plot = angle_plot("webcam-curves", label=title, x_lim=[-SPAN_S, 0], visible=False)
    camera.stream(
        handlers.live,
        [camera, mirror, state, *settings],
        [drawn, angles, plot],
        stream_every=0.05,
        time_limit=None,
        show_progress="hidden",
        concurrency_limit=WEBCAMS + WEBCAMS_WAITING,
        **RAW,
    )


def video_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.Video(sources=["upload"], label="Video, in any format", elem_id="video", **SIZE)
            with gr.Row():
                start = gr.Button("Estimate poses", variant="primary", elem_id="video-start")
                stop = gr.Button("Stop")
            smooth = gr.Checkbox(label="Smooth angles and boxes", elem_id="video-smooth")
        with gr.Column():
            preview = gr.Image(label="Preview", format="jpeg", height=380, visible=False, interactive=False, buttons=[])
            drawn = gr.Video(label="Head pose", interactive=False, buttons=["download"], elem_id="video-drawn", **SIZE)
            state = gr.Markdown(elem_id="video-state")
    plot = angle_plot("video-curves", visible=False)
    angles = gr.File(label="Angles of every face in every frame (CSV)", visible=False, elem_id="video-angles")
    working = start.click(
        handlers.video,
        [video, smooth, *settings],
        [preview, state, drawn, angles, plot],
        show_progress="hidden",
        concurrency_limit=None,  # limited by the handler
        **RAW,
    )
    stop.click(None, None, [state], cancels=[working], js="() => 'Stopped.'")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; wrong usage exits with status 2."""
    parser = argparse.ArgumentParser(prog="gradio_ui", description="Head pose in the browser, on this computer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all networks (127.0.0.1)")
    parser.add_argument("--port", type=port, default=7860, help="port to listen on (7860)")
    parser.add_argument("--root-path", default="", metavar="/PATH", help="path or URL of the page behind a proxy")
    parser.add_argument("--ssl-certfile", metavar="FILE", help="certificate (PEM); enables https, which cameras need")
    parser.add_argument("--ssl-keyfile", metavar="FILE", help="key without a password (default: in the certificate)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"name or .onnx file of the network ({DEFAULT_MODEL})")
    parser.add_argument("--detector", choices=DETECTORS[:2], default=DEFAULT_DETECTOR, help="detector (%(default)s)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="device of the networks (auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="number of CPU threads (all)")
    add_verbose(parser)
    bounds = parser.add_argument_group("limits for visitors")
    for name, words in BOUNDS.items():
        default = getattr(UploadBounds(), name)
        option = f"--{name.replace('_', '-')}"
        bounds.add_argument(option, type=type(default), default=default, metavar="N", help=f"{words} ({default:g})")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C and return the exit status."""
    return run_program("gradio_ui", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    args = parse(arguments)
    silence_codecs()
    show_log("gradio_ui", args.verbose)
    if threads := bounded_threads(args.threads):
        cv2.setNumThreads(threads)
    # Use a new folder: gradio's default folder also contains the uploads of other programs.
    with tempfile.TemporaryDirectory(prefix="headpose-page-", ignore_cleanup_errors=True) as folder:
        # Resolve symbolic links: gradio names files by this path, and ``Uploads`` compares the names.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(os.environ.get("GRADIO_TEMP_DIR") or folder).resolve())
        serve(args, os.environ["GRADIO_TEMP_DIR"])
    return 0


def serve(args: argparse.Namespace, folder: str) -> None:
    """Serve the page until Ctrl-C or SIGTERM, with uploads in ``folder``; HeadPoseError if that is not possible."""
    check_certificate(args.ssl_certfile, args.ssl_keyfile)
    root = checked_root(args.root_path)
    uploads = Uploads(folder, UploadBounds(**{name: getattr(args, name) for name in BOUNDS}))
    names = list_models()
    names = names if args.model in names else [args.model, *names]
    estimators = Estimators(names, args.detector, args.device, args.threads)
    estimators.load(args.model)  # an unknown name is an error before the page starts
    page = build(estimators, args.model, uploads)
    font, mono = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Default(primary_hue="teal", neutral_hue="slate", font=font, font_mono=mono)
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            root_path=root,
            ssl_certfile=args.ssl_certfile,
            ssl_keyfile=args.ssl_keyfile or args.ssl_certfile,
            ssl_verify=False,  # for gradio's request to its own page: self-signed certificates fail the check
            max_threads=THREADS + args.videos + args.videos_waiting + WEBCAMS + WEBCAMS_WAITING,
            app_kwargs={"middleware": [Middleware(Gate, uploads=uploads, root_path=urlsplit(root).path)]},
            max_file_size=int(1e6 * max(args.picture_mb, args.video_mb)),
            theme=theme,
            css=":root {" + "".join(f"--{name}: {color};" for name, color in COLORS.items()) + "}",
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder is removed
    lines = [f"headpose: http{'s' if args.ssl_certfile else ''}://{args.host}:{args.port} (press Ctrl-C to stop)"]
    if not args.ssl_certfile and not is_local(args.host):
        lines += ["headpose: browsers on other computers allow camera access only with https: see --ssl-certfile"]
    print("\n".join(lines), flush=True)
    page.block_thread()


if __name__ == "__main__":
    sys.exit(main())
