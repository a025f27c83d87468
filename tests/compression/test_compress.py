"""The whole chain by its command, on drawn heads and on digits."""

import base64
import json
import re
import subprocess
import sys

import cv2
import pytest
import tomlkit
from safetensors.torch import save_file

from headpose import cli
from headpose.compression import recipe as recipes
from headpose.inference import OnnxPoseModel
from headpose.networks.build import build
from headpose.networks.export import ModelCard, export_onnx
from headpose.recipes import provenance
from headpose.recipes import training as recipe
from headpose.training.loop import contiguous_state
from tests.cli.errors import assert_error
from tests.training.digits import digits_recipe, write_digits
from tests.training.networks import recipe_values, write_drawn_heads

NETWORK = {
    "block": "bottleneck",
    "depths": [1, 1, 1],
    "inner": [8, 12, 16],
    "out": [32, 48, 64],
    "stem": {"width": 8, "kernel": 3, "stride": 2, "max_pool": False},
    "head": [16],
}
FINE = {"rate": 0.002, "warmup": 64}


def compression(training, weights):
    """Plain values of a compression that takes seconds."""
    return {
        "name": "tiny",
        "baseline": {"recipe": str(training), "weights": str(weights)},
        "prune": {
            "rule": {"kind": "share", "value": 0.25},
            "minimum": 2,
            "multiple": 2,
            "steps": 2,
            "images": 64,
            "last_images": 128,
            "recalibration_images": 32,
            "scan": [0.5],
            "scan_images": 16,
            "control": True,
            "optimiser": FINE,
            "last_optimiser": FINE,
            "stop": {"tolerance": 1000.0},
        },
        "run": {"batch": 16, "ema": 0.9, "bf16": "off", "threads": 1},
        "quantize": {"students": ["student"], "calibration_images": 16},
        "students": {
            "student": {
                "ratio": 4,
                "layers": 2,
                "stages": [
                    {"images": 64, "features": 1.0, "output": 1.0, "rotation": 1.0, "optimiser": FINE},
                    {"images": 64, "labels": 1.0, "optimiser": FINE},
                ],
            },
            "student-scratch": {"ratio": 4, "stages": [{"images": 128, "labels": 1.0, "optimiser": FINE}]},
        },
    }


def write_baseline(folder, training_values):
    """A training recipe and random weights for it: the chain does not ask how good they are."""
    (folder / "training.toml").write_text(tomlkit.dumps(training_values))
    settings = recipe.from_dict(training_values)
    save_file(contiguous_state(build(settings.spec)), folder / "best.safetensors")
    return compression(folder / "training.toml", folder / "best.safetensors")


@pytest.fixture
def run(capsys):
    def run(*arguments):
        capsys.readouterr()
        status = cli.main(["compress", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, "".join(line + "\n" for line in err.splitlines() if line.startswith("headpose:"))

    return run


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    values = write_baseline(folder, {**recipe_values(write_drawn_heads(folder, 60)), "network": NETWORK})
    (folder / "tiny.toml").write_text(tomlkit.dumps(values))
    return folder


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    assert cli.main(["compress", str(heads / "tiny.toml"), "--out", str(out)]) == 0
    return out


def test_the_chain_leaves_networks_and_a_report(finished):
    report = json.loads((finished / "report.json").read_text())
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == [
        *("baseline", "teacher", "teacher-random", "student", "student-scratch"),
        *("student-fp16", "student-int8", "student, stock quantizer"),
    ]
    sizes = {name: variant["bytes"] for name, variant in variants.items()}
    assert sizes["teacher"] < sizes["baseline"]
    assert sizes["student"] == pytest.approx(sizes["student-scratch"], abs=200)  # names in the metadata
    assert sizes["student-fp16"] < sizes["student"] < sizes["teacher"]
    assert variants["teacher"]["parameters"] == variants["teacher-random"]["parameters"]
    stock = variants.pop("student, stock quantizer")
    assert stock["figures"]["geodesic"] > variants["student-int8"]["figures"]["geodesic"] - 0.5
    assert all(set(variant["latency_ms"]) == {"1", "2"} for variant in variants.values())
    assert abs(variants["student"]["figures"]["geodesic"] - variants["student-fp16"]["figures"]["geodesic"]) < 0.05
    assert [row["images"] for row in report["students"]["student"]] == [64, 64]
    assert len(report["steps"]) == 3
    assert report["scan"]


def test_the_files_say_what_they_are(finished):
    parents = {"baseline": "", "teacher": "baseline", "student": "teacher", "student-scratch": ""}
    for name, parent in {**parents, "student-fp16": "student", "student-int8": "student"}.items():
        model = OnnxPoseModel(finished / f"{name}.onnx", device="cpu", threads=1)
        assert model.name == name
        assert model.metadata["parent"] == parent
        assert model.metadata["precision"] == (name.rpartition("-")[2] if name not in parents else "fp32")
        assert model.crop.size == 32


def test_the_report_can_be_read_and_looked_at(finished):
    text = (finished / "report.md").read_text()
    for heading in ("## Networks", "## Pruning", "## Sensitivity", "## Students", "## Size, time and error"):
        assert heading in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert any(line.startswith("| student-int8 | int8 |") for line in tables)
    assert any(line.startswith("| layer1.0.conv1 | 8 | 2 |") for line in tables)
    html = (finished / "report.html").read_text()
    for heading in re.findall("^## (.+)$", text, re.MULTILINE):
        assert f">{heading}</h2>" in html
    assert "<td >student-int8</td>" in html
    for name in ("layers.png", "pareto.png"):
        assert f"]({name})" in text
        data = base64.b64encode((finished / name).read_bytes()).decode()
        assert f'src="data:image/png;base64,{data}"' in html
        picture = cv2.imread(str(finished / name))
        assert picture.shape[0] > 200
        assert picture.std() > 10


def test_the_cards_tell_where_the_networks_come_from(finished):
    from scripts.publish_weights import origins

    cards = {origin.file.stem: "\n".join(origin.history) for origin in origins(finished, ["teacher", "student-int8"])}
    teacher, int8 = cards["teacher"], cards["student-int8"]
    assert "2 steps of pruning by apoz (share)" in teacher
    assert "Stage 1: 64 images; loss: features 1, output 1, rotation 1 (features: maps of the last " in int8
    assert "Distance from student on held-out faces" in int8
    assert "the card of [baseline](baseline.md), from which this network derives" in teacher
    assert "the card of [baseline](baseline.md), from which this network derives" in int8


def test_a_second_run_makes_nothing_again(finished, heads, run, monkeypatch):
    from headpose.training.loop import Trainer

    monkeypatch.setattr(Trainer, "run", lambda self: pytest.fail("trained again"))
    assert run(heads / "tiny.toml", "--out", finished, "--only", "prune", "--only", "distill")[0] == 0


def test_parts_that_were_made_otherwise_are_refused(finished, heads, run):
    tiny = heads / "tiny.toml"
    assert_error(run(tiny, "--out", finished, "--set", "prune.steps=3"), r"prune was made with another prune.steps")
    change = "students.student.layers=3"
    assert_error(run(tiny, "--out", finished, "--set", change), r"student was made with another student.layers")
    # What changes no result may change.
    assert run(tiny, "--out", finished, "--set", "run.threads=2", "--only", "prune")[0] == 0


def test_stages_alone(heads, run, tmp_path):
    tiny = heads / "tiny.toml"
    out = tmp_path / "run"
    assert_error(run(tiny, "--out", out, "--only", "distill"), "run the stage prune first")
    assert_error(run(tiny, "--out", out, "--only", "control"), "run the stage prune first")
    assert run(tiny, "--out", out, "--only", "prune")[0] == 0
    assert not (out / "control").exists()
    assert run(tiny, "--out", out, "--only", "distill", "--student", "student-scratch")[0] == 0
    assert_error(run(tiny, "--out", out, "--only", "distill", "--student", "x"), "no student 'x'")
    status, text, _ = run(tiny, "--out", out, "--only", "export")
    assert status == 0
    assert "done: export" in text
    assert {path.stem for path in out.glob("*.onnx")} == {"baseline", "teacher", "student-scratch"}


def test_a_target_size_ends_the_pruning(heads, run, tmp_path):
    target = ("--target-mb", "1000", "--only", "prune")
    assert run(heads / "tiny.toml", "--out", tmp_path / "run", *target)[0] == 0
    assert not (tmp_path / "run" / "prune" / "step-01").exists()  # the baseline is small enough


def test_a_target_latency_is_measured(heads, run, tmp_path):
    target = ("--target-latency-ms", "1000", "--only", "prune")
    assert run(heads / "tiny.toml", "--out", tmp_path / "run", *target)[0] == 0
    first = json.loads((tmp_path / "run" / "prune" / "step-00" / "step.json").read_text())
    assert 0 < first["latency_ms"] < 1000
    assert first["reached"] == "latency"


def test_a_classifier_goes_through_it(run, tmp_path):
    values = write_baseline(tmp_path, digits_recipe(write_digits(tmp_path, 200)))
    values["quantize"] = {}
    for student in values["students"].values():
        for stage in student["stages"]:
            stage.pop("rotation", None)
    (tmp_path / "tiny.toml").write_text(tomlkit.dumps(values))
    assert run(tmp_path / "tiny.toml", "--out", tmp_path / "run")[0] == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [v["name"] for v in report["variants"]][-1] == "student-scratch"
    assert all(0 <= variant["test_error"] <= 100 for variant in report["variants"])
    assert "| test |" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prune.protected=['layer9']", "no group layer9"),
        ("students.student.stages.0.labels=-1.0", "students.student.stages.0.labels must be a number from 0 to"),
        ("students.student.stages=[]", "students.student.stages must be a list of at least 1 value"),
        ("prune={guide={features=1.0},groups='stream'}", "prune.guide.features compares streams"),
        ("nonsense=1", "nonsense"),
        ("baseline.weights=missing.safetensors", "missing.safetensors does not exist"),
        ("baseline.weights=compact", "different crops"),
        ("baseline.recipe=missing.json", "no recipe .missing.json"),
        ("students.student.inner=[4,4,4]", "features cannot be compared"),
    ],
)
def test_mistakes_are_reported_in_a_line(heads, run, tmp_path, change, message):
    few = ("--set", "prune.steps=0", "--set", "prune.scan=[]", "--set", "prune.control=false")
    assert_error(run(heads / "tiny.toml", "--out", tmp_path / "run", *few, "--set", change), message)


def test_a_teacher_that_is_at_hand_is_taken_and_nothing_is_pruned(heads, finished, run, tmp_path):
    out, teacher = tmp_path / "run", f"baseline.teacher={finished / 'teacher.onnx'}"
    few = ("--only", "prune", "--only", "control", "--only", "distill", "--only", "report", "--student", "student")
    status, *_ = run(heads / "tiny.toml", "--out", out, "--set", teacher, "--set", "quantize.students=[]", *few)
    assert status == 0
    assert not (out / "prune").exists() and not (out / "control").exists()
    alike, made = (json.loads((folder / "report.json").read_text()) for folder in (out, finished))
    names = [variant["name"] for variant in alike["variants"]]
    assert names == ["baseline", "teacher", "student"]
    assert alike["students"]["student"] == made["students"]["student"]
    assert alike["steps"] == []
    assert_error(run(heads / "tiny.toml", "--out", tmp_path / "other", "--set", "baseline.teacher=no.onnx"), "no.onnx")


def test_two_processes_train_together_and_one_reports(heads, finished, tmp_path):
    out = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    changes = [f"--set={change}" for change in ("prune.control=false", "prune.scan=[]", "quantize.students=[]")]
    command = [*launcher, "-m", "headpose", "compress", heads / "tiny.toml", "--out", out, *changes]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.count("report:") == 1
    together, alone = (json.loads((folder / "report.json").read_text()) for folder in (out, finished))
    assert [step["parameters"] for step in together["steps"]] == [step["parameters"] for step in alone["steps"]]
    assert [row["images"] for row in together["students"]["student"]] == [64, 64]


def test_weights_that_do_not_fit_are_reported(heads, run, tmp_path):
    other = build(recipe.from_dict({**recipe_values(heads / "labels.csv")}).spec)
    save_file(contiguous_state(other), tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    for name in ("other", "broken"):
        change = f"baseline.weights={tmp_path / name}.safetensors"
        assert_error(run(heads / "tiny.toml", "--out", tmp_path / "run", "--set", change), f"{name}.safetensors")


@pytest.mark.parametrize("name", recipes.names())
def test_the_recipes_of_the_package_can_be_read(name):
    settings = recipes.load(name)
    assert settings.name == name
    assert recipes.from_dict(json.loads(settings.to_json())) == settings


def test_parts_made_with_other_data_are_refused(run, tmp_path):
    values = write_baseline(tmp_path, {**recipe_values(write_drawn_heads(tmp_path, 30)), "network": NETWORK})
    values["prune"] |= {"steps": 0, "scan": [], "control": False, "last_images": 32}
    (tmp_path / "tiny.toml").write_text(tomlkit.dumps(values))
    command = (tmp_path / "tiny.toml", "--out", tmp_path / "run", "--only", "prune", "--only", "distill")
    command = (*command, "--student", "student-scratch")
    assert run(*command[:5])[0] == 0
    labels = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text("\n".join(labels.splitlines()[:-2]) + "\n")
    assert_error(run(*command), "the data have changed since the run began: .*--changed-data")
    assert not (tmp_path / "run" / "students").exists()
    assert run(*command, "--changed-data")[0] == 0
    assert run(*command)[0] == 0
    (tmp_path / "run" / "split.json").write_text("{")
    assert_error(run(*command), "cannot read .*split.json")


def test_two_compressions_do_not_share_a_folder(heads, run, tmp_path):
    hold = "import pathlib, sys\nfrom headpose import folders\n"
    hold += "with folders.occupied(pathlib.Path(sys.argv[1])):\n print('ready', flush=True)\n sys.stdin.read()\n"
    command = [sys.executable, "-c", hold, tmp_path / "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert_error(
            run(heads / "tiny.toml", "--out", tmp_path / "run"), f"in use by another run .process {process.pid}"
        )
        process.communicate("")


@pytest.fixture(scope="module")
def shut(heads, tmp_path_factory):
    """The recipe with a baseline that is for research only, on data for any use."""
    folder = tmp_path_factory.mktemp("shut")
    settings = recipe.load(str(heads / "training.toml"))
    card = ModelCard("theirs", "fp32", "research-only", "research use only", "photographs", "theirs")
    export_onnx(build(settings.spec), settings.crop, card, folder / "theirs.onnx")
    values = compression(heads / "training.toml", folder / "theirs.onnx")
    values["prune"] |= {"steps": 0, "scan": [], "control": False, "last_images": 32}
    student, scratch = values["students"].values()
    student["stages"], scratch["stages"] = student["stages"][:1], scratch["stages"][:1]
    student["stages"][0]["images"] = scratch["stages"][0]["images"] = 32
    # Labels alone, but it starts as its teacher.
    heir = {"ratio": 4, "start": "l1", "stages": [{"images": 32, "labels": 1.0, "optimiser": FINE}]}
    values["students"] = {"student": student, "student-scratch": scratch, "heir": heir}
    (folder / "shut.toml").write_text(tomlkit.dumps(values))
    return folder / "shut.toml"


def stated(folder, name):
    about = OnnxPoseModel(folder / f"{name}.onnx", device="cpu", threads=1).metadata
    return about["license"], about["license_terms"], about["parent"]


def test_a_chain_is_no_more_permissive_than_its_parents(shut, run, tmp_path):
    stages = [word for stage in ("prune", "distill", "quantize") for word in ("--only", stage)]
    assert run(shut, "--out", tmp_path, *stages)[0] == 0
    research = ("research-only", "research use only; any use")
    assert stated(tmp_path, "baseline") == ("research-only", "research use only", "theirs")
    assert stated(tmp_path, "teacher") == (*research, "baseline")
    assert stated(tmp_path, "student") == (*research, "teacher")
    assert stated(tmp_path, "heir") == (*research, "teacher")
    assert stated(tmp_path, "student-scratch") == ("permissive", "any use", "")
    assert stated(tmp_path, "student-int8") == (*research, "student")
    # What lies in between says so as well: a training may start from it.
    middle = provenance.of_network(tmp_path / "prune" / "rounded" / "network.safetensors")
    assert (middle.statement.license, middle.statement.license_terms) == research
    # A teacher that is at hand binds its students.
    words = ("--out", tmp_path / "next", "--only", "distill", "--only", "export", "--student", "student")
    teacher = ("--set", f"baseline.teacher={tmp_path / 'teacher.onnx'}")
    weights = ("--set", f"baseline.weights={tmp_path / 'teacher.onnx'}")
    assert run(shut, *words, *teacher, *weights)[0] == 0
    assert stated(tmp_path / "next", "student")[0] == "research-only"


def test_ones_own_data_replace_those_of_the_training_recipe(heads, run, tmp_path):
    (tmp_path / "mine").mkdir()
    mine = write_drawn_heads(tmp_path / "mine", 30, seed=1)
    few = ("--set", "prune.steps=0", "--set", "prune.scan=[]", "--set", "prune.control=false")
    few = (*few, "--set", "prune.last_images=32", "--only", "prune", "--only", "export")
    out = tmp_path / "run"
    assert run(heads / "tiny.toml", "--data", mine, "--out", out, *few)[0] == 0
    assert json.loads((out / "split.json").read_text())["training"] < 30
    assert stated(out, "teacher") == ("unknown", "unknown", "baseline")
    (noted,) = json.loads((out / "prune" / "recipe.json").read_text())["baseline"]["data"]
    assert "share" not in noted  # a folder from before there were shares is still the same compression
    # Without them it would be another compression.
    assert_error(run(heads / "tiny.toml", "--out", out, *few), "data have changed since the run began")
    assert_error(run(heads / "tiny.toml", "--data", "no.csv", "--out", out), "--data no.csv: there is no such file")


def test_a_dry_run_tells_each_stage_and_writes_nothing(heads, run, tmp_path):
    status, out, _ = run(heads / "tiny.toml", "--dry-run", "--out", tmp_path / "run")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for stage, images in [
        ("prune, up to 2 steps", 128),
        ("prune, last fine-tuning", 128),
        ("control, up to 2 steps", 128),
        ("student, stage 1 of 2", 64),
        ("student-scratch, stage 1 of 1", 128),
    ]:
        number = r"[\d,]+"
        said = rf"{stage} {images} images at 32 px {number} images/s \d+\.\d\d h"
        assert any(re.fullmatch(said, line) for line in lines), (stage, out)
    assert re.fullmatch(r"\d+\.\d\d hours in all, excluding importance, validation and report", lines[-2])
    assert "measured on the unpruned network" in lines[-1]
    assert list(tmp_path.iterdir()) == []
    status, out, _ = run(heads / "tiny.toml", "--dry-run", "--only", "distill", "--student", "student")
    assert "prune" not in out.replace("unpruned", "") and "scratch" not in out
    assert_error(run(heads / "tiny.toml", "--dry-run", "--student", "x"), "no student 'x'")
