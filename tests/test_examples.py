"""The examples in docstrings and in the README: each runs, and each passes the type checker as strictly as the code."""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

import headpose

MODULES = ["dataframe", "draw", "estimator", "types", "weights"]


NUMBER = r"[+-]?\d+(?:\.\d+)?"


class Nearly(doctest.OutputChecker):
    """Takes angles that another processor rounds differently."""

    def check_output(self, want, got, optionflags):
        if re.sub(NUMBER, "#", want) != re.sub(NUMBER, "#", got):
            return False
        wanted, printed = ([float(value) for value in re.findall(NUMBER, text)] for text in (want, got))
        return printed == pytest.approx(wanted, abs=0.5)


def examples(module):
    """The doctests of a module, which know every public name."""
    loaded = importlib.import_module(f"headpose.{module}")
    public = {name: getattr(headpose, name) for name in headpose.__all__}
    found = doctest.DocTestFinder().find(loaded, extraglobs=public)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module, repo, tmp_path, monkeypatch):
    shutil.copy(repo / "examples" / "astronaut.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(Nearly())
    tests = examples(module)
    assert tests
    complaints: list[str] = []
    for test in tests:
        runner.run(test, out=complaints.append)
    assert not complaints, "".join(complaints)


@pytest.mark.slow
def test_the_examples_pass_the_type_checker(repo, tmp_path):
    readme = re.findall(r"^```python\n(.*?)^```", (repo / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    parts = ["from PIL import Image\n", "import headpose\nfrom headpose import *\nfrom headpose import geometry\n"]
    parts += [f"def readme_{index}() -> None:\n{textwrap.indent(block, '    ')}" for index, block in enumerate(readme)]
    for test in (test for module in MODULES for test in examples(module)):
        body = "".join(example.source for example in test.examples)
        parts.append(f"def {test.name.replace('.', '_')}() -> None:\n{textwrap.indent(body, '    ')}")
    parts.append("def pil(e: headpose.HeadPoseEstimator) -> None:\n    e(Image.new('RGB', (9, 9)))\n")
    file = tmp_path / "examples.py"
    file.write_text("\n".join(parts), "utf-8")
    options = ["--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)], cwd=repo, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
