"""Sections of the report: text and tables, without plots."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence

from headpose.corruptions import CLEAN
from headpose.evaluation import latency as stages
from headpose.evaluation.accuracy import Bin
from headpose.evaluation.published import PAPER_SETS, Published
from headpose.evaluation.stability import Stability
from headpose.report.document import Row, Section, Table, Text
from headpose.report.records import KINDS, Compressed, Latency, Measured, Results, Robustness, TimedRun
from headpose.report.standing import standings

PUBLISHED = "published"
_NONE = "-"


def overview(results: Results, published: Published, headline: bool = False) -> Table:
    """Return the size, error, robustness and time of all networks.

    Args:
        results: Results of the measured networks.
        published: Published results.
        headline: Whether to include only the columns and published rows of the README.
    """
    found = standings(results, published, headline)
    timed = any(each.time is not None for each in found)
    head = ["network", "", "MB", *(["M MACs"] if not headline else []), "Euler MAE", "geodesic"]
    head += [
        f"MAE on {'/'.join(PAPER_SETS)}",
        *(["time", "frames/s"] if timed else []),
        *(["on the front of"] if not headline else []),
    ]
    rows = []
    for each in found:
        cells = [
            each.name,
            each.kind if each.kind == PUBLISHED else KINDS[each.kind],
            _number(each.megabytes, 1 if each.kind == PUBLISHED else 2),
        ]
        cells += [_number(each.macs and each.macs / 1e6, 0)] if not headline else []
        cells += [_number(each.mae), _number(each.geodesic), _number(each.corrupted)]
        cells += [_number(each.time), _number(each.frames, 0)] if timed else []
        cells += [", ".join(each.fronts) or _NONE] if not headline else []
        rows.append(Row(tuple(cells), each.kind))
    return Table(tuple(head), tuple(rows))


def accuracy(networks: Sequence[Measured]) -> Section:
    """Return the section of errors with intervals, errors by |yaw|, and protocols.

    The common part of the protocols is stated once.
    """
    errors = Table(
        ("network", "", "geodesic", "Euler MAE", "yaw", "pitch", "roll"),
        tuple(
            Row(
                (
                    n.name,
                    KINDS[n.kind],
                    _interval(n, "geodesic"),
                    _interval(n, "mae"),
                    *map(_number, (n.yaw, n.pitch, n.roll)),
                ),
                n.kind,
            )
            for n in networks
        ),
    )
    names = list(networks[0].bins)
    bins = Table(
        ("geodesic / MAE by |yaw|", *(f"{name} ({networks[0].bins[name].n})" for name in names)),
        tuple(Row((n.name, *(_bin(n.bins[name]) for name in names)), n.kind) for n in networks),
    )
    common, own = _protocols(networks)
    protocol = [Text(common, "Protocol")] + [Text(words, f"Protocol of {name}") for name, words in own.items()]
    intro = f"Degrees on {networks[0].n} faces, 95 % intervals in brackets; in the second table the number of faces."
    return Section("Accuracy", (Text(intro), errors, bins, *protocol))


def robustness(measured: Robustness, networks: Sequence[Measured], published: Published) -> Section:
    """Return the section of errors on corrupted images: one row for each network, one column for each condition."""
    kinds = {network.name: network.kind for network in networks}
    conditions = list(dict.fromkeys(r.condition for r in measured.results))
    rows = []
    for network in dict.fromkeys(r.network for r in measured.results):
        cells = []
        for condition in conditions:
            r = measured.of(network, condition)
            ratio = f" (x {r.ratio_mae:.2f})" if r and condition != CLEAN.label else ""
            cells.append(f"{r.geodesic:.2f}; {r.mae:.2f}{ratio}" if r else _NONE)
        rows.append(
            Row((network, *cells), next((kind for name, kind in kinds.items() if network.startswith(name)), ""))
        )
    if set(PAPER_SETS) <= set(conditions):
        clean = {row.name: row.mae for row in published.errors}
        for theirs in published.corrupted:
            known = {key: each[3] for key, each in theirs.errors.items()}
            if theirs.name in clean:
                known[CLEAN.label] = clean[theirs.name]
            base = known.get(CLEAN.label)
            cells = [_quoted(known.get(c), base if c != CLEAN.label else None) for c in conditions]
            rows.append(Row((f"{theirs.name} ({PUBLISHED})", *cells), PUBLISHED))
    intro = (
        "Geodesic error; Euler MAE and its ratio to the MAE on clean pictures. Published rows have only the MAE. Their "
        "sources do not state all settings of the corruptions, so compare them with care."
    )
    table = Table(("network", *conditions), tuple(rows))
    return Section("Robustness", (Text(intro), table, Text(measured.protocol, "Protocol")))


def stability(measured: Stability, networks: Sequence[Measured] = ()) -> Section:
    """Return the section of stability on rendered heads and videos, with one row for each network."""
    kinds = {network.name: network.kind for network in networks}
    blocks: list[Text | Table] = []
    if measured.rendered:
        blocks += _on_rendered_heads(measured, kinds)
    if measured.clips:
        blocks += _on_videos(measured, kinds)
    return Section("Stability", (*blocks, Text(measured.protocol, "Protocol")))


def _on_rendered_heads(measured: Stability, kinds: Mapping[str, str]) -> list[Text | Table]:
    """Return an overview table, then the tables by expression and by distance."""
    columns = {
        "noise": ("still", "still smoothed"),
        "moving box": ("boxes", "boxes smoothed"),
        "talking": ("talk spread", "talk"),
        "light": ("light spread", "light"),
        "expression": ("expression",),
        "leak, %": ("leak",),
        "lag, ms": ("lag", "lag smoothed"),
        "gain": ("gain",),
    }
    first = measured.rendered[0].figures
    expressions = {key.removeprefix("pitch "): (key,) for key in first if key.startswith("pitch ")}
    distances = [key.removeprefix("distance ") for key in first if key.startswith("distance ")]
    far = {name: (f"distance {name}", f"shift {name}") for name in distances}

    def table(head: str, cells: Mapping[str, tuple[str, ...]], signed: bool = False) -> Table:
        rows = []
        for each in measured.rendered:
            texts = [" / ".join(_figure(key, each.figures, signed) for key in keys) for keys in cells.values()]
            rows.append(Row((each.network, *texts), kinds.get(each.network, "")))
        return Table((head, *cells), tuple(rows))

    intro = (
        "Rendered heads, degrees. Noise and moving box: jitter / smoothed. Talking and light: spread / jitter. "
        "Expression: angle to the neutral face. Leak: yaw of a nodding head. Lag: as measured / smoothed. Gain: share "
        "of a turn that is read."
    )
    return [
        Text(intro),
        table("network", columns),
        Text("Pitch that is read with an expression, less that of the neutral face, degrees."),
        table("network", expressions, signed=True),
        Text("By distance: jitter with noise / angle to what is read at 1 m, degrees."),
        table("network", far),
    ]


def _figure(key: str, figures: Mapping[str, float], signed: bool) -> str:
    value = figures[key]
    if signed:
        return f"{value:+.1f}"
    return f"{value:.0f}" if key.startswith("lag") else f"{value:.1f}" if key == "leak" else f"{value:.2f}"


def _on_videos(measured: Stability, kinds: Mapping[str, str]) -> list[Text | Table]:
    rows = []
    for network in dict.fromkeys(each.network for each in measured.clips):
        own = [each for each in measured.clips if each.network == network]
        cells = (
            statistics.median(each.median for each in own),
            statistics.median(each.p95 for each in own),
            min(each.median for each in own),
            max(each.median for each in own),
            statistics.median(each.smoothed for each in own),
        )
        rows.append(Row((network, *map(_number, cells)), kinds.get(network, "")))
    clips = list(dict.fromkeys(each.clip for each in measured.clips))
    frames = sum(each.frames for each in measured.clips if each.network == measured.clips[0].network)
    return [
        Text(f"Jitter on {len(clips)} videos ({', '.join(clips)}), {frames} frames, degrees."),
        Table(("network", "median", "95 % below", "steadiest video", "least steady", "smoothed"), tuple(rows)),
    ]


def latency(measured: Latency) -> Section:
    """Return the section of times by number of threads, shares of the machine's peak, and memory."""
    blocks: list[Text | Table] = [Text(measured.setting)]
    for run in measured.runs:
        peaks = ", ".join(f"{kind} {value:.0f} GFLOPS" for kind, value in run.peak_gflops.items())
        threads = f"Threads: {run.threads or 'all'}."
        blocks.append(Text(f"{threads} Peak of a matrix product: {peaks}." if peaks else threads))
        blocks += [Text(f"Warning: {warning}.") for warning in run.warnings]
        blocks.append(_times(run, measured))
    blocks.append(Text(f"Ratio to {measured.reference}, {stages.BOTH}, in the same run."))
    memory = [
        Row((n.name, _number(n.bytes / 1e6), *(_megabytes(n.memory, key) for key in ("network", "runtime"))))
        for n in measured.networks
    ]
    blocks.append(Table(("network", "file, MB", "its memory, MB", "Python and ONNX Runtime, MB"), tuple(memory)))
    return Section("Time and memory", tuple(blocks))


def _times(run: TimedRun, measured: Latency) -> Table:
    unit = run.median(measured.reference, stages.BOTH)
    rows = []
    for network in measured.networks:
        alone = run.row(network.name, stages.NETWORK)
        if alone is None:
            continue
        both, whole = (run.median(network.name, stage) for stage in (stages.BOTH, stages.WHOLE))
        gflops, peak = 2e-6 * network.macs / alone.median, run.peak_gflops.get(network.arithmetic)
        ratio = _number(both / unit if both and unit else None)
        share = (f"{gflops:.0f}", f"{gflops / peak:.0%}") if peak else (_NONE, _NONE)
        times = map(_number, (alone.median, alone.p95, both, whole))
        rows.append(Row((network.name, *times, ratio, *share)))
    head = ("ms, median", "network", "p95", stages.BOTH, stages.WHOLE, "ratio", "GFLOPS", "of peak")
    return Table(head, tuple(rows))


def compressed(report: Compressed) -> Section:
    """Return the section of the networks of a compression."""
    figures, first = list(report.variants[0].figures), report.variants[0]
    rows = tuple(
        Row(
            (
                *(v.name, v.precision, f"{v.parameters:,}", f"{v.macs / 1e6:.0f}", _number(v.bytes / 1e6)),
                f"{v.bytes / first.bytes:.3f}",
                *(_number(v.figures.get(name)) for name in figures),
            )
        )
        for v in report.variants
    )
    head = ("network", "precision", "parameters", "M MACs", "MB", f"of {first.name}", *figures)
    text = f"Recipe `{report.name}`. Errors are {report.unit}, on held-out faces of the training sets."
    return Section("Compression", (Text(text), Table(head, rows)))


def others(published: Published) -> Section:
    """Return the section of published results and their sources."""
    errors = tuple(
        Row(
            (p.name, _number(p.megabytes, 1), *map(_number, (p.yaw, p.pitch, p.roll, p.mae)), p.note or _NONE, p.cited),
            PUBLISHED,
        )
        for p in published.errors
    )
    devices = list(dict.fromkeys(device for row in published.times for device in row.seconds))
    times = tuple(
        Row((p.name, *(f"{p.seconds[d]:g}" if d in p.seconds else _NONE for d in devices), p.cited), PUBLISHED)
        for p in published.times
    )
    return Section(
        "Published by others",
        (
            Text("Copied from the named sources; not measured by this project. Degrees on AFLW2000-3D."),
            Table(("network", "MB", "yaw", "pitch", "roll", "MAE", "", "source"), errors),
            Text("Seconds a picture."),
            Table(("network", *devices, "source"), times),
            Text(f"Sources: {'; '.join(published.sources)}."),
        ),
    )


def _protocols(networks: Sequence[Measured]) -> tuple[str, dict[str, str]]:
    """Return the sentences common to all protocols, and the remaining sentences by network."""
    sentences = {n.name: re.split(r"(?<=\.) (?=[A-Z])", n.protocol) for n in networks}
    common = [s for s in sentences[networks[0].name] if all(s in each for each in sentences.values())]
    own = {name: " ".join(s for s in each if s not in common) for name, each in sentences.items()}
    return " ".join(common), {name: words for name, words in own.items() if words}


def _interval(network: Measured, measure: str) -> str:
    low, high = network.ci[measure]
    return f"{getattr(network, measure):.2f} [{low:.2f}, {high:.2f}]"


def _bin(bin: Bin) -> str:
    return f"{_number(bin.geodesic)} / {_number(bin.mae)}"


def _quoted(mae: float | None, clean: float | None) -> str:
    if mae is None:
        return _NONE
    return f"{mae:.2f} (x {mae / clean:.2f})" if clean else f"{mae:.2f}"


def _megabytes(memory: dict[str, int] | None, key: str) -> str:
    if memory is None:
        return _NONE
    return f"{(memory['peak'] - memory['runtime'] if key == 'network' else memory[key]) / 1e6:.0f}"


def _number(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"
