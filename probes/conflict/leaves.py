"""Which part of a model a parameter belongs to, read from its name.

A leaf is the smallest part that is told apart: one kind of module in one block. Everything larger,
a block, a kind, the whole, is a union of leaves, and inner products of gradients over a union are
sums over its leaves; so one pass serves all parts. Names are those of `degradation.encoders.vit`,
of the towers of transformers, open_clip and timm, and of SocialFusion, behind any prefix.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["ALL", "Leaf", "Part", "leaf_of", "leaves_of", "membership", "parts_of"]

ALL = "all"
LORA = "LoRA "
"""First word of the kinds of low-rank updates; the projection follows."""
OWN_PARTS = ("connector", "boxes", "heatmap")
"""Modules of SocialFusion that are a part by themselves, whatever they hold."""
BLOCK = re.compile(r"(?:^|\.)(?:blocks|resblocks|layers|layer)\.(\d+)\.(.+)")
LOW_RANK = re.compile(r"\.([A-Za-z0-9_]+)\.lora_")
# Norms first: the norm before attention is `layernorm_before`, but also `attention_norm`.
KINDS = (
    ("norm", re.compile(r"norm|(?:^|\.)ln_?\d|(?:^|\.)ln_|scale|lambda|(?:^|\.)ls[12]\b|gamma")),
    ("attention", re.compile(r"att")),
    ("mlp", re.compile(r"mlp|fc\d|feed_forward|intermediate|output|w\d+\b")),
)
HEAD = re.compile(r"(?:^|\.)(?:head|pooler|attn_pool|proj)(?:\.|$)")


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """One kind of module in one block.

    Attributes:
        block: From 0; of a low-rank update, the layer of the language model. None outside blocks.
        kind: `attention`, `mlp`, `norm` (layer scales too) or `other` in a block; outside
            `embedding` (all before the blocks), `norm` or `head`; `connector`, `boxes`, `heatmap`;
            and `LoRA q_proj` for the low-rank update of that projection.
    """

    block: int | None
    kind: str

    @property
    def place(self) -> str | None:
        """`block 2`, `layer 2` of the language model, or None outside of both."""
        if self.block is None:
            return None
        return f"{'layer' if self.kind.startswith(LORA) else 'block'} {self.block}"

    @property
    def name(self) -> str:
        """For example `block 2 attention`, or only the kind outside blocks."""
        return self.kind if self.place is None else f"{self.place} {self.kind}"


@dataclass(frozen=True, slots=True)
class Part:
    """A union of leaves.

    Attributes:
        name: `all`, `block 2`, `attention` or `block 2 attention`.
        members: Positions of its leaves among those that it was made from.
    """

    name: str
    members: tuple[int, ...]


def leaf_of(parameter_name: str) -> Leaf:
    """The leaf of one parameter.

    Example:
        >>> leaf_of("encoder.layers.3.self_attn.q_proj.weight").name
        'block 3 attention'
    """
    low_rank = LOW_RANK.search(parameter_name)
    inside = BLOCK.search(parameter_name)
    if low_rank:
        return Leaf(int(inside[1]) if inside else None, LORA + low_rank[1])
    words = parameter_name.split(".")
    own = next((word for word in words if word in OWN_PARTS), None)
    if own:
        return Leaf(None, own)
    if inside:
        kind = next((kind for kind, found in KINDS if found.search(inside[2])), "other")
        return Leaf(int(inside[1]), kind)
    if HEAD.search(parameter_name) and "patch_embed" not in parameter_name:
        return Leaf(None, "head")
    after = re.search(r"post|final|layernorm|(?:^|\.)(?:norm|ln_f)\.", parameter_name)
    return Leaf(None, "norm" if after else "embedding")


def leaves_of(names: Sequence[str]) -> dict[Leaf, tuple[str, ...]]:
    """The parameters of each leaf; leaves in the order in which a parameter first names them."""
    found: dict[Leaf, list[str]] = {}
    for name in names:
        found.setdefault(leaf_of(name), []).append(name)
    return {leaf: tuple(members) for leaf, members in found.items()}


def parts_of(leaves: Sequence[Leaf]) -> tuple[Part, ...]:
    """The whole, then every block, kind and leaf; parts of the same name once."""
    groups: dict[str, dict[int, None]] = {ALL: dict.fromkeys(range(len(leaves)))}
    for names in (
        [leaf.place for leaf in leaves],
        [leaf.kind for leaf in leaves],
        [leaf.name for leaf in leaves],
    ):
        for number, name in enumerate(names):
            if name is not None:
                groups.setdefault(name, {})[number] = None
    return tuple(Part(name, tuple(members)) for name, members in groups.items())


def membership(parts: Sequence[Part], leaves: int) -> Float64[np.ndarray, "parts leaves"]:
    """1 where a part holds a leaf, else 0: sums over parts by one matrix product."""
    table = np.zeros((len(parts), leaves))
    for row, part in enumerate(parts):
        table[row, list(part.members)] = 1
    return table
