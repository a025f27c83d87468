"""eval/serving.py: the load of a real server."""

from __future__ import annotations

import re
import sys

import pytest

from tests.network_files import color_network


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_load_of_a_server_with_few_places(load_program, tmp_path, capsys):
    network = color_network(tmp_path / "color.onnx")
    words = ["--requests", "40", "--connections", "8", "--at-once", "2", "--workers", "1", "--model", str(network)]
    assert load_program("eval/serving.py").main(words) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["40", "8", "2"] and float(cells[3]) > 0 and cells[8] == "0"
    assert int(cells[7]) > 0, "eight clients and two places: some were refused"
    assert float(cells[5]) <= float(cells[6]) and re.fullmatch(r"\d+ -> \d+|-|nan -> nan", cells[9])


def test_what_cannot_be_is_one_line(load_program, tmp_path, capsys):
    program = load_program("eval/serving.py")
    assert program.main(["--image", str(tmp_path / "none.jpg")]) == 1
    assert program.main(["--model", "none"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2 and "does not exist" in err[0] and "did not start" in err[1]
