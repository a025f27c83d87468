import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from headpose.cli import main
from headpose.errors import InputError
from headpose.evaluation import published
from headpose.report import folder, page, tables
from headpose.report.document import Picture, Row, Section, Table, Text, markdown, markdown_table
from headpose.report.standing import standings
from tests.report.results_folder import change


class Tags(HTMLParser):
    """Counts elements, checks that they close, and keeps what they point at."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.targets, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.targets += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_a_report_is_written_whole(results, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["report", str(results[0]), "--out", str(out), "--data", str(results[1])]) == 0
    assert str(out / "report.html") in capsys.readouterr().out
    text, html = (out / "report.md").read_text(), (out / "report.html").read_text()
    for title in (
        "Size, time, error, robustness",
        "Accuracy",
        "Robustness",
        "Stability",
        "Time and memory",
        "Compression",
    ):
        assert f"## {title}\n" in text and f">{title}</h2>" in html
    linked = re.findall(r"!\[[^\]]*\]\(figures/([^)]+)\)", text)
    assert linked == [
        "front-size.svg",
        "front-time.svg",
        "front-work.svg",
        "front-robustness.svg",
        "error-over-yaw.svg",
        "worst-ours.jpg",
        "worst-Theirs-a-b.jpg",
    ]
    for name in linked:
        content = (out / "figures" / name).read_bytes()
        assert (
            (b"<svg" in content) if name.endswith(".svg") else cv2.imdecode(np.frombuffer(content, np.uint8), 1).any()
        )
    size = (out / "figures" / "front-size.svg").read_text()
    assert "Theirs (a + b)" in size and "paper's student" in size and "published" in size
    tags = parse(html)
    assert tags.seen.count("img") == len(linked) and "script" not in tags.seen and "link" not in tags.seen
    assert all(target.startswith(("data:", "#")) for target in tags.targets), "one file, nothing fetched"
    assert folder.read(out / "results.json").networks[0].curve
    assert (out / ".gitignore").read_text().splitlines()[1:] == ["/report.html", "/figures/worst-*.jpg"]


def test_without_the_data_there_are_no_photographs_and_no_curves(results, tmp_path):
    out = tmp_path / "out"
    assert main(["report", str(results[0]), "--out", str(out)]) == 0
    assert not list((out / "figures").glob("*.jpg")) and not (out / ".gitignore").exists()
    assert not (out / "figures" / "error-over-yaw.svg").exists()
    assert "Worst cases" not in (out / "report.html").read_text()


def test_the_same_figures_give_the_same_report(results, tmp_path):
    written = []
    for name in ("a", "b"):
        assert main(["report", str(results[0]), "--out", str(tmp_path / name)]) == 0
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()})
    assert written[0] == written[1]


def test_numbers_in_tables_are_those_of_the_files(results):
    found, theirs = folder.read(results[0]), published.load()
    text = markdown(
        "Results", [tables.robustness(found.robustness, found.networks, theirs), tables.latency(found.latency)]
    )
    assert "| ours | 2.00; 2.00 | 6.00; 6.00 (x 3.00) | 3.00; 3.00 (x 1.50) | 3.60; 3.60 (x 1.80) |" in text
    assert "| paper's student (published) | 5.25 | 9.76 (x 1.86) | 6.91 (x 1.32) | 7.50 (x 1.43) |" in text
    # 160 M multiply-accumulates in 2 ms are 160 GFLOPS, half of 320; the int8 network's 80 M in 4 ms, of 400.
    assert "| ours | 2.00 | 4.00 | 2.20 | 18.00 | 1.00 | 160 | 50% |" in text
    assert "| Theirs (a + b) | 4.00 | 8.00 | 4.40 | 36.00 | 2.00 | 20 | 5% |" in text
    assert "Warning: the machine was busy." in text
    assert "| ours | 1.00 | 23 | 50 |" in text and "| Theirs (a + b) | 1.00 | - | - |" in text
    assert "| student | fp32 | 1,234 | 100 | 0.00 | 0.250 | 2.50 |" in markdown(
        "", [tables.compressed(found.compressed)]
    )


def test_a_network_off_the_processor_has_no_share_of_its_peak(results):
    change(results[0] / "latency.json", "runs", 0, "peak_gflops", to={})
    text = markdown("", [tables.latency(folder.read(results[0]).latency)])
    assert "| ours | 2.00 | 4.00 | 2.20 | 18.00 | 1.00 | - | - |" in text and "Peak" not in text


def test_fronts_are_of_measured_networks_alone(results):
    """ours: 5 MB, 2 ms, MAE 0.67; theirs: 2.5 MB, 4 ms, MAE 2. Published ones are on none."""
    found = {each.name: each for each in standings(folder.read(results[0]), published.load())}
    assert found["ours"].fronts == ("size", "time") and found["Theirs (a + b)"].fronts == ("size",)
    assert not any(each.fronts for each in found.values() if each.kind == "published")
    assert found["ours"].corrupted == pytest.approx(4.2) and found["Theirs (a + b)"].corrupted is None
    assert found["ours"].time == 1.0 and found["Theirs (a + b)"].time == 2.0
    assert found["ours"].frames == pytest.approx(1000 / 18)  # of the whole way of a frame, not of the network
    change(results[0] / "accuracy" / "theirs.json", "mae", to=0.1)
    found = {each.name: each for each in standings(folder.read(results[0]), published.load())}
    assert found["Theirs (a + b)"].fronts == ("size", "time") and found["ours"].fronts == ("time",)


def test_published_rows_are_marked(results):
    overview = tables.overview(folder.read(results[0]), published.load())
    marks = {row.cells[0]: (row.cells[1], row.kind) for row in overview.rows}
    assert marks["ours"] == ("ours", "ours") and marks["Theirs (a + b)"] == ("measured", "peer")
    assert marks["paper's student"] == ("published", "published")
    assert {marks[row.name] for row in published.load().errors} == {("published", "published")}
    short = tables.overview(folder.read(results[0]), published.load(), headline=True)
    assert "6DRepNet" in {row.cells[0] for row in short.rows} and "FAN 12 points" not in {
        r.cells[0] for r in short.rows
    }


def test_what_all_protocols_share_is_told_once(results):
    change(results[0] / "accuracy" / "theirs.json", "protocol", to="Faces. Input: another crop.")
    text = markdown("", [tables.accuracy(folder.read(results[0]).networks)])
    assert "\nProtocol: Faces.\n" in text
    assert "Protocol of ours: Input: a crop.\n" in text
    assert "Protocol of Theirs (a + b): Input: another crop.\n" in text


def test_html_shows_names_as_they_are():
    nasty = '<script>alert("1")</script> & `code` |'
    sections = [Section(nasty, (Text(nasty), Text(nasty, nasty), Table((nasty, "a"), (Row((nasty, "1"), "ours"),))))]
    html = page.render(nasty, [*sections, Section("b", (Picture("a.svg", nasty, b"<svg/>"),))])
    tags = parse(html)
    assert "script" not in tags.seen and "code" in tags.seen
    assert "".join(tags.text).count('alert("1")') >= 6
    assert markdown_table(Table(("a|b",), ())) == "| a\\|b |\n|---|"
    with pytest.raises(InputError, match="as many cells as the head"):
        Table(("a", "b"), (Row(("1",)),))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["DIR"], "nothing to write"),
        (["nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["DIR", "--readme", "nowhere.md"], "cannot read nowhere.md"),
        (["DIR", "--readme", "PLAIN"], "needs one line <!-- results -->"),
        (["DIR", "--docs", "nowhere/results.md"], "does not exist"),
        (["DIR/networks.json", "--out", "OUT"], "has no list_sha256"),
        (["DIR/latency.json", "--out", "OUT", "--data", "DATA"], "is a file"),
        (["DIR", "--out", "OUT", "--data", "nowhere"], "cannot read the folder"),
        (["DIR", "--out", "DIR/latency.json"], "cannot write into"),
    ],
)
def test_user_errors_are_one_line(results, tmp_path, capsys, arguments, says):
    (tmp_path / "plain.md").write_text("no marks\n")
    places = {"DIR": str(results[0]), "OUT": str(tmp_path / "out"), "DATA": str(results[1])}
    places["PLAIN"] = str(tmp_path / "plain.md")
    words = [re.sub("DIR|OUT|DATA|PLAIN", lambda found: places[found[0]], word) for word in arguments]
    # A word such as --data is no place.
    words = [given if given.startswith("--") else word for given, word in zip(arguments, words, strict=True)]
    assert main(["report", *words]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("headpose: error: ") and says in err and err.count("\n") == 1


def test_the_readme_keeps_what_is_around_its_table(results, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    for _ in range(2):
        assert main(["report", str(results[0]), "--readme", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- results -->\n| network |") and text.endswith("\n<!-- /results -->\nafter\n")
    assert "old" not in text and text.count("| ours | ours |") == 1


def test_plots_without_matplotlib_are_one_line_and_tables_need_none(results, tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; from headpose.cli import main; "
        "print(main(['report', sys.argv[1], '--docs', sys.argv[2]])); sys.exit(main(['report', *sys.argv[1::2]]))"
    )
    command = [sys.executable, "-c", code, str(results[0]), str(tmp_path / "r.md"), f"--out={tmp_path / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0" and (tmp_path / "r.md").exists()
    assert json.loads((tmp_path / "results.json").read_text())["networks"]
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("headpose: error: the report's plots need matplotlib: pip install")


def test_pictures_are_linked_where_they_are_written(tmp_path):
    (tmp_path / "figures").mkdir()
    sections = [Section("One", (Picture("dot.png", "a dot", b"data"),))]
    for figures, link in (("", "dot.png"), ("figures", "figures/dot.png")):
        page.write(tmp_path, "Title", sections, figures)
        assert f"![a dot]({link})" in (tmp_path / page.MARKDOWN).read_text()
        assert (tmp_path / link).read_bytes() == b"data"
