import dataclasses
from pathlib import Path

import pytest

from headpose.datasets.splits import split
from headpose.errors import InputError
from headpose.types import Box, EulerAngles, Sample


def sample(name: str, group: str) -> Sample:
    return Sample(Path(name), Box(0, 0, 1, 1), EulerAngles(0, 0, 0), group=group)


SAMPLES = [sample(f"{group}_{face}.jpg", f"photo{group}") for group in range(2000) for face in range(3)]


def test_every_sample_is_on_one_side_and_no_photograph_on_both():
    training, validation = split(SAMPLES, 0.2, seed=1)
    assert len(training) + len(validation) == len(SAMPLES)
    assert set(training) | set(validation) == set(SAMPLES)
    assert not {s.group for s in training} & {s.group for s in validation}
    assert len(validation) / len(SAMPLES) == pytest.approx(0.2, abs=0.03)


def test_a_sides_samples_depend_on_neither_order_nor_company():
    _, validation = split(SAMPLES, 0.2, seed=1)
    _, backwards = split(SAMPLES[::-1], 0.2, seed=1)
    assert backwards[::-1] == validation
    _, some = split(SAMPLES[::7], 0.2, seed=1)
    assert some == [s for s in validation if s in set(SAMPLES[::7])]


def test_a_larger_fraction_keeps_what_a_smaller_one_chose_and_a_seed_chooses_anew():
    _, small = split(SAMPLES, 0.1, seed=1)
    _, large = split(SAMPLES, 0.2, seed=1)
    assert set(small) < set(large)
    assert set(split(SAMPLES, 0.1, seed=2)[1]) != set(small)


def test_the_whole_range_of_fractions():
    assert split(SAMPLES, 0.0, seed=0) == (SAMPLES, [])
    assert split(SAMPLES, 1.0, seed=0) == ([], SAMPLES)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="fraction"):
            split(SAMPLES, fraction, seed=0)


def test_samples_without_a_group_are_groups_of_their_own():
    alone = [dataclasses.replace(s, group="") for s in SAMPLES]
    assert 0 < len(split(alone, 0.5, seed=0)[1]) < len(alone)
