"""Which channels go: from importances to the indices that stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from headpose.compression.surgery import Keep, check_keep
from headpose.errors import InputError

Kind = Literal["mean_plus_std", "std", "share", "global_share"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which channels may go.

    Attributes:
        kind: rule that selects channels. ``mean_plus_std`` removes channels whose importance is below the layer's mean
            by more than ``value`` standard deviations: with APoZ, APoZ > mean + deviation (Hu et al., "Network
            Trimming", 2016). ``std`` removes channels whose APoZ exceeds ``value`` standard deviations of the layer,
            as printed by Aghli & Ribeiro: nearly all, so ``minimum`` decides (needs importances of 1 - APoZ). ``share``
            removes the least important ``value`` of each layer. ``global_share`` removes the least important ``value``
            of all layers together, after dividing each layer's importances by their root mean square (after Molchanov
            et al., ICLR 2017). Standard deviations are those of the population.
        value: number of standard deviations, or a share in [0, 1).
    """

    kind: Kind
    value: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"unknown rule {self.kind!r}; there are {', '.join(get_args(Kind))}")
        if self.kind in ("share", "global_share") and not 0.0 <= self.value < 1.0:
            raise InputError(f"a share is in [0, 1), got {self.value}")
        if not (math.isfinite(self.value) and self.value >= 0.0):
            raise InputError(f"a number of deviations is 0 or more, got {self.value}")


@dataclass(frozen=True, slots=True)
class Removal:
    """When a channel was removed, and how important it was then."""

    step: int
    importance: float


def select(
    importance: Mapping[str, Tensor], rule: Rule, minimum: int = 8, protected: Collection[str] = ()
) -> dict[str, Tensor]:
    """The channels to keep, for every group of ``importance``; one group alone will do.

    Args:
        importance: group -> (width,), larger for what is more worth keeping.
        rule: which channels may go.
        minimum: channels that stay in each group at least, the most important ones; a group that has no
            more keeps all.
        protected: groups that keep all, and count for no share.

    Returns:
        Sorted int64 indices. Of equal channels the later ones go.

    Raises:
        InputError: a minimum below 1, or an importance that is not finite.
    """
    if minimum < 1:
        raise InputError(f"at least one channel stays, so the minimum is 1 or more, got {minimum}")
    for name, values in importance.items():
        if values.ndim != 1 or not len(values) or not bool(values.isfinite().all()):
            raise InputError(f"the importances of {name} are not a list of finite numbers")
    free = {name: values.double().cpu() for name, values in importance.items() if name not in protected}
    if rule.kind == "global_share":
        gone = _least_of_all(free, rule.value, minimum)
    else:
        gone = {name: _order(values)[: _allowed(values, rule, minimum)].tolist() for name, values in free.items()}
    keep = {}
    for name, values in importance.items():
        stays = torch.ones(len(values), dtype=torch.bool)
        if name in gone:
            stays[gone[name]] = False
        keep[name] = stays.nonzero().flatten()
    return keep


def removals(kept: Keep, keep: Keep, importance: Mapping[str, Tensor], step: int) -> dict[str, dict[int, Removal]]:
    """What one step of pruning removes, in the full network's numbers: what ``round_widths`` may give back.

    Args:
        kept: channels of the full network that are there before the step; groups not named are whole.
        keep: those of them that stay, in the numbers of the network as it is (``select``).
        importance: group -> (current width,), as ``select`` was given it.
        step: its number.
    """
    found = {}
    for name, stays in keep.items():
        width = len(importance[name])
        numbers = kept.get(name, torch.arange(width)).tolist()
        gone = sorted(set(range(width)) - set(stays.tolist()))
        found[name] = {numbers[i]: Removal(step, float(importance[name][i])) for i in gone}
    return found


def round_widths(
    kept: Keep, removed: Mapping[str, Mapping[int, Removal]], multiple: int, full_widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Gives channels back until each width is a multiple, or the full width: such widths run faster.

    Those removed last come back first, of one step the most important first, of equals the first.

    Args:
        kept: sorted indices in the full network's numbers; groups not named are whole.
        removed: for every channel that ``kept`` leaves out, when it went (``removals``, step by step).
        multiple: 1 leaves all as it is.
        full_widths: of the full network's groups.

    Returns:
        Sorted indices for the groups of ``kept``.

    Raises:
        InputError: a multiple below 1, a choice that does not fit, or a removal that is not told.
    """
    if multiple < 1:
        raise InputError(f"widths are rounded to a multiple of 1 or more, got {multiple}")
    check_keep(kept, full_widths)
    rounded = {}
    for name, stays in kept.items():
        present, told = set(stays.tolist()), removed.get(name, {})
        gone = [i for i in range(full_widths[name]) if i not in present]
        if untold := [i for i in gone if i not in told]:
            raise InputError(f"nothing says when channel {untold[0]} of {name} was removed")
        gone.sort(key=lambda i, told=told: (-told[i].step, -told[i].importance, i))  # type: ignore[misc]
        wanted = min(math.ceil(len(present) / multiple) * multiple, full_widths[name])
        rounded[name] = torch.tensor(sorted([*present, *gone[: wanted - len(present)]]))
    return rounded


def _order(values: Tensor) -> Tensor:
    """Indices from the least important; of equals the last one first."""
    return len(values) - 1 - values.flip(0).argsort(stable=True)


def _allowed(values: Tensor, rule: Rule, minimum: int) -> int:
    """How many of a layer's channels go."""
    deviation = values.std(correction=0)
    if rule.kind == "share":
        count = math.floor(rule.value * len(values) + 1e-9)  # 0.29 of 100 is 29
    elif rule.kind == "std":
        count = int((1.0 - values > rule.value * deviation).sum())
    else:
        rounding = 1e-12 * values.abs().max()  # in a layer of equal channels none is below the mean
        count = int((values < values.mean() - rule.value * deviation - rounding).sum())
    return max(0, min(count, len(values) - minimum))


def _least_of_all(importance: Mapping[str, Tensor], share: float, minimum: int) -> dict[str, list[int]]:
    """The least important channels of all groups together; where the minimum holds, other groups give more."""
    total = sum(len(values) for values in importance.values())
    ranked = []
    for number, (name, values) in enumerate(importance.items()):
        scale = float(values.square().mean().sqrt()) or 1.0
        ranked += [(value / scale, -number, -i, name) for i, value in enumerate(values.tolist())]
    gone: dict[str, list[int]] = {name: [] for name in importance}
    left = math.floor(share * total + 1e-9)
    for _, _, index, name in sorted(ranked):
        if left and len(importance[name]) - len(gone[name]) > minimum:
            gone[name].append(-index)
            left -= 1
    return gone
