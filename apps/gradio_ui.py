"""Head pose in the browser: photos, the webcam and videos, on this computer and with no internet.

    python apps/gradio_ui.py [--host 127.0.0.1] [--port 7860] [--model student] [--device auto] [--threads 0]
    python apps/gradio_ui.py --host 0.0.0.0 --ssl-certfile cert.pem --ssl-keyfile key.pem   # cameras over the network
    python apps/gradio_ui.py --root-path /headpose   # behind a proxy that shows it there

Needs the ``apps`` extra. Nothing leaves the machine: no analytics, no share link, no web fonts. No file of the machine
is read because a visitor names it: only what was uploaded, into a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
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

# Before gradio is imported, which reads them once and would otherwise call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.cli.log import add_verbose, show_log
from headpose.cli.program import imports_from, run_program
from headpose.detection import DETECTORS
from headpose.draw import ANGLE_COLOURS, STYLES, describe, draw_mirrored, draw_poses
from headpose.errors import HeadPoseError
from headpose.estimator import DEFAULT_MODEL, Estimators
from headpose.images import decode_image
from headpose.inference import DEVICES, bounded_threads
from headpose.smoothing import Smoothing
from headpose.streams import VideoFile, csv_file, open_source, silence_codecs
from headpose.streams.gate import Gate, check_certificate, checked_root, is_local
from headpose.streams.uploads import BOUNDS, Line, Places, Settings, UploadBounds, Uploads, checked, read_video
from headpose.tracking import FaceTracker
from headpose.types import HeadPose
from headpose.weights import manifest

with imports_from("apps", "gradio_ui"):
    import gradio as gr
    from starlette.middleware import Middleware

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
RGB = NDArray[np.uint8]
"""(H, W, 3) uint8, channels red, green, blue: what gradio shows."""

BUTTONS: Any = ["fullscreen", "download"]  # without the one that uploads to Hugging Face
CURVE_POINTS = 500  # of each angle; more only makes the browser slow
PREVIEW_EVERY_S = 0.5
MOST_FACES = 100
LOWEST_FPS, HIGHEST_FPS = 1.0, 120.0  # of annotated videos, whatever the rate of what was uploaded
# Inputs come to the handlers as they were sent: gradio would open a file before it was checked.
RAW: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
SIZE: dict[str, Any] = {"height": 380, "min_width": 300}  # of pictures
PHOTOS, WEBCAMS, WEBCAMS_WAITING = 2, 8, 16  # at once
THREADS = 20  # for everything but videos and webcams
CSS, LEGEND = Path(__file__).with_suffix(".css"), Path(__file__).with_suffix(".html")
COLOURS = {name: f"#{r * 4 // 5:02x}{g * 4 // 5:02x}{b * 4 // 5:02x}" for name, (b, g, r) in ANGLE_COLOURS.items()}
"""Those of the drawn axes, darker, so that they can be read on white and on black."""
NO_CAMERA = (
    "Browsers give the camera to a page that came over https, or from the same computer (localhost), and to no other. "
    "This one came over plain http: start it with --ssl-certfile and --ssl-keyfile, and open its https:// address."
)
SHOW_NO_CAMERA = """() => { if (!window.isSecureContext) document.head.insertAdjacentHTML(
    'beforeend', '<style>#no-camera {display: block !important}</style>') }"""  # the tab itself comes later


def swap_red_and_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR -> RGB and back."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def table(poses: Sequence[HeadPose], note: str) -> str:
    """HTML: a row for each face, with the number that is drawn beside it, and a note below."""
    if not poses:
        return f'<p class="note">No face found. {note}</p>'
    rows = "".join(
        f"<tr><td>{number}</td>"
        + "".join(f'<td class="{name}">{angle:+.1f}°</td>' for name, angle in pose.euler._asdict().items())
        + f"<td>{describe(pose.euler)}</td><td>{pose.face.score:.2f}</td></tr>"
        for number, pose in enumerate(poses, 1)
    )
    head = "".join(f"<th>{title}</th>" for title in ("Face", "Yaw", "Pitch", "Roll", "In words", "Score"))
    return f'<table class="angles"><tr>{head}</tr>{rows}</table><p class="note">{note}</p>'


@contextlib.contextmanager
def in_one_line(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Shows a ``HeadPoseError`` in a corner of the page, with ``names`` for the paths that its files have here."""
    try:
        yield
    except HeadPoseError as error:
        message = str(error)
        for path, name in (names or {}).items():
            message = message.replace(path, name)
        raise gr.Error(message, print_exception=False) from None


def curve_frame(curve: array[float]) -> Any:
    """Data frame (seconds, degrees, angle) for the plot, of at most ``CURVE_POINTS`` moments."""
    import pandas as pd  # gradio brings it; only a video needs it

    moments = np.reshape(curve, (-1, 4))
    moments = moments[:: max(1, -(-len(moments) // CURVE_POINTS))]
    points = [(time_s, angle, name) for time_s, *euler in moments for name, angle in zip(COLOURS, euler, strict=True)]
    return pd.DataFrame(points, columns=["seconds", "degrees", "angle"])


def at_work(state: str, preview: RGB | None = None) -> tuple[Any, ...]:
    """What the video tab shows until there are results: preview, state, and neither video nor numbers nor curves."""
    nothing_yet = gr.update(value=None, visible=False)
    return gr.update(value=preview, visible=preview is not None), state, *(nothing_yet,) * 3


class Handlers:
    """What the page's events call, each with its inputs as the browser sent them; ``settings`` are for ``checked``."""

    def __init__(self, estimators: Estimators, uploads: Uploads) -> None:
        self._estimators, self._uploads = estimators, uploads
        self._videos = Line(uploads.bounds.videos, uploads.bounds.videos_waiting)
        self._webcams = Places(WEBCAMS)

    def photo(self, upload: Any, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated picture and table of an upload as gradio stored it."""
        return self._annotated(upload, settings)

    def live(self, request: gr.Request, frame: Any, mirror: Any, *settings: Any) -> tuple[RGB | None, str]:
        """Annotated frame and table; ``mirror`` turns the shown picture, never the estimated one."""
        if not self._webcams.take(request.session_hash):
            return None, f'<p class="note">The page is busy with {WEBCAMS} webcams: yours begins when one ends.</p>'
        return self._annotated(frame, settings, live=True, mirror=bool(mirror))

    def _annotated(
        self, sent: Any, settings: Sequence[Any], *, live: bool = False, mirror: bool = False
    ) -> tuple[RGB | None, str]:
        if not sent:
            return None, ""
        with in_one_line():
            chosen = checked(settings, MOST_FACES)
            # The file itself: ``decode_image`` knows more formats than gradio, and says what is wrong with one.
            data, name = self._uploads.picture(sent)
            image = decode_image(data, name, max_pixels=int(1e6 * self._uploads.bounds.megapixels))
            started = time.perf_counter()
            poses = self._estimate(chosen, image)
            if live:  # the order of the scores, and with it the numbers, would change from frame to frame
                poses.sort(key=lambda pose: pose.box.center[0])
        took = 1e3 * (time.perf_counter() - started)
        picture = (draw_mirrored if mirror else draw_poses)(image, poses, chosen.style)
        return swap_red_and_blue(picture), table(poses, f"{image.shape[1]} x {image.shape[0]} pixels, {took:.0f} ms")

    def video(self, upload: Any, smooth: Any, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Preview, state, video, CSV, curves: the first two while it works, the others at the end."""
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
                    yield at_work(f"The page is busy with {others}: yours is number {place} in line, and waits.")
                    place = wait(1.0)
                yield from self._video(path, name, bool(smooth), chosen)
        except gr.Error as error:  # which goes away after a while
            yield at_work(f"**{error.message}**")
            raise

    def _video(self, path: str, name: str, smooth: bool, settings: Settings) -> Iterator[tuple[Any, ...]]:
        # Gradio copies what is yielded, so the files need not outlive this call.
        with tempfile.TemporaryDirectory() as folder, in_one_line({path: name, f"{folder}{os.sep}": ""}):
            # WebM: of what OpenCV's wheels can write, the one that browsers play.
            annotated, angles = Path(folder, "headpose.webm"), Path(folder, "headpose.csv")
            curves: dict[int | None, array[float]] = {}  # of each face: time, yaw, pitch, roll, and so on
            sizes: Counter[int | None] = Counter()
            tracker = FaceTracker(Smoothing() if smooth else None)
            ended, shown, with_face = [], time.monotonic(), 0
            with open_source(path) as source:
                fps = min(max(source.fps, LOWEST_FPS), HIGHEST_FPS)  # by its clock a video keeps its pace at any rate
                drawn = VideoFile(annotated, fps, settings.style, by_clock=True)
                with drawn as video, csv_file(angles, tracks=True) as rows:
                    estimate = functools.partial(self._estimate, settings)
                    for seen in read_video(source, estimate, tracker, [video, rows], self._uploads.bounds):
                        with_face += bool(seen.poses)
                        for pose in seen.poses:
                            curves.setdefault(pose.track, array("d")).extend((seen.frame.time_s, *pose.euler))
                            sizes[pose.track] += round(pose.box.width * pose.box.height)
                        if seen.late:
                            seconds = self._uploads.bounds.video_seconds
                            ended = [f"Stopped after {seconds:g} seconds of work: the video is longer."]
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
            for face, _ in sizes.most_common(1):  # not the largest of each frame: some frames have a false one
                ended += [f"The curves are those of face {face}."]
                plot = gr.update(value=curve_frame(curves[face]), visible=True)
            video_file = gr.update(value=str(annotated), visible=True)
            yield gr.update(visible=False), " ".join(ended), video_file, numbers, plot

    def _estimate(self, settings: Settings, image: NDArray[np.uint8]) -> list[HeadPose]:
        return self._estimators.estimate(image, *settings[1:])


def build(estimators: Estimators, model: str, uploads: Uploads) -> gr.Blocks:
    """The page, with ``model`` chosen."""
    handlers = Handlers(estimators, uploads)
    with gr.Blocks(title="headpose", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# headpose\nYaw, pitch and roll of every face. Nothing leaves this computer.", elem_id="heading")
        with gr.Row():
            models = [(Path(name).stem, name) for name in estimators.models]
            choice = gr.Dropdown(models, value=model, label="Model", scale=2, min_width=150)
            style = gr.Radio(list(STYLES), value="axes", label="Drawing", scale=3, min_width=270, elem_id="style")
            max_faces = gr.Slider(1, MOST_FACES, value=MOST_FACES, step=1, label="Most faces", scale=2, min_width=150)
            min_score = gr.Slider(0.5, 0.95, value=0.5, step=0.05, label="Lowest score", scale=2, min_width=150)
        settings = [style, choice, max_faces, min_score]
        with gr.Tab("Photo"):
            photo_tab(handlers, settings)
        with gr.Tab("Webcam"):
            webcam_tab(handlers, settings)
        with gr.Tab("Video"):
            video_tab(handlers, settings)
        gr.HTML(LEGEND.read_text("utf-8"), elem_id="legend")
        page.load(None, js=SHOW_NO_CAMERA)
    return page.queue(max_size=uploads.bounds.waiting, api_open=False)


def drawn_picture(elem_id: str) -> gr.Image:
    """Where a picture with its poses is shown."""
    return gr.Image(label="Head pose", format="jpeg", interactive=False, buttons=BUTTONS, elem_id=elem_id, **SIZE)


def photo_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        photo = gr.Image(sources=["upload", "clipboard"], label="Photo", elem_id="photo", **SIZE)
        drawn = drawn_picture("photo-drawn")
    angles = gr.HTML(elem_id="photo-angles")
    if EXAMPLE.is_file():
        gr.Examples([[str(EXAMPLE)]], [photo], label="For a try", api_visibility="private")
    changes = [photo.change, *(setting.change for setting in settings)]
    gr.on(changes, handlers.photo, [photo, *settings], [drawn, angles], concurrency_limit=PHOTOS, **RAW)


def webcam_tab(handlers: Handlers, settings: list[Any]) -> None:
    gr.HTML(f"<p>{NO_CAMERA}</p>", elem_id="no-camera")
    with gr.Row():
        # Gradio mirrors the webcam by default, which would give yaw and roll the other sign.
        options = gr.WebcamOptions(mirror=False)
        camera = gr.Image(
            sources=["webcam"], streaming=True, webcam_options=options, label="Webcam", elem_id="webcam", **SIZE
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
        concurrency_limit=WEBCAMS + WEBCAMS_WAITING,
        **RAW,
    )


def video_tab(handlers: Handlers, settings: list[Any]) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.Video(sources=["upload"], label="Video, also one that no browser plays", elem_id="video", **SIZE)
            with gr.Row():
                start = gr.Button("Read the poses", variant="primary", elem_id="video-start")
                stop = gr.Button("Stop")
            smooth = gr.Checkbox(label="Smooth: calm the tremble of angles and boxes", elem_id="video-smooth")
        with gr.Column():
            preview = gr.Image(label="At work", format="jpeg", height=380, visible=False, interactive=False, buttons=[])
            drawn = gr.Video(label="Head pose", interactive=False, buttons=["download"], elem_id="video-drawn", **SIZE)
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
    stop.click(None, None, [state], cancels=[working], js="() => 'Stopped.'")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; wrong usage ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="gradio_ui", description="Head pose in the browser, on this computer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 for the whole network")
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument("--root-path", default="", metavar="/PATH", help="where a proxy shows the page, or its URL")
    parser.add_argument("--ssl-certfile", metavar="FILE", help="certificate (PEM): serve https, so that cameras work")
    parser.add_argument("--ssl-keyfile", metavar="FILE", help="its key, without a password (in the same file)")
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
    check_certificate(args.ssl_certfile, args.ssl_keyfile)
    root = checked_root(args.root_path)
    uploads = Uploads(folder, UploadBounds(**{name: getattr(args, name) for name in BOUNDS}))
    names = list(manifest())
    names = names if args.model in names else [args.model, *names]
    estimators = Estimators(names, args.detector, args.device, args.threads)
    estimators.load(args.model)  # an error for a wrong name comes before there is a page
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
            ssl_verify=False,  # of Gradio's own look at its page: a certificate of one's own passes nowhere
            max_threads=THREADS + args.videos + args.videos_waiting + WEBCAMS + WEBCAMS_WAITING,
            app_kwargs={"middleware": [Middleware(Gate, uploads=uploads, root_path=urlsplit(root).path)]},
            max_file_size=int(1e6 * max(args.picture_mb, args.video_mb)),
            theme=theme,
            css=":root {" + "".join(f"--{name}: {colour};" for name, colour in COLOURS.items()) + "}",
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder is removed then, too
    lines = [f"headpose: http{'s' if args.ssl_certfile else ''}://{args.host}:{args.port} (Ctrl-C ends it)"]
    if not args.ssl_certfile and not is_local(args.host):
        lines += ["headpose: other computers' browsers give their cameras to https alone: see --ssl-certfile"]
    print("\n".join(lines), flush=True)
    page.block_thread()


if __name__ == "__main__":
    sys.exit(main())
