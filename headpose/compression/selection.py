"""Selection of channels: from importances to the indices of the channels to keep."""

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
    """Rule that selects the channels to remove.

    Attributes:
        kind: Rule that selects channels. ``mean_plus_std`` removes channels whose importance is below the layer's mean
            by more than ``value`` standard deviations: with APoZ, APoZ > mean + deviation (Hu et al., "Network
            Trimming", 2016). ``std`` removes channels whose APoZ exceeds ``value`` standard deviations of the layer,
            as printed by Aghli & Ribeiro: nearly all, so ``minimum`` decides (needs importances of 1 - APoZ). ``share``
            removes the least important ``value`` of each layer. ``global_share`` removes the least important ``value``
            of all layers together, after dividing each layer's importances by their root mean square (after Molchanov
            et al., ICLR 2017). Standard deviations are those of the population.
        value: Number of standard deviations, or a share in [0, 1).
    """

    kind: Kind
    value: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"unknown rule {self.kind!r}; the rules are {', '.join(get_args(Kind))}")
        if self.kind in ("share", "global_share") and not 0.0 <= self.value < 1.0:
            raise InputError(f"a share must be in [0, 1), got {self.value}")
        if not (math.isfinite(self.value) and self.value >= 0.0):
            raise InputError(f"a number of deviations must be 0 or more, got {self.value}")


@dataclass(frozen=True, slots=True)
class Removal:
    """Removal of a channel.

    Attributes:
        step: Number of the pruning step that removed it.
        importance: Importance of the channel in that step.
    """

    step: int
    importance: float


def select(
    importance: Mapping[str, Tensor], rule: Rule, minimum: int = 8, protected: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the channels to keep, for each group of ``importance``.

    Args:
        importance: Group -> (width,), larger for channels that are more worth keeping.
        rule: Rule that selects the channels to remove.
        minimum: Minimum number of channels of each group. The most important ones are kept; a smaller group keeps all.
        protected: Names of groups that keep all channels and are excluded from shares.

    Returns:
        Group -> sorted int64 indices. Of channels with equal importance the last ones are removed.

    Raises:
        InputError: The minimum is below 1, or an importance is not finite.
    """
    if minimum < 1:
        raise InputError(f"the minimum must be 1 or more, so that each group keeps a channel, got {minimum}")
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
    """Return the channels that one pruning step removes, for ``round_widths``.

    Args:
        kept: Indices in the full network of the channels before the step; groups that are not listed are complete.
        keep: Indices of the channels to keep, in the network before the step (``select``).
        importance: Group -> (width before the step,), the input of ``select``.
        step: Number of the step.

    Returns:
        Group -> index in the full network -> removal.
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
    """Restore channels until each width is a multiple, or the full width, as such widths run faster.

    The channels removed last are restored first; within a step the most important first; of equals the first.

    Args:
        kept: Sorted indices in the full network; groups that are not listed are complete.
        removed: Removal of each channel that is not in ``kept``, collected from ``removals`` of all steps.
        multiple: Divisor of the new widths; 1 restores no channel.
        full_widths: Number of channels of each group in the full network.

    Returns:
        Sorted indices in the full network for the groups of ``kept``.

    Raises:
        InputError: The multiple is below 1, ``kept`` does not match the widths, or a removal is missing.
    """
    if multiple < 1:
        raise InputError(f"the multiple of widths must be 1 or more, got {multiple}")
    check_keep(kept, full_widths)
    rounded = {}
    for name, stays in kept.items():
        present, known = set(stays.tolist()), removed.get(name, {})
        gone = [i for i in range(full_widths[name]) if i not in present]
        if unknown := [i for i in gone if i not in known]:
            raise InputError(f"the removal of channel {unknown[0]} of {name} is missing")
        gone.sort(key=lambda i, known=known: (-known[i].step, -known[i].importance, i))  # type: ignore[misc]
        wanted = min(math.ceil(len(present) / multiple) * multiple, full_widths[name])
        rounded[name] = torch.tensor(sorted([*present, *gone[: wanted - len(present)]]))
    return rounded


def _order(values: Tensor) -> Tensor:
    """Return indices by ascending importance; of equals the last one first."""
    return len(values) - 1 - values.flip(0).argsort(stable=True)


def _allowed(values: Tensor, rule: Rule, minimum: int) -> int:
    """Return the number of channels to remove from a layer."""
    deviation = values.std(correction=0)
    if rule.kind == "share":
        count = math.floor(rule.value * len(values) + 1e-9)  # so that 0.29 of 100 is 29
    elif rule.kind == "std":
        count = int((1.0 - values > rule.value * deviation).sum())
    else:
        rounding = 1e-12 * values.abs().max()  # tolerance: in a layer of equal channels, none is below the mean
        count = int((values < values.mean() - rule.value * deviation - rounding).sum())
    return max(0, min(count, len(values) - minimum))


def _least_of_all(importance: Mapping[str, Tensor], share: float, minimum: int) -> dict[str, list[int]]:
    """Return the least important channels of all groups together. Groups at the minimum lose no further channels.

    Of equals the last one of the last group comes first. Sorting whole tensors takes millions of connections, too.
    """
    total = sum(len(values) for values in importance.values())
    values, groups, indices = [], [], []
    for number, (name, found) in reversed([*enumerate(importance.items())]):
        order = _order(importance[name])[: max(0, len(found) - minimum)]
        values.append(found[order] / (float(found.square().mean().sqrt()) or 1.0))
        groups.append(torch.full_like(order, number))
        indices.append(order)
    least = torch.cat(values).argsort(stable=True)[: math.floor(share * total + 1e-9)]
    group, index = torch.cat(groups)[least], torch.cat(indices)[least]
    return {name: index[group == number].tolist() for number, name in enumerate(importance)}
