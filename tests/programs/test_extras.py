"""What programs say where the packages of an extra are not installed."""

import json
import subprocess
import sys

import pytest

REQUIRED = {"cv2", "numpy", "onnxruntime", "platformdirs", "tqdm", "tomli"}

# Loads each program as its first lines do, in an interpreter that finds the required packages alone.
LOAD = """
import contextlib, importlib.metadata, io, json, runpy, sys, traceback

installed = {name.split(".")[0] for name in importlib.metadata.packages_distributions()} - set(json.loads(sys.argv[1]))


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in installed - {"headpose"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Finder())
results = {}
for path in sys.argv[2:]:
    stderr, status = io.StringIO(), 0
    with contextlib.redirect_stderr(stderr):
        try:
            runpy.run_path(path)
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 1
    results[path] = status, stderr.getvalue()
print(json.dumps(results))
"""
NEEDED = {
    "apps/gradio_ui.py": "apps",
    "eval/heldout.py": "train",
    "eval/landmarks.py": "train",
    "scripts/convert_blazeface.py": "test",
    "scripts/digits_as_cifar10.py": "test",
    "scripts/document_recipes.py": "train",
    "eval/serving.py": "serve",
    "scripts/measure_camera.py": "synth",
    "scripts/measure_frame.py": "synth",
    "scripts/measure_smoothing.py": "synth",
    "scripts/measure_turning.py": "synth",
    "scripts/pack_training_set.py": "train",
    "scripts/publish_weights.py": "test",
    "scripts/release.py": "test",
    "scripts/study_heads.py": "train",
    "scripts/study_mix.py": "train",
}


@pytest.fixture(scope="module")
def loaded(repo):
    """Exit status and stderr of each program."""
    paths = [path for part in ("apps", "eval", "scripts") for path in (repo / part).glob("*.py")]
    programs = sorted(str(path.relative_to(repo)) for path in paths if path.name != "site_hooks.py")  # MkDocs calls it
    command = [sys.executable, "-c", LOAD, json.dumps(sorted(REQUIRED)), *programs]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_without_its_extra_says_in_one_line_which_one_to_install(loaded):
    for path, (status, err) in loaded.items():
        if path not in NEEDED:
            assert (status, err) == (0, ""), path
            continue
        name = path.rpartition("/")[2].removesuffix(".py")
        assert status == 1 and err.count("\n") == 1, (path, err)
        assert err.startswith(f"{name}: error: {name} needs ") and f"'.[{NEEDED[path]}]' in a checkout" in err, err
    assert set(NEEDED) < set(loaded)
