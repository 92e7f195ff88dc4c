"""How far two towers are apart, tensor by tensor, under the names of our own `Vit`.

The measure is the distance of the aligned entries relative to the size of the candidate's,
||post - pre|| / ||pre||, pooled over a block, a kind of module or the whole tower.

What an unrelated tower would show is known without drawing one: if the candidate's entries stood
in random order inside each tensor, the expected squared distance would be
sum(post^2) + sum(pre^2) - 2 sum(post) sum(pre) / n. Its root over ||pre|| is the floor. Values and
norms are the candidate's own, so norms near 1 and biases near 0 do not pass for kinship, as they
do in a cosine.

Sums are float64, over one piece of one tensor at a time.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = [
    "COVERED",
    "KINDS",
    "RELATED",
    "STATES",
    "Comparison",
    "Kind",
    "State",
    "Sums",
    "TensorRecord",
    "compare",
]

Kind = Literal["patch embedding", "positions", "attention", "mlp", "norms"]
State = Literal["identical", "rounded", "renamed", "changed", "misshapen", "post only", "pre only"]

KINDS: tuple[Kind, ...] = ("patch embedding", "positions", "attention", "mlp", "norms")
STATES: dict[State, str] = {
    "identical": "the same bytes under the same name",
    "rounded": "the candidate's values rounded to float16 or bfloat16",
    "renamed": "the same bytes under another name",
    "changed": "the same name and shape, other values",
    "misshapen": "the same name, another shape",
    "post only": "absent from the candidate",
    "pre only": "absent from the post side",
}
"""What can become of a tensor, in words."""

RELATED = 0.95
"""Distance over floor up to which a candidate counts as kin.

Small towers trained apart measured 0.997 to 1.002, different blocks of one tower 0.96 to 0.98, a
tower before and after training 0.2. A shared random start shows too: 0.65."""

COVERED = 0.5
"""Share of the post side's entries that a candidate must align with to be ranked at all."""

PIECE = 1 << 20

Values = Shaped[Tensor, "*shape"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over aligned entries, a of post and b of pre; those of several tensors add up.

    Attributes:
        n: Number of entries.
        difference: Sum of (a - b)^2.
        post: Sum of a^2.
        pre: Sum of b^2.
        product: Sum of a b.
        shuffled: Expected sum of (a - b)^2 with b in random order.
    """

    n: int = 0
    difference: float = 0.0
    post: float = 0.0
    pre: float = 0.0
    product: float = 0.0
    shuffled: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.n + other.n,
            self.difference + other.difference,
            self.post + other.post,
            self.pre + other.pre,
            self.product + other.product,
            self.shuffled + other.shuffled,
        )

    @property
    def distance(self) -> float:
        """||post - pre|| / ||pre||; infinite where pre is zero and post is not."""
        return _root_ratio(self.difference, self.pre)

    @property
    def floor(self) -> float:
        """The distance that chance would give."""
        return _root_ratio(self.shuffled, self.pre)

    @property
    def share(self) -> float:
        """Distance over floor: 0 for the same weights, about 1 for unrelated ones."""
        return _root_ratio(self.difference, self.shuffled)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between post and pre; NaN where one of them is zero."""
        size = math.sqrt(self.post * self.pre)
        return self.product / size if size else math.nan


def _root_ratio(above: float, below: float) -> float:
    """The root of a ratio, in which nothing over nothing is 0."""
    if above == 0:
        return 0.0
    return math.sqrt(above / below) if below else math.inf


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What became of one tensor.

    Attributes:
        name: Canonical name, on the post side unless only the candidate has it.
        block: Block number; None before the first block.
        kind: Kind of module.
        state: A key of `STATES`.
        n: Number of entries.
        sums: Sums over the aligned entries; None if nothing is aligned.
        origin: Name on the candidate's side, where `renamed`.
    """

    name: str
    block: int | None
    kind: Kind
    state: State
    n: int
    sums: Sums | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A post side and one candidate.

    Attributes:
        candidate: Name of the candidate.
        tensors: Those of the post side in their order, then those that only the candidate has.
        switches: Where the two configurations differ: pre's and post's value by field.
        total: Sums over all aligned tensors.
    """

    candidate: str
    tensors: tuple[TensorRecord, ...]
    switches: Mapping[str, tuple[object, object]]
    total: Sums

    @property
    def counts(self) -> dict[State, int]:
        """Number of tensors by state."""
        found = Counter(record.state for record in self.tensors)
        return {state: found[state] for state in STATES}

    @property
    def coverage(self) -> float:
        """Share of the post side's entries that are aligned with the candidate's."""
        whole = sum(record.n for record in self.tensors if record.state != "pre only")
        return self.total.n / whole if whole else 0.0

    def sums(self, wanted: Callable[[TensorRecord], bool]) -> Sums:
        """Sums over the aligned tensors that are wanted."""
        return _together(record for record in self.tensors if wanted(record))

    @property
    def depths(self) -> list[int | None]:
        """Blocks with aligned tensors in order, None first for what stands before the blocks."""
        found = {record.block for record in self.tensors if record.sums}
        return sorted(found, key=lambda block: -1 if block is None else block)

    @property
    def ranked(self) -> bool:
        """Whether enough of the post side is aligned to rank this candidate."""
        return self.coverage >= COVERED

    @property
    def related(self) -> bool:
        """Whether the candidate is nearer than chance."""
        return self.ranked and self.total.share <= RELATED

    @property
    def same_weights(self) -> bool:
        """Whether every tensor of either side is the same bytes under the same name."""
        return all(record.state == "identical" for record in self.tensors)

    @property
    def identical(self) -> bool:
        """Whether weights and configuration are the same, so that every delta is exactly 0."""
        return self.same_weights and not self.switches


def compare(
    post: Mapping[str, Tensor],
    pre: Mapping[str, Tensor],
    *,
    candidate: str,
    switches: Mapping[str, tuple[object, object]] | None = None,
) -> Comparison:
    """Compare two state dictionaries in our own names.

    Args:
        post: Tensors of the post side. Each is read once, and once more if it does not match.
        pre: Tensors of the candidate.
        candidate: Its name.
        switches: Where the configurations differ.

    Returns:
        What became of every tensor. One that stands under another name in the candidate counts
        as aligned with it: where weights come from does not depend on what they are called.
    """
    records = {name: _record(name, tensor, pre.get(name)) for name, tensor in post.items()}
    origins = _renamed(post, pre, records)
    for name, origin in origins.items():
        tensor = post[name]
        records[name] = _described(name, "renamed", tensor, _sums(tensor, pre[origin]), origin)
    absent = [name for name in pre if name not in post and name not in origins.values()]
    tensors = (
        *records.values(),
        *(_described(name, "pre only", pre[name]) for name in absent),
    )
    return Comparison(candidate, tensors, dict(switches or {}), _together(tensors))


def _together(records: Iterable[TensorRecord]) -> Sums:
    """Sums over the records that are aligned."""
    return sum((record.sums for record in records if record.sums), Sums())


def _record(name: str, a: Tensor, b: Tensor | None) -> TensorRecord:
    """One tensor of the post side and the candidate's tensor of the same name."""
    if b is None:
        return _described(name, "post only", a)
    if a.shape != b.shape:
        return _described(name, "misshapen", a)
    a, b = a.float(), b.float()
    state: State
    if torch.equal(a, b):
        state = "identical"
    elif any(torch.equal(a, b.to(half).float()) for half in (torch.float16, torch.bfloat16)):
        state = "rounded"
    else:
        state = "changed"
    return _described(name, state, a, _sums(a, b))


def _described(
    name: str, state: State, tensor: Tensor, sums: Sums | None = None, origin: str | None = None
) -> TensorRecord:
    """The record of a tensor, placed by its name."""
    return TensorRecord(name, *_place(name), state, tensor.numel(), sums, origin)


def _place(name: str) -> tuple[int | None, Kind]:
    """Block number and kind of module of a canonical name."""
    match = re.match(r"blocks\.(\d+)\.(\w+)", name)
    if match:
        kinds: dict[str, Kind] = {"attn": "attention", "mlp": "mlp"}
        return int(match[1]), kinds.get(match[2], "norms")
    if name.startswith(("patch_embed", "stem")):
        return None, "patch embedding"
    return None, "positions" if name in ("cls", "positions") else "norms"


def _sums(a: Values, b: Values) -> Sums:
    """Sums over all entries of two tensors of one shape."""
    n = a.numel()
    total_a = total_b = 0.0
    sums = Sums()
    for x, y in zip(a.flatten().split(PIECE), b.flatten().split(PIECE), strict=True):
        x, y = x.double(), y.double()
        gap = x - y
        total_a += float(x.sum())
        total_b += float(y.sum())
        sums += Sums(len(x), float(gap @ gap), float(x @ x), float(y @ y), float(x @ y))
    expected = sums.post + sums.pre - 2 * total_a * total_b / n if n else 0.0
    return sums + Sums(shuffled=max(expected, 0.0))


def _renamed(
    post: Mapping[str, Tensor], pre: Mapping[str, Tensor], records: Mapping[str, TensorRecord]
) -> dict[str, str]:
    """Names in the candidate of tensors that stand there under another name.

    Constant tensors are left out: zeros and ones are not evidence of anything.
    """
    kept = ("identical", "rounded")
    free = {name for name in pre if name not in records or records[name].state not in kept}
    lost = [name for name, record in records.items() if record.state not in kept]
    shapes = {tuple(pre[name].shape) for name in free} & {tuple(post[name].shape) for name in lost}
    known: dict[bytes, list[str]] = {}
    for name in sorted(free):
        if tuple(pre[name].shape) in shapes and not _constant(pre[name]):
            known.setdefault(_fingerprint(pre[name]), []).append(name)
    origins = {}
    for name in lost:
        if tuple(post[name].shape) in shapes and (found := known.get(_fingerprint(post[name]))):
            origins[name] = found.pop(0)
    return origins


def _constant(tensor: Values) -> bool:
    """Whether all entries are the same."""
    return tensor.numel() == 0 or bool((tensor == tensor.flatten()[0]).all())


def _fingerprint(tensor: Values) -> bytes:
    """A digest of shape and float32 values."""
    values = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.blake2b(values, salt=b"tensor").digest() + repr(values.shape).encode()
