import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headpose.compression.selection import Removal, Rule, removals, round_widths, select
from headpose.compression.surgery import compose
from headpose.errors import InputError

APOZ = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9])  # mean 0.38, deviation 0.279
KINDS = ["mean_plus_std", "std", "share", "global_share"]
importances = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12),
    min_size=1,
)


def tensors(values):
    return {name: torch.tensor(row, dtype=torch.float64) for name, row in values.items()}


def kept(importance, kind, value, minimum=1, **rest):
    return {name: row.tolist() for name, row in select(importance, Rule(kind, value), minimum, **rest).items()}


def test_mean_plus_std_is_hus():
    assert kept({"a": 1 - APOZ}, "mean_plus_std", 1) == {"a": [0, 1, 2, 3]}  # only 0.9 > 0.659
    assert kept({"a": 1 - APOZ}, "mean_plus_std", 0) == {"a": [0, 1, 2]}


def test_std_is_the_paper_as_printed():
    assert kept({"a": 1 - APOZ}, "std", 1) == {"a": [0, 1]}  # 0.3, 0.4 and 0.9 > 0.279


def test_shares_are_of_each_layer_or_of_all():
    both = {"a": torch.tensor([1.0, 2, 3, 4]), "b": torch.tensor([10.0, 10, 10, 30])}
    assert kept(both, "share", 0.5) == {"a": [2, 3], "b": [0, 3]}  # of equals the later ones go
    # By the root mean squares 2.74 and 17.3: a 0.37 0.73 1.10 1.46, b 0.58 0.58 0.58 1.73.
    assert kept(both, "global_share", 0.5) == {"a": [1, 2, 3], "b": [3]}
    assert kept(both, "global_share", 0.25) == {"a": [1, 2, 3], "b": [0, 1, 3]}
    many = {"a": torch.arange(100.0)}
    assert len(kept(many, "share", 0.29)["a"]) == 71


def test_where_the_minimum_holds_other_layers_give_more():
    both = {"a": torch.tensor([0.1, 0.1, 0.1, 2.0]), "b": torch.tensor([1.0, 1.1, 1.2, 1.3])}
    assert kept(both, "global_share", 0.5, minimum=3) == {"a": [0, 1, 3], "b": [1, 2, 3]}


def test_a_layer_of_equal_channels_is_left_alone():
    values = torch.full((7,), 0.9, dtype=torch.float64)
    assert values.mean() > 0.9  # in floating point
    assert kept({"a": values}, "mean_plus_std", 0.5) == {"a": list(range(7))}


def test_protected_groups_keep_all_and_count_for_nothing():
    both = {"a": torch.arange(1.0, 5), "b": torch.arange(1.0, 5)}
    assert kept(both, "global_share", 0.5, protected=["b"]) == {"a": [2, 3], "b": [0, 1, 2, 3]}


@given(importances, st.sampled_from(KINDS), st.floats(0, 0.99), st.integers(1, 9))
def test_a_choice_is_sorted_keeps_the_best_and_the_minimum(values, kind, value, minimum):
    importance = tensors(values)
    found = select(importance, Rule(kind, value), minimum)
    assert found.keys() == importance.keys()
    for name, keep in found.items():
        row = importance[name]
        assert keep.dtype == torch.int64 and keep.tolist() == sorted(set(keep.tolist()))
        assert len(keep) >= min(minimum, len(row))
        gone = [i for i in range(len(row)) if i not in keep.tolist()]
        assert all((row[i], i) < (row[j], -1) or (row[i] == row[j] and i > j) for i in gone for j in keep.tolist())
    again = select(importance, Rule(kind, value), minimum)
    assert all(torch.equal(again[name], found[name]) for name in found)


@given(importances, st.floats(0, 0.99))
def test_a_global_share_is_met(values, share):
    importance = tensors(values)
    total = sum(len(row) for row in importance.values())
    gone = total - sum(len(keep) for keep in select(importance, Rule("global_share", share), 1).values())
    assert gone == min(int(np.floor(share * total + 1e-9)), total - len(importance))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("share", 1.0), ("global_share", -0.1), ("std", -1.0), ("mean_plus_std", float("nan")), ("best", 0.5)],
)
def test_an_impossible_rule_is_refused(kind, value):
    with pytest.raises(InputError, match=r"share|deviations|rule"):
        Rule(kind, value)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(InputError, match="not a list of finite numbers"):
        select({"a": torch.tensor([1.0, float("nan")])}, Rule("share", 0.5))
    with pytest.raises(InputError, match="minimum"):
        select({"a": torch.ones(2)}, Rule("share", 0.5), minimum=0)


GONE = {0: Removal(1, 0.9), 2: Removal(2, 0.1), 5: Removal(2, 0.3), 6: Removal(1, 0.95)}


@pytest.mark.parametrize(
    ("multiple", "wanted"),
    [
        (1, [1, 3, 4, 7, 8]),
        (2, [1, 3, 4, 5, 7, 8]),  # the last step's most important comes back first
        (4, [1, 2, 3, 4, 5, 6, 7, 8]),  # then the rest of that step, then the step before
        (16, [0, 1, 2, 3, 4, 5, 6, 7, 8]),  # never more than there were
        (5, [1, 3, 4, 7, 8]),
    ],
)
def test_widths_are_rounded_up_by_giving_back(multiple, wanted):
    keep = {"a": torch.tensor([1, 3, 4, 7, 8])}
    assert round_widths(keep, {"a": GONE}, multiple, {"a": 9, "b": 4})["a"].tolist() == wanted


@pytest.mark.parametrize(
    ("keep", "removed", "multiple"),
    [
        ({"a": torch.tensor([1, 3, 4, 7, 8])}, {"a": {0: GONE[0]}}, 2),
        ({"a": torch.tensor([1, 3])}, {}, 2),
        ({"z": torch.tensor([1])}, {}, 2),
        ({"a": torch.tensor([9])}, {}, 2),
        ({"a": torch.arange(9)}, {}, 0),
    ],
    ids=["untold", "nothing told", "unknown", "out of range", "multiple 0"],
)
def test_rounding_refuses_what_does_not_fit(keep, removed, multiple):
    with pytest.raises(InputError, match=r"channel|multiple"):
        round_widths(keep, removed, multiple, {"a": 9})


@given(st.data())
def test_steps_of_pruning_can_be_told_and_rounded(data):
    width, kept_now, told = 12, {}, {}
    for step in range(3):
        current = len(kept_now["a"]) if kept_now else width
        values = torch.tensor(data.draw(st.lists(st.floats(0, 1), min_size=current, max_size=current)))
        keep = select({"a": values}, Rule("share", 0.3), 2)
        told.update(removals(kept_now, keep, {"a": values}, step)["a"])
        kept_now = compose(kept_now, keep)
    assert sorted([*kept_now["a"].tolist(), *told]) == list(range(width))
    rounded = round_widths(kept_now, {"a": told}, 4, {"a": width})["a"].tolist()
    assert len(rounded) % 4 == 0 and set(kept_now["a"].tolist()) <= set(rounded)
    back, out = set(rounded) - set(kept_now["a"].tolist()), set(range(width)) - set(rounded)
    assert all((told[i].step, told[i].importance) >= (told[j].step, told[j].importance) for i in back for j in out)
