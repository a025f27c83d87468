"""Networks of any shape for the tests of compression, and what it means that a channel is gone."""

import contextlib

from hypothesis import strategies as st

from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec


@st.composite
def specs(draw, outputs=("6d", "euler", "classes")):
    """Small networks: every kind of block, shortcut, stem, head and output."""
    widths = st.integers(1, 7)
    block = draw(st.sampled_from(["basic", "bottleneck"]))
    stem = StemSpec(
        draw(widths), draw(st.sampled_from([3, 7])), draw(st.integers(1, 2)), draw(st.booleans()),
        draw(st.sampled_from(["around", "end"])),
    )  # fmt: skip
    width, stages = stem.width, []
    for _ in range(draw(st.integers(1, 3))):
        stage = []
        for _ in range(draw(st.integers(1, 2))):
            out = draw(st.just(width) | widths)
            inner = tuple(draw(widths) for _ in range(1 if block == "basic" else 2))
            stage.append(BlockSpec(inner, out, draw(st.integers(1, 2)), draw(st.booleans())))
            width = out
        stages.append(tuple(stage))
    output = draw(st.sampled_from(outputs))
    return ResNetSpec(
        block,
        stem,
        tuple(stages),
        head=tuple(draw(st.lists(widths, max_size=2))),
        output=output,
        stride_on=draw(st.sampled_from(["3x3", "1x1"])) if block == "bottleneck" else "3x3",
        classes=draw(st.integers(2, 5)) if output == "classes" else 0,
    )


@contextlib.contextmanager
def masked(network, masks):
    """Within it, channels are zero wherever they would be seen: what a network without them must equal.

    Written apart from ``channels``: a stream is followed along the identities, block by block.
    """
    handles = []

    def hook(module, name):
        if name in masks:
            mask = masks[name]
            handles.append(module.register_forward_hook(lambda _m, _i, y: y * mask.view(1, -1, *[1] * (y.ndim - 2))))

    first = network.layer1[0]
    stream = "conv1" if first.downsample is not None else "layer1"
    hook(network.bn1, stream)
    for stage in network.stages:
        for i, block in enumerate(network.get_submodule(stage)):
            name = f"{stage}.{i}"
            if block.downsample is not None:
                stream = stage if i == 0 else name
            hook(block.bn1, f"{name}.conv1")
            if hasattr(block, "conv3"):
                hook(block.bn2, f"{name}.conv2")
            hook(block, stream)
    for i, layer in enumerate(network.head[:-1]):
        hook(layer, f"head.{i}")
    try:
        yield network
    finally:
        for handle in handles:
            handle.remove()
