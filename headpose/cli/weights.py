"""``headpose weights``: the weights of an ONNX network as the training side reads them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from headpose import weights
from headpose.cli.arguments import named_path
from headpose.errors import HeadPoseError
from headpose.files import check_outputs, write_bytes
from headpose.networks import checkpoint
from headpose.networks.export import state_from_onnx
from headpose.recipes import provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose weights``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    convert = actions.add_parser(
        "to-safetensors",
        help="write the state dict, bit for bit",
        description="Writes the state dict that a network was exported from, bit for bit, as safetensors. "
        "The file's metadata holds the widths (spec), the crop, and what the network says of its origin (model), "
        "as JSON.",
    )
    convert.add_argument("model", help="a name (headpose models lists them) or an .onnx file of this package")
    target = convert.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=named_path, metavar="FILE", help="the .safetensors file to write")
    target.add_argument(
        "file", type=named_path, nargs="?", metavar="FILE", help=argparse.SUPPRESS
    )  # as it was once called


def run(args: argparse.Namespace) -> int:
    """Runs ``headpose weights to-safetensors``."""
    out: Path = args.out or args.file
    if out.suffix.lower() != ".safetensors":  # `*.onnx` would name a second network as the file to write
        raise HeadPoseError(f"{out} is no name for the weights: it ends in .safetensors")
    source = weights.find(args.model)
    check_outputs([source], data={"--out": out})
    spec, crop, state = state_from_onnx(source)
    about = {"spec": json.dumps(spec.to_dict()), "crop": json.dumps(crop.to_dict())}
    about |= provenance.about_metadata(provenance.read_onnx(source))
    write_bytes(out, checkpoint.to_bytes(state, about))
    print(f"{out}: {len(state)} tensors, {sum(value.numel() for value in state.values()):,} values")
    return 0
