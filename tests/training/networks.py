"""Small networks and data that the training tests share."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from headpose import geometry
from headpose.networks.build import build
from headpose.networks.network import Network
from headpose.networks.spec import Spec, StemSpec, resnet

TINY_BASIC = resnet("basic", (1, 2), (5, 7), (8, 12), StemSpec(6, 3, 2, False))
TINY_BOTTLENECK = resnet("bottleneck", (1, 2), (4, 6), (16, 24), StemSpec(8), head=(10, 6), output="euler")
# Where VGGFace2's networks stride and pad.
TINY_CAFFE = resnet("bottleneck", (1, 2), (4, 6), (16, 24), StemSpec(8, pool_padding="end"), stride_on="1x1")


def network(spec: Spec, seed: int = 0) -> Network:
    """A network whose every parameter and statistic matters: none is 0 or 1 as it starts."""
    torch.manual_seed(seed)
    net = build(spec)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return net.eval()


def write_drawn_heads(folder: Path, count: int, seed: int = 0) -> Path:
    """A manifest of pictures that show their label: a disc with the three head axes drawn on it."""
    rng = np.random.default_rng(seed)
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll"]
    for i in range(count):
        euler = rng.uniform(-50, 50, 3)
        rotation = geometry.rotation_from_euler(euler)
        picture = np.full((48, 48, 3), 40, np.uint8)
        cv2.circle(picture, (24, 24), 20, (90, 90, 90), -1, cv2.LINE_AA)
        for axis, color in enumerate([(0, 0, 255), (0, 255, 0), (255, 0, 0)]):
            x, y, _ = rotation[:, axis]
            tip = (round(24 + 18 * x), round(24 - 18 * y))
            cv2.line(picture, (24, 24), tip, color, 3, cv2.LINE_AA)
        cv2.imwrite(str(folder / f"head{i:03d}.png"), picture)
        lines.append(f"head{i:03d}.png,4,4,44,44," + ",".join(f"{a:.4f}" for a in euler))
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def recipe_values(manifest: Path) -> dict:
    """Plain values of a recipe that trains a tiny network on ``manifest`` in seconds."""
    plain = ("flip", "light", "grey", "blur", "low_resolution", "noise", "jpeg", "occlude", "wide_turn")
    return {
        "name": "tiny",
        "license": "permissive",
        "data_note": "drawn axes",
        "license_terms": "any use",
        "data": {"sources": [{"kind": "manifest", "path": str(manifest)}], "validation": 0.2},
        "network": {
            "block": "basic",
            "depths": [1, 1, 1],
            "inner": [16, 32, 48],
            "out": [16, 32, 48],
            "stem": {"width": 12, "kernel": 3, "stride": 2, "max_pool": False},
        },
        "crop": {"size": 32, "scale": 1.1},
        "augment": {"scale": [1.05, 1.15], "turn": 5.0, "shift": 0.01, "stretch": 0.0, **dict.fromkeys(plain, 0.0)},
        "optimiser": {"warmup": 64, "rate": 0.005},
        "run": {
            "images": 640,
            "batch": 16,
            "ema": 0.9,
            "threads": 1,
            "bf16": "off",
            "checkpoint_images": 64,
            "validate_images": 320,
        },
    }
