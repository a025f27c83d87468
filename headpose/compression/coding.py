"""Product quantization as a stage of a compression: resumable, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from headpose.coded import Codes
from headpose.compression import product, product_file, surgery
from headpose.compression.distillation import guide
from headpose.compression.finetune import NETWORK, FineTuner, FineTuning, stepwise
from headpose.compression.importance import seed_of
from headpose.compression.weights_recipe import ProductRecipe, without
from headpose.networks.network import Network
from headpose.training import distributed

CODES = "codes.safetensors"


def quantized_layers(network: Network, recipe: ProductRecipe) -> list[str]:
    """Return the names of the layers to quantize, in network order.

    Raises:
        RecipeError: ``exempt`` has a name that is no layer, or leaves none.
    """
    return without(product.layers(network), recipe.exempt, "product")


def tunings(network: Network, recipe: ProductRecipe, name: str, seed: int) -> list[tuple[list[str], FineTuning]]:
    """Return the layers that each step quantizes, and the training that follows.

    Args:
        network: Network to quantize.
        recipe: Recipe of the quantization.
        name: Name of the result, for the progress display.
        seed: Random seed of the compression.

    Raises:
        RecipeError: As ``quantized_layers``.
    """
    return stepwise(quantized_layers(network, recipe), recipe, name, seed)


def quantize_network(
    tuner: FineTuner, network: Network, recipe: ProductRecipe, name: str, folder: Path
) -> tuple[Network, dict[str, Codes]]:
    """Quantize the layers of a network and train their codewords, or resume from the state of the folder.

    Args:
        tuner: Task and settings of the trainings.
        network: Network to quantize; not changed.
        recipe: Recipe of the quantization.
        name: Name of the result, for the progress display.
        folder: Folder of the result; each step has a subfolder.

    Returns:
        The network in eval mode, on the CPU, with exactly the weights that the codes decode to; and the codes.

    Raises:
        RecipeError: As ``quantized_layers``.
        DataError: A file of the folder is damaged.
    """
    if (folder / NETWORK).exists():
        return surgery.load(folder / NETWORK), product_file.load_codes(folder / CODES)
    whole, codes = network, dict[str, Codes]()
    network = surgery.prune(network, {})
    processes = distributed.join()
    for number, (names, tuning) in enumerate(tunings(whole, recipe, name, tuner.run.seed), start=1):
        step = folder / f"step-{number:02d}"
        if processes.first and not (step / CODES).exists():
            for each in names:
                weight = network.get_parameter(f"{each}.weight").detach().cpu()
                codes[each] = product.quantize(weight, recipe.codec, seed_of(each, tuner.run.seed))
            step.mkdir(parents=True, exist_ok=True)
            product_file.save_codes(step / CODES, codes)
        processes.wait()
        codes = product_file.load_codes(step / CODES)
        product.insert(network, codes)
        if tuning.images:
            network, codes = _train(tuner, whole, network, codes, recipe, tuning, step)
    product.shorten(network, list(codes))
    if processes.first:
        product_file.save_codes(folder / CODES, codes)
        surgery.save(network, folder / NETWORK)
    processes.wait()
    return surgery.load(folder / NETWORK), codes


def _train(
    tuner: FineTuner,
    whole: Network,
    network: Network,
    codes: dict[str, Codes],
    recipe: ProductRecipe,
    tuning: FineTuning,
    folder: Path,
) -> tuple[Network, dict[str, Codes]]:
    """Train a network with the weights of codes; return it with the trained codewords, and their codes."""
    objective = guide(whole, network, tuner.task, recipe.guide, tuner.run.bf16)
    network.to(distributed.join().device)  # before the hooks, whose tensors stay where they are made
    with product.tied(network, codes):
        network = tuner.train(network, tuning, folder, objective)
    if objective is not None:
        objective.close()
    codes = {name: product.refit(network.get_parameter(f"{name}.weight"), each) for name, each in codes.items()}
    product.insert(network, codes)
    return network, codes
