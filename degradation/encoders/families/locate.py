"""Where a tower's tensors lie in a checkpoint, held against what its files declare.

The configuration gives the full set of names, shapes and types that there must be. Nothing is read
here: a file's header or index is enough to refuse it.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from degradation.encoders.families.family import Family, Layout, Stored, TensorSource
from degradation.encoders.vit import Vit
from degradation.encoders.weights import refuse
from degradation.errors import WeightsError

__all__ = ["locate"]

logger = logging.getLogger(__name__)

NUMBERS = frozenset({"F64", "F32", "F16", "BF16"})


def locate(family: Family, tower: Vit, checkpoint: TensorSource) -> dict[str, Stored]:
    """Where each of the tower's tensors lies, with prefix.

    Raises:
        WeightsError: Not exactly one known prefix is used, or names, shapes or types under it are
            not those of the tower.
    """
    tensors = checkpoint.tensors
    candidates = []
    for layout in family.layouts:
        wanted = expand(layout, tower)
        names = {name for one in wanted.values() for name in one.names}
        for prefix in layout.prefixes:
            n_present = sum(prefix + name in tensors for name in names)
            if n_present:
                candidates.append((layout, prefix, wanted, f"{n_present} of {len(names)}"))
    if len(candidates) != 1:
        raise ambiguous(family, checkpoint, [(prefix, n) for _, prefix, _, n in candidates])
    layout, prefix, wanted, _ = candidates[0]
    found = {
        ours: replace(one, names=tuple(prefix + name for name in one.names))
        for ours, one in wanted.items()
    }
    check_stored(found, tower, checkpoint, layout, prefix)
    return found


def expand(layout: Layout, tower: Vit) -> dict[str, Stored]:
    """Where each of the tower's tensors lies in this layout, without prefix."""
    return {name: stored(layout, name) for name in tower.state_dict()}


def stored(layout: Layout, name: str) -> Stored:
    """Where the tensor of that name of ours lies, without prefix."""
    match = re.match(r"blocks\.(\d+)\.", name)
    number = match[1] if match else ""
    general = f"blocks.*.{name[match.end() :]}" if match else name
    module, _, kind = general.rpartition(".")
    value, ending = (
        (layout.keys[general], "") if general in layout.keys else (layout.keys[module], f".{kind}")
    )
    if not isinstance(value, Stored):
        value = Stored((value,) if isinstance(value, str) else value)
    return replace(value, names=tuple(one.replace("*", number) + ending for one in value.names))


def ambiguous(
    family: Family, checkpoint: TensorSource, found: list[tuple[str, str]]
) -> WeightsError:
    """The error for a checkpoint that holds the tower under no known prefix, or under several."""
    if found:
        places = " and ".join(f"{n} tensors under {prefix!r}" for prefix, n in found)
        return WeightsError(
            f"Expected one {family.name} tower in {checkpoint.source}, but found {places}. It "
            "cannot be told which one is used: remove one, or use the original repository."
        )
    shown = ", ".join(sorted(checkpoint.tensors)[:4]) or "no tensors"
    return WeightsError(
        f"Expected a {family.name} tower in {checkpoint.source}, under one of the prefixes "
        f"{', '.join(map(repr, family.prefixes))}, but found none of its tensors (there are "
        f"{shown}, ...). Is this a text-only checkpoint, or one of another family?"
    )


def check_stored(
    found: Mapping[str, Stored],
    tower: Vit,
    checkpoint: TensorSource,
    layout: Layout,
    prefix: str,
) -> None:
    """Refuse names, shapes and types under the prefix that are not those of the tower."""
    shapes = {
        name: one.form.stored(tuple(tensor.shape), len(one.names))
        for one, tensor in ((found[ours], t) for ours, t in tower.state_dict().items())
        for name in one.names
    }
    tensors = checkpoint.tensors
    beside = {name for name in tensors if name.startswith(prefix) and name not in shapes}
    aside = {
        name
        for name in beside
        if any(fnmatchcase(name.removeprefix(prefix), pattern) for pattern in layout.aside)
    }
    present = {name: tensors[name] for name in shapes if name in tensors}
    refuse(
        checkpoint.source,
        missing=shapes.keys() - present.keys(),
        unexpected=beside - aside,
        misshapen=[
            f"{name} {tuple(one.shape)} instead of {shapes[name]}"
            for name, one in present.items()
            if tuple(one.shape) != shapes[name]
        ],
        quantised=[
            f"{name} of type {one.dtype}"
            for name, one in present.items()
            if one.dtype not in NUMBERS
        ],
    )
    for pattern, reason in layout.aside.items():
        if any(fnmatchcase(name.removeprefix(prefix), pattern) for name in aside):
            logger.debug("%s: %s is left aside: %s.", checkpoint.source, prefix + pattern, reason)
