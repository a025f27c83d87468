"""No program destroys what it reads: every one that writes is run with an output that is an input."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from headpose import cli
from headpose.images import read_image, write_image
from headpose.streams import source_files
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network
from tests.report.results_folder import write_results
from tests.videos import write_video

READ, TEXT, ONE = "would overwrite .*, which is read: give another name", "cannot write text to", "are one file"
WRONG_NAME = "must end in"

# Words in capitals are files of the fixture `here`; all others stand as they are.
CASES = [
    ("estimate", "photo.jpg --json photo.jpg", TEXT),
    ("estimate", "photo.jpg --csv photo.jpg", TEXT),
    ("estimate", "photo.jpg --json pictures/b.PNG", TEXT),  # of an expanded *.jpg
    ("estimate", "photo.jpg --json new.webm", TEXT),
    ("estimate", "photo.jpg --csv new.onnx", TEXT),
    ("estimate", "photo.jpg --json hard.json", READ),
    ("estimate", "photo.jpg --csv soft.csv", READ),
    ("estimate", "soft.csv --out photo.jpg", READ),
    ("estimate", "pictures/../photo.jpg --out photo.jpg", READ),
    ("estimate", "photo.jpg --out .", READ),
    ("estimate", "pictures --out pictures", READ),
    ("estimate", "pictures --out linked", READ),
    ("estimate", "pictures --json of_the_folder.json", READ),
    ("estimate", "pictures --out mixed", READ),  # a link to one of them has its name in there
    ("estimate", "pictures --json pictures/a.jpg", TEXT),
    ("estimate", "clip.mp4 --json clip.mp4", TEXT),
    ("estimate", "clip.mp4 --out clip.mp4", READ),
    ("estimate", "clip.mp4 --out .", READ),
    ("estimate", "photo.jpg --model net.onnx --json net.onnx", TEXT),
    ("estimate", "photo.jpg --model ./net.onnx --json hard_net.json", READ),
    ("estimate", "photo.jpg --detector-model net.onnx --csv hard_net.json", READ),
    ("estimate", "photo.jpg --landmarks ./net.onnx --json hard_net.json", READ),
    ("estimate", "photo.jpg --json x --csv x", ONE),
    ("estimate", "photo.jpg --json x.json --csv pictures/../X.JSON", ONE),
    ("estimate", "photo.jpg --json old.json --csv linked_old.csv", ONE),
    ("estimate", "pictures --csv drawn --out drawn", ONE),
    ("estimate", "clip.mp4 --events clip.mp4", TEXT),
    ("estimate", "clip.mp4 --events hard_clip.json", READ),
    ("estimate", "clip.mp4 --events x.json --json X.json", ONE),
    ("estimate", "clip.mp4 --camera angles.csv --events angles.csv", READ),
    ("estimate", "clip.mp4 --neutral old.json --json linked_old.csv", READ),
    ("best", "clip.mp4 --out clip.mp4", READ),
    ("best", "best/person-01-1.mp4 --out best", READ),
    ("label", "old.json --out label_run", READ),
    ("label", "pictures --model ./net.onnx --out model_run", READ),
    ("select", "label_run --out label_run/manifest.csv", READ),
    ("select", "label_run --out photo.jpg", WRONG_NAME),
    ("quantize", "./net.onnx --precision fp16 --out net.onnx", READ),
    ("quantize", "./net.onnx --precision fp16 --out hard_net.onnx", READ),
    ("quantize", "./net.onnx --precision fp16 --out photo.jpg", WRONG_NAME),
    ("quantize", "./net.onnx --precision fp16 --out new.onnx --json photo.jpg", TEXT),
    ("quantize", "./net.onnx --precision fp16 --out new.onnx --json hard_net.json", READ),
    ("quantize", "./net.onnx --precision fp16 --out x.onnx --json X.ONNX", TEXT),
    ("weights", "to-safetensors net.onnx net.onnx", WRONG_NAME),
    ("weights", "to-safetensors net.onnx hard_net.onnx", WRONG_NAME),
    ("weights", "to-safetensors net.onnx hard_net.safetensors", READ),
    ("weights", "to-safetensors net.onnx --out hard_net.safetensors", READ),
    ("weights", "to-onnx hard_net.safetensors --out hard_net.onnx", READ),
    ("weights", "to-onnx hard_net.safetensors --out photo.jpg", WRONG_NAME),
    ("synth", "--n 1 --assets pictures --sheet pictures/a.jpg", READ),
    ("synth", "--n 1 --assets pictures --sheet a_link.jpg", READ),
    ("synth", "--n 1 --assets pictures --out pictures", READ),
    ("synth", "--n 1 --out faces_with_list", "is of another data set"),
    ("synth", "turn --source list.csv --out .", "holds photographs of the source"),
    ("synth", "turn --source faces_with_list/manifest.csv --out faces_with_list", READ),
    ("synth", "turn --source list.csv --landmarks turned/turned.json --out turned", READ),
    ("report", "results --docs results/networks.json", READ),
    ("report", "results --docs results/accuracy/ours.json", READ),
    ("report", "results --readme results/predictions/ours.csv", READ),
    ("report", "old.json --docs page.md --readme page.md", "old.json"),
    ("report", "results --docs page.md --readme page.md", ONE),
    ("report", "results --docs results.json", ONE),
    ("report", "results --docs photo.jpg", TEXT),
    ("report", "results/figures/results.json --out results/figures", READ),
    ("train", "compact --init run/best.safetensors --out run", READ),
    ("train", "compact --init run/last.pt --out linked_run", READ),
    ("compress", "student --set baseline.weights=run/teacher.onnx --out run", READ),
    ("compress", "student --set baseline.teacher=run/student-int8.onnx --out run", READ),
    ("compress", "student --set baseline.recipe=run/recipe.json --out run", READ),
    ("compress", "student-product --set baseline.weights=run/student-product.safetensors --out run", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --record clip.mp4", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --record hard.mp4", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --json clip.mp4", TEXT),
    ("apps/webcam.py", "clip.mp4 --no-window --json hard_clip.json", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --neutral hard_clip.json", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --neutral clip.mp4", TEXT),
    ("apps/webcam.py", "clip.mp4 --no-window --model ./net.onnx --json hard_net.json", READ),
    ("apps/webcam.py", "clip.mp4 --no-window --record new.mp4 --json NEW.mp4", TEXT),
    ("eval/aflw2000.py", "--data faces --model ./net.onnx --predictions faces/image00000.png", TEXT),
    ("eval/aflw2000.py", "--data faces --model ./net.onnx --json faces/image00000.mat", TEXT),
    ("eval/aflw2000.py", "--data faces --model ./net.onnx --json of_the_faces.json", READ),
    ("eval/aflw2000.py", "--data faces --model ./net.onnx --json hard_net.json", READ),
    ("eval/aflw2000.py", "--data list.csv --model ./net.onnx --predictions list.csv", READ),
    ("eval/aflw2000.py", "--data faces --score angles.csv --predictions angles.csv", READ),
    ("eval/aflw2000.py", "--data faces --score angles.csv --versus other.csv --json other.csv", READ),
    ("eval/aflw2000.py", "--data faces --adapter net.toml --peers pictures --json net.toml", READ),
    ("eval/aflw2000.py", "--data faces --score angles.csv --json r --predictions r", ONE),
    ("eval/heldout.py", "run --json run/recipe.json", READ),
    ("eval/heldout.py", "./net.onnx --set aflw=list.csv --json list.csv", READ),
    ("eval/heldout.py", "./net.onnx --sets sets.toml --json sets.toml", READ),
    ("eval/heldout.py", "./net.onnx --set aflw=list.csv --json hard_net.json", READ),
    ("eval/landmarks.py", "run --json run/recipe.json", READ),
    ("eval/latency.py", "--model ./net.onnx --image photo.jpg --json hard.json", READ),
    ("eval/latency.py", "--model ./net.onnx --json hard_net.json", READ),
    ("eval/latency.py", "--model ./net.onnx --json net.onnx", TEXT),
    ("eval/latency.py", "--models net.toml --peers pictures --json net.toml", READ),
    ("eval/detectors.py", "recall --data sets --set aflw --json sets/aflw/labels.csv", READ),
    ("eval/detectors.py", "speed --image photo.jpg --json hard.json", READ),
    ("eval/detectors.py", "speed --image photo.jpg --json photo.jpg", TEXT),
    ("eval/robustness.py", "--manifest set/defocus-3/labels.csv --export set --conditions defocus-3", READ),
    ("eval/robustness.py", "--manifest elsewhere.csv --export set --conditions defocus-3", READ),
    ("eval/robustness.py", "--manifest results.md --models ./net.onnx --out . --conditions defocus-3", READ),
    ("eval/stability.py", "./net.onnx --clips clip.mp4 --json hard_clip.json", READ),
    ("eval/stability.py", "./net.onnx --clips clip.mp4 --json clip.mp4", TEXT),
    ("eval/stability.py", "./net.onnx --sequences heads --json heads/head-00/head.json", READ),
    ("eval/stability.py", "./net.onnx --clips clip.mp4 --json hard_net.json", READ),
    ("eval/all.py", "--data faces --models ./net.onnx --compress results/compress/report.json --out results", READ),
    ("scripts/draw_corruptions.py", "photo.jpg photo.jpg", READ),
    ("scripts/draw_corruptions.py", "photo.jpg pictures/../photo.jpg", READ),
    ("scripts/cifar10_from_npm.py", "package package", READ),
    ("scripts/convert_blazeface.py", "blazeface-short.onnx --out .", READ),
]

# Programs that write no file, that write under names of their own making only, or that read no file of the user's.
OTHERS = {
    "models": "prints",
    "serve": "writes no file",
    "eval/serving.py": "prints",
    "scripts/measure_camera.py": "prints",
    "doctor": "prints",
    "fetch": "reads no file",
    "apps/gradio_ui.py": "writes into a folder that it makes",
    "scripts/measure_bulk.py": "prints",
    "scripts/measure_frame.py": "prints",
    "scripts/measure_pictures.py": "prints",
    "scripts/measure_smoothing.py": "prints",
    "scripts/measure_turning.py": "prints",
    "scripts/runtime_requirements.py": "prints",
    "scripts/digits_as_cifar10.py": "reads no file",
    "scripts/draw_conventions.py": "reads no file",
    "scripts/study_mix.py": "writes into folders that it makes, of runs that headpose train guards",
    "scripts/study_heads.py": "writes into folders that it makes, of a run that headpose train guards",
    "scripts/document_recipes.py": "reads no file",
    "scripts/site_hooks.py": "is called by mkdocs",
    "scripts/pack_training_set.py": "writes into a folder that it makes",
    "scripts/publish_weights.py": "writes into this checkout",
    "scripts/release.py": "writes into a folder that it makes",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, repo):
    """A folder with all that the cases name; they leave it as it is, so one serves them all."""
    tmp_path = tmp_path_factory.mktemp("outputs")
    photo = read_image(repo / "examples" / "astronaut.jpg")
    write_image(tmp_path / "photo.jpg", photo)
    for folder in (
        "pictures",
        "mixed",
        "run",
        "package",
        "set/defocus-3",
        "sets/aflw",
        "turned",
        "heads/head-00",
        "best",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a.jpg", "b.PNG"):
        write_image(tmp_path / "pictures" / name, photo)
    clip, network = write_video(tmp_path / "clip.mp4", 4), color_network(tmp_path / "net.onnx")
    shutil.copy(clip, tmp_path / "best/person-01-1.mp4")
    write_results(tmp_path)  # faces/ and results/
    (tmp_path / "results/figures").mkdir()
    shutil.copy(tmp_path / "results/networks.json", tmp_path / "old.json")
    _write_report_of(tmp_path / "results", tmp_path / "results/figures/results.json")
    write_colored_faces(tmp_path / "faces_with_list", [(0.0, 0.0, 0.0)])
    for folder in ("label_run", "model_run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "label_run/summary.json").hardlink_to(tmp_path / "old.json")
    (tmp_path / "model_run/plan.parquet").hardlink_to(network)
    (tmp_path / "label_run/manifest.csv").write_text("precious")
    for name in (
        "compact.onnx",
        "recipe.json",
        "teacher.onnx",
        "student-int8.onnx",
        "best.safetensors",
        "student-product.safetensors",
    ):
        (tmp_path / "run" / name).write_bytes(b"precious")
    (tmp_path / "run/last.pt").write_bytes(b"precious")
    row = "image,x1,y1,x2,y2,yaw,pitch,roll\nphoto.jpg,178,83,273,176,0,0,0\n"
    for name in ("list.csv", "results.md", "faces_with_list/manifest.csv", "sets/aflw/labels.csv"):
        (tmp_path / name).write_text(row)
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "set/defocus-3/photo.png")
    (tmp_path / "set/defocus-3/labels.csv").write_text(row.replace("photo.jpg", "photo.png"))
    (tmp_path / "sets.toml").write_text('[sets]\naflw = "list.csv"\n')
    (tmp_path / "elsewhere.csv").write_text(row.replace("photo.jpg", "set/defocus-3/photo.png"))
    for name in (
        "angles.csv",
        "other.csv",
        "net.toml",
        "page.md",
        "blazeface-short.onnx",
        "package/test_batch.bin",
        "turned/turned.json",
    ):
        (tmp_path / name).write_text("precious")
    (tmp_path / "heads/head-00/head.json").write_text("precious")
    for link, target in (
        ("hard.json", "photo.jpg"),
        ("hard.mp4", clip),
        ("hard_clip.json", clip),
        ("hard_net.json", network),
        ("hard_net.onnx", network),
        ("hard_net.safetensors", network),
        ("of_the_folder.json", "pictures/b.PNG"),
        ("of_the_faces.json", "faces/image00000.mat"),
    ):
        (tmp_path / link).hardlink_to(tmp_path / target)
    for link, target in (
        ("soft.csv", "photo.jpg"),
        ("linked", "pictures"),
        ("linked_run", "run"),
        ("linked_old.csv", "old.json"),
        ("a_link.jpg", "pictures/a.jpg"),
        ("mixed/a.jpg", "../pictures/a.jpg"),
    ):
        (tmp_path / link).symlink_to(target)
    return tmp_path


@pytest.fixture
def here(prepared, monkeypatch):
    """The same, as the working folder."""
    monkeypatch.chdir(prepared)
    return prepared


def _write_report_of(results, file):
    from headpose.report import folder
    from headpose.report.records import to_json

    file.write_text(to_json(folder.read(results)))


def contents(folder):
    return {
        path: (path.readlink() if path.is_symlink() else None, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize(("program", "arguments", "message"), CASES)
def test_an_output_that_is_an_input_is_refused(here, load_program, monkeypatch, capfd, program, arguments, message):
    words = arguments.split()
    before = contents(here)
    if program.endswith(".py"):
        monkeypatch.setattr(sys, "argv", [program, *words])
        status = load_program(program).main()
    else:
        status = cli.main([program, *words])
    out, err = capfd.readouterr()
    assert status == 1
    assert out == ""
    assert re.fullmatch(r"[a-z_0-9]+: error: [^\n]+\n", err), err
    assert re.search(message, err), err
    assert contents(here) == before


def test_every_program_is_looked_at(repo):
    programs = {
        path.relative_to(repo).as_posix()
        for folder in ("apps", "eval", "scripts")
        for path in (repo / folder).glob("*.py")
    }
    assert programs | set(cli.COMMANDS) == {program for program, _, _ in CASES} | set(OTHERS)


def test_the_files_of_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.jpg", "b.txt", ".c.jpg"):
        (tmp_path / "folder" / name).touch()
    assert source_files("folder") == [Path("folder/a.jpg")]  # what is not read may be written
    assert source_files("clip.mp4") == [Path("clip.mp4")]
    pipeline = 'filesrc location=a.mp4 ! decodebin ! appsink filesrc location = "b c.mp4"'
    assert source_files(pipeline) == [Path("a.mp4"), Path("b c.mp4")]
    (tmp_path / "v ! x.mp4").touch()
    assert source_files("v ! x.mp4") == [Path("v ! x.mp4")]


def test_what_is_no_input_may_be_replaced(tmp_path, photo, monkeypatch):
    """A second run writes over the results of the first, in the folder of the pictures too."""
    monkeypatch.chdir(tmp_path)
    color_network(tmp_path / "net.onnx")
    (tmp_path / "pictures").mkdir()
    write_image(tmp_path / "pictures/a.jpg", photo)
    for _ in range(2):
        arguments = [
            "--model",
            "./net.onnx",
            "--json",
            "pictures/poses.json",
            "--csv",
            "x.csv",
            "--out",
            "drawn",
        ]
        assert cli.main(["estimate", "pictures", *arguments]) == 0
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["a.jpg"]
