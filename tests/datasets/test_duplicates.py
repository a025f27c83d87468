import dataclasses

import cv2
import numpy as np
import pytest

from headpose.datasets import manifest
from headpose.datasets.duplicates import group_near_duplicates
from headpose.errors import ImageError
from headpose.types import Box, EulerAngles, Sample

BOX = Box(90, 75, 190, 185)  # of the astronaut's face, about


@pytest.fixture
def sample(tmp_path):
    def sample(name, image, box=BOX, group=""):
        path = tmp_path / name
        assert cv2.imwrite(str(path), image)
        return Sample(path, box, EulerAngles(0, 0, 0), group=group or path.stem)

    return sample


@pytest.fixture
def face(photo):
    return np.ascontiguousarray(photo[:256, 96:352])


def groups(samples):
    return [s.group for s in group_near_duplicates(samples)]


def other(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR),
        lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
        lambda image: cv2.convertScaleAbs(image, alpha=0.6, beta=20),
        lambda image: cv2.GaussianBlur(image, (0, 0), 2),
        lambda image: image[:, ::-1],
    ],
    ids=["saved again", "grey", "darker", "blurred", "mirrored"],
)
def test_a_retouched_copy_joins_its_original(sample, face, alter):
    copy = np.ascontiguousarray(alter(face))
    box = BOX if not np.array_equal(copy, face[:, ::-1]) else Box(256 - BOX.x2, BOX.y1, 256 - BOX.x1, BOX.y2)
    assert groups([sample("b.png", copy, box), sample("x.png", other(0)), sample("a.png", face)]) == ["a", "x", "a"]


def test_another_crop_of_the_photograph_joins_by_its_face(sample, photo, face):
    shifted = np.ascontiguousarray(photo[:300, 60:300])
    moved = Box(BOX.x1 + 36, BOX.y1, BOX.x2 + 36, BOX.y2)
    assert groups([sample("a.png", face), sample("b.png", shifted, moved)]) == ["a", "a"]


def test_different_pictures_stay_apart(sample, face):
    samples = [sample(f"{seed}.png", other(seed)) for seed in range(20)] + [sample("face.png", face)]
    assert len(set(groups(samples))) == 21


def test_chains_and_earlier_groups_hold_together(sample, face):
    samples = [
        sample("a.png", face, group="photo 2"),
        sample("b.png", other(1), group="photo 2"),
        sample("c.png", cv2.GaussianBlur(other(1), (0, 0), 1), group="photo 1"),
        sample("d.png", other(2), group="photo 3"),
    ]
    assert groups(samples) == ["photo 1"] * 3 + ["photo 3"]
    grouped = group_near_duplicates(samples)
    assert [dataclasses.replace(s, group="") for s in grouped] == [dataclasses.replace(s, group="") for s in samples]


def test_a_long_chain_is_one_group(sample):
    """Each photograph resembles the one before; the ends have nothing in common."""
    samples = []
    for link in range(5):
        for name, seed in (("left", link), ("right", link + 1)):
            picture = cv2.GaussianBlur(other(seed), (0, 0), 0.5 + link % 2)
            samples.append(sample(f"{link}-{name}.png", picture, group=f"photo {link}"))
    assert groups(samples[::-1]) == ["photo 0"] * 10


def test_no_samples_and_no_picture(sample, face, tmp_path):
    assert group_near_duplicates([]) == []
    broken = sample("a.png", face)
    broken.image.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.png"):
        group_near_duplicates([broken])


@pytest.mark.data
def test_duplicates_among_the_aflw_crops_are_found(data_dir):
    # Consecutive names are often faces of one photo series: this stretch holds known copies.
    samples = manifest.read(data_dir / "aflw" / "labels.csv")[:1500]
    assert 0.8 < len(set(groups(samples))) / len(samples) < 1.0
