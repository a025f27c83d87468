"""``headpose weights``: convert the weights of a network: ONNX to safetensors for training, codewords to ONNX."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from headpose import coded, weights
from headpose.cli.arguments import named_path
from headpose.errors import HeadPoseError
from headpose.files import check_outputs, write_bytes
from headpose.networks import checkpoint
from headpose.networks.export import state_from_onnx
from headpose.recipes import provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose weights``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    convert = actions.add_parser(
        "to-safetensors",
        help="write the state dict as safetensors, bit for bit",
        description="Write the state dict that a network was exported from as safetensors, bit for bit. "
        "The file's metadata holds the network's widths (spec), crop settings (crop) and description (model) as JSON.",
    )
    convert.set_defaults(convert=_to_safetensors)
    convert.add_argument("model", help="name of a network (headpose models lists them) or path of its .onnx file")
    target = convert.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=named_path, metavar="FILE", help="path of the .safetensors file to write")
    # Deprecated: earlier versions took the output as the second positional argument.
    target.add_argument("file", type=named_path, nargs="?", metavar="FILE", help=argparse.SUPPRESS)
    decode = actions.add_parser(
        "to-onnx",
        help="write a network that is stored as codewords as ONNX",
        description="Write the ONNX file that a network stored by product quantization (.safetensors) decodes to, for "
        "programs that read ONNX. headpose reads both.",
    )
    decode.set_defaults(convert=_to_onnx)
    decode.add_argument("model", help="path of the .safetensors file, which headpose compress wrote")
    decode.add_argument("--out", type=named_path, metavar="FILE", required=True, help="path of the .onnx file to write")


def run(args: argparse.Namespace) -> int:
    """Run ``headpose weights`` and return the exit status."""
    return int(args.convert(args))


def _to_onnx(args: argparse.Namespace) -> int:
    out: Path = args.out
    if out.suffix.lower() != ".onnx":
        raise HeadPoseError(f"cannot write {out}: the name of the file must end in .onnx")
    source = Path(args.model)
    if source.suffix.lower() != coded.SUFFIX:
        raise HeadPoseError(f"{source} is not stored as codewords: give a {coded.SUFFIX} file of headpose compress")
    check_outputs([source], data={"--out": out})
    network = coded.read_onnx(source)
    write_bytes(out, network)
    print(f"{out}: {len(network):,} bytes of {source.stat().st_size:,}")
    return 0


def _to_safetensors(args: argparse.Namespace) -> int:
    out: Path = args.out or args.file
    if out.suffix.lower() != ".safetensors":  # the shell may expand `*.onnx` to a second network: do not overwrite it
        raise HeadPoseError(f"cannot write {out}: the name of the file must end in .safetensors")
    source = weights.find(args.model)
    check_outputs([source], data={"--out": out})
    spec, crop, state = state_from_onnx(source)
    about = {"spec": json.dumps(spec.to_dict()), "crop": json.dumps(crop.to_dict())}
    about |= provenance.about_metadata(provenance.read_onnx(source))
    write_bytes(out, checkpoint.to_bytes(state, about))
    print(f"{out}: {len(state)} tensors, {sum(value.numel() for value in state.values()):,} values")
    return 0
