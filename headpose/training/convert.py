"""``headpose weights``: the weights of an ONNX network as the training side reads them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import save

from headpose import weights
from headpose.errors import HeadPoseError
from headpose.files import check_outputs, write_bytes
from headpose.training.export import state_from_onnx


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose weights``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    convert = actions.add_parser(
        "to-safetensors",
        help="write the state dict, bit for bit",
        description="Writes the state dict that a network was exported from, bit for bit, as safetensors. "
        "The file's metadata holds the widths (spec) and the crop, as JSON.",
    )
    convert.add_argument("model", help="a name (headpose models lists them) or an .onnx file of this package")
    convert.add_argument("out", type=Path, metavar="FILE", help="the .safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Runs ``headpose weights to-safetensors``."""
    if args.out.suffix.lower() != ".safetensors":  # `*.onnx` would name a second network as the file to write
        raise HeadPoseError(f"{args.out} is no name for the weights: it ends in .safetensors")
    source = weights.find(args.model)
    check_outputs([source], data={"FILE": args.out})
    spec, crop, state = state_from_onnx(source)
    about = {"spec": json.dumps(spec.to_dict()), "crop": json.dumps(crop.to_dict())}
    write_bytes(args.out, save(state, metadata=about))
    print(f"{args.out}: {len(state)} tensors, {sum(value.numel() for value in state.values()):,} values")
    return 0
