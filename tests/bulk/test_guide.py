"""The commands and the Python of the guide, on rendered heads."""

from __future__ import annotations

import re
import shlex
from typing import get_args

import pytest

from headpose import cli
from headpose.bulk import rows
from headpose.datasets import manifest
from headpose.inference import load_model
from tests.test_examples import document


@pytest.mark.slow
def test_the_three_commands_and_the_python_of_the_guide_run(repo, tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    guide = repo / "docs" / "guides" / "bulk.md"
    assert cli.main(["synth", "--n", "40", "--size", "128", "--out", "pictures"]) == 0
    blocks = re.findall(r"^```sh\n(.*?)^```", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    commands = [words for program, *words in lines if program == "headpose" and "--ray" not in words]
    assert [line[0] for line in commands] == ["label", "select", "train", *["select"] * 4]
    for line in commands:
        capsys.readouterr()
        if line[0] == "train":  # two steps on small crops
            yaws = [sample.euler.yaw for sample in manifest.read("list.csv")]
            assert 15 <= len(yaws) <= 40 and max(map(abs, yaws)) < 60
            for setting in ("run.images=16", "run.batch=8", "run.workers=0", "run.validate_images=8", "crop.size=32"):
                line += ["--set", setting]
        assert cli.main(line) == 0, (line, capsys.readouterr().err)
    assert load_model(next((tmp_path / "runs" / "mine").glob("*.onnx"))).crop.size == 32
    for example in document(guide):
        example.evaluate()


def test_the_guide_has_the_columns_and_kinds_of_the_tables(repo):
    guide = (repo / "docs" / "guides" / "bulk.md").read_text("utf-8")
    table = guide.split("Columns of `labels`:")[1].split("\n\n")[1]
    documented = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert documented == rows.LABELS.names
    failures = guide.split("| `failures/part-*.parquet` |")[1].splitlines()[0]
    assert re.findall(r"`(\w+)`", failures) == rows.FAILURES.names
    kinds = re.findall(r"`(\w+)`", guide.split("Kinds of failures:")[1].split("\n\n")[0])
    assert sorted(kinds) == sorted(get_args(rows.FailureKind))
