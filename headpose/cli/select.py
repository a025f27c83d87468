"""``headpose select``: filter, balance and sample the faces of ``headpose label``."""

from __future__ import annotations

import argparse
import sys

from headpose import files
from headpose.bulk import exports, selection
from headpose.bulk.selection import Balance
from headpose.cli.arguments import named_path, positive, whole
from headpose.errors import HeadPoseError

_EPILOG = """\
The query is a DuckDB SQL expression over the columns of the labels; it cannot read files or run code:
  "abs(yaw) < 30 and score > 0.8"        "yaw between 60 and 90 and x2 - x1 > 80"
  "source like 'shots/%' or frame = 0"   "uncertainty < 5"   (networks without it have no such faces)

--balance yaw:15 --n 10000 takes the same number of faces from each bin of 15 degrees, as far as the bins have them;
the bins are centered on 0. Given twice (--balance yaw:15 --balance pitch:15), it balances the grid of both.

--out FILE.csv is the data of headpose train: headpose train compact --data FILE.csv
"""

_NAMED = "they are named VIDEO/000012.jpg, ARCHIVE/MEMBER or by their address; extract them under these names"
_WITHOUT = {
    "csv": 'headpose train takes picture files only (--query "member is null and frame is null")',
    "coco": _NAMED,
    "cvat": _NAMED,
    "fiftyone": "FiftyOne takes picture files only, and they are left out",
}
"""What happens to faces in pictures that are not local files, by format."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose select``."""
    parser.epilog = _EPILOG
    parser.add_argument("labels", metavar="LABELS", type=named_path, help="folder of headpose label")
    parser.add_argument("--out", type=named_path, required=True, metavar="FILE", help="file to write")
    parser.add_argument("--query", default="", metavar="SQL", help="keep the faces for which this expression is true")
    parser.add_argument(
        "--balance", action="append", default=[], metavar="COLUMN:WIDTH", help="fill bins of a column evenly"
    )
    parser.add_argument("--n", type=positive, metavar="N", help="number of faces (default: all that fit)")
    parser.add_argument("--seed", type=whole, default=0, metavar="K", help="seed of the sample (default: 0)")
    parser.add_argument(
        "--format", choices=list(exports.FORMATS), help="format of the file (default: csv; cvat if it ends in .xml)"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``headpose select`` and return the exit status."""
    form = args.format or ("cvat" if args.out.suffix.lower() == ".xml" else "csv")
    if args.out.suffix.lower() != exports.SUFFIX[form]:
        hint = "; state --format coco or fiftyone" if args.out.suffix.lower() == ".json" and not args.format else ""
        raise HeadPoseError(f"--out {args.out} must end in {exports.SUFFIX[form]} for {form}{hint}")
    files.check_outputs([args.labels], text={"--out": args.out})
    faces, base = selection.dataset(args.labels)
    table = selection.select(
        faces, args.query, balance=[Balance.parse(text) for text in args.balance], count=args.n, seed=args.seed
    )
    exports.write(table, args.out, form, base)
    print(f"{args.out}: faces: {table.num_rows:,}")
    if args.n is not None and table.num_rows < args.n:
        print(f"headpose: --n asks for {args.n:,} faces, and {table.num_rows:,} fit the query", file=sys.stderr)
    if count := exports.without_file(table):
        print(f"headpose: {count:,} of them are in videos, archives or remote files: {_WITHOUT[form]}", file=sys.stderr)
    return 0
