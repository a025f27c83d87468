import pytest

from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec, macs, parameters, resnet

COMPACT = resnet("basic", (2, 2, 2, 2), (24, 48, 96, 160), (24, 48, 96, 160), StemSpec(16, 3, 2, False))
RESNET50 = resnet("bottleneck", (3, 4, 6, 3), (64, 128, 256, 512), (256, 512, 1024, 2048), StemSpec(64), output="euler")


def test_resnet50_has_its_published_size():
    # torchvision documents 25,557,032 parameters with a dense layer of 2048 x 1000 + 1000, and 4.09 GMACs at 224.
    dense = 2048 * 1000 + 1000
    assert parameters(RESNET50) - (2048 * 3 + 3) == 25_557_032 - dense
    assert macs(RESNET50, 224) == pytest.approx(4.09e9, rel=0.002)


@pytest.mark.parametrize("spec", [COMPACT, RESNET50], ids=["compact", "resnet50"])
def test_counts_agree_with_the_network(spec):
    assert parameters(spec) == sum(p.numel() for p in HeadPoseNet(spec).parameters())


def test_a_spec_survives_plain_values():
    assert ResNetSpec.from_dict(COMPACT.to_dict()) == COMPACT


def test_a_shortcut_can_be_a_projection_without_need():
    plain = ResNetSpec("basic", StemSpec(8), ((BlockSpec((4,), 8),),))
    projected = ResNetSpec("basic", StemSpec(8), ((BlockSpec((4,), 8, projection=True),),))
    assert parameters(projected) - parameters(plain) == 8 * 8 + 2 * 8
    assert macs(projected, 64) - macs(plain, 64) == 8 * 8 * 16 * 16
    assert parameters(projected) == sum(p.numel() for p in HeadPoseNet(projected).parameters())
    assert ResNetSpec.from_dict(projected.to_dict()) == projected
    assert BlockSpec((4,), 8).projects(6) and BlockSpec((4,), 8, 2).projects(8) and not BlockSpec((4,), 8).projects(8)


def test_a_spec_from_before_there_were_needless_projections_is_read():
    values = COMPACT.to_dict()
    for stage in values["stages"]:
        for block in stage:
            del block["projection"]
    assert ResNetSpec.from_dict(values) == COMPACT


@pytest.mark.parametrize(
    "change",
    [{"block": "dense"}, {"output": "quaternion"}, {"stages": ()}, {"stages": ((BlockSpec((8, 8), 8),),)}],
    ids=["block", "output", "no stages", "inner widths of a bottleneck in a basic block"],
)
def test_an_impossible_spec_is_refused(change):
    with pytest.raises(ValueError, match=r"block|network|stage|output"):
        ResNetSpec(**{"block": "basic", "stem": StemSpec(8), "stages": ((BlockSpec((8,), 8),),), **change})
