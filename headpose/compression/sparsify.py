"""Pruning of connections as a stage of a compression: resumable, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from headpose.compression import connections, product, surgery
from headpose.compression.distillation import guide
from headpose.compression.finetune import NETWORK, FineTuner, FineTuning, stepwise
from headpose.compression.weights_recipe import ConnectionsRecipe, without
from headpose.networks.network import Network
from headpose.training import distributed

CUT = "cut.safetensors"


def tunings(network: Network, recipe: ConnectionsRecipe, name: str, seed: int) -> list[tuple[list[str], FineTuning]]:
    """Return the layers that each step prunes, and the training that follows.

    Args:
        network: Network to prune.
        recipe: Recipe of the pruning.
        name: Name of the result, for the progress display.
        seed: Random seed of the compression.

    Raises:
        RecipeError: ``exempt`` does not fit the network.
    """
    names = without(product.layers(network), recipe.exempt, "connections")
    return stepwise(names, recipe, name, seed, recipe.steps)


def prune_connections(
    tuner: FineTuner, network: Network, recipe: ConnectionsRecipe, name: str, folder: Path
) -> Network:
    """Remove connections of a network in steps, and train it after each; or resume from the state of the folder.

    Args:
        tuner: Task and settings of the trainings.
        network: Network to prune; not changed.
        recipe: Recipe of the pruning.
        name: Name of the result, for the progress display.
        folder: Folder of the result; each step has a subfolder.

    Returns:
        The network in eval mode, on the CPU, with weights of zero for removed connections.

    Raises:
        RecipeError: ``exempt`` does not fit the network.
        WeightsError: A file of the folder is damaged.
    """
    if (folder / NETWORK).exists():
        return surgery.load(folder / NETWORK)
    whole, processes = network, distributed.join()
    for number, (names, tuning) in enumerate(tunings(whole, recipe, name, tuner.run.seed), start=1):
        step = folder / f"step-{number:02d}"
        if processes.first and not (step / CUT).exists():
            evidence = tuner.evidence(tuner.task, tuner.run.seed + number)
            cut = surgery.prune(network, {})
            connections.remove(cut, connections.CRITERIA[recipe.importance](network, names, evidence), recipe.rule)
            step.mkdir(parents=True, exist_ok=True)
            surgery.save(cut, step / CUT)
        processes.wait()
        network = surgery.load(step / CUT)
        if tuning.images:
            objective = guide(whole, network, tuner.task, recipe.guide, tuner.run.bf16)
            network.to(distributed.join().device)  # before the hooks, whose tensors stay where they are made
            with connections.held(network):
                network = tuner.train(network, tuning, step, objective)
            if objective is not None:
                objective.close()
    if processes.first:
        surgery.save(network, folder / NETWORK)
    processes.wait()
    return surgery.load(folder / NETWORK)
