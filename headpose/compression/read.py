"""Networks that a compression starts with."""

from __future__ import annotations

import os
from pathlib import Path

from headpose import coded, weights
from headpose.compression import surgery
from headpose.errors import RecipeError, WeightsError
from headpose.networks import checkpoint
from headpose.networks.build import build
from headpose.networks.export import state_from_onnx
from headpose.networks.network import Network
from headpose.recipes.training import Recipe


def read_network(name_or_path: str, training: Recipe) -> Network:
    """Return the network to compress.

    Args:
        name_or_path: Name of a model in the manifest, or path of an .onnx or a .safetensors file.
        training: Training recipe of the network.

    Raises:
        WeightsError: The file does not exist, or is not a network of this package.
        RecipeError: The crop of the network differs from that of the recipe.
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors" or coded.is_coded(path):
        spec, cut, state = state_from_onnx(weights.find(name_or_path))
        if cut != training.crop:
            raise RecipeError(f"{name_or_path} and the training recipe {training.name} have different crops")
        network = build(spec)
        network.load_state_dict(state, strict=False)
        return _checked(network, name_or_path, training)
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises if a folder cannot be read
        raise WeightsError(f"model file {path} does not exist, or its folder cannot be read")
    if "spec" in surgery.read_metadata(path):
        return _checked(surgery.load(path), name_or_path, training)
    network = build(training.spec)  # ``headpose train`` saves its best weights without a specification
    try:
        checkpoint.load_weights(network, path)
    except WeightsError as error:
        raise WeightsError(f"{error}; the recipe is {training.name}") from error
    return network


def _checked(network: Network, name: str, training: Recipe) -> Network:
    """Return the network; raise RecipeError if its outputs are not those whose losses the recipe computes."""
    found, wanted = ((spec.output, sorted(spec.outputs)) for spec in (network.spec, training.spec))
    if found != wanted:
        raise RecipeError(
            f"{name} has network.output {found[0]!r} and network.outputs {found[1]}, the training recipe "
            f"{training.name} has {wanted[0]!r} and {wanted[1]}: they must be the same"
        )
    return network
