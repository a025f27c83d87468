"""Digits in CIFAR-10's layout, and a recipe that learns them in seconds."""

from pathlib import Path

from headpose.datasets import cifar10
from scripts.digits_as_cifar10 import digits


def write_digits(folder: Path, count: int = 600) -> Path:
    images, labels = digits()
    training = cifar10.LabeledImages(images[:count], labels[:count])
    test = cifar10.LabeledImages(images[count : count + 200], labels[count : count + 200])
    cifar10.write(folder, training, test, [str(i) for i in range(10)])
    return folder


def digits_recipe(folder: Path) -> dict:
    """Plain values of a recipe: a small network of the CIFAR kind (He et al. 2016, 4.2)."""
    return {
        "name": "digits",
        "task": "classification",
        "license": "permissive",
        "data_note": "scikit-learn's digits",
        "license_terms": "any use",
        "data": {"sources": [{"kind": "cifar-10", "path": str(folder)}], "validation": 0.2},
        "network": {
            "block": "basic",
            "depths": [1, 1, 1],
            "inner": [8, 16, 24],
            "out": [8, 16, 24],
            "stem": {"width": 8, "kernel": 3, "stride": 2, "max_pool": False},
            "output": "classes",
            "classes": 10,
        },
        "crop": {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "augment": {"shift": 0.05, "flip": 0.0},
        "optimiser": {"warmup": 320, "rate": 0.01},
        "run": {
            "images": 5760,
            "batch": 32,
            "ema": 0.9,
            "threads": 1,
            "bf16": "off",
            "checkpoint_images": 1600,
            "validate_images": 2880,
        },
    }
