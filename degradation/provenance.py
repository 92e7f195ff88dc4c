"""Where a tower comes from, read off its weights.

A post side is compared with candidate pre sides (see `weight_distance`); it descends from the
nearest, if that is nearer than chance. Equal weights and configurations give equal features, so
every delta is exactly 0; how much any other distance matters is what probes are for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from degradation.encoders.encoder import Encoder, Origin
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.vit import Vit
from degradation.errors import ConfigError
from degradation.weight_distance import Comparison, compare

__all__ = ["Check", "Provenance", "check_same", "trace"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """A post side and all its candidates.

    Attributes:
        post: Name of the post side.
        comparisons: Nearest first, candidates that cannot be ranked last.
        sources: Where published weights were read from, by encoder.
    """

    post: str
    comparisons: tuple[Comparison, ...]
    sources: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def origins(self) -> tuple[str, ...]:
        """The nearest candidate if it is nearer than chance; several if equally near; or none."""
        related = [one for one in self.comparisons if one.related]
        return tuple(one.candidate for one in related if one.total.share == related[0].total.share)

    @property
    def margin(self) -> float | None:
        """By how much the runner-up is farther, as a share of its distance; None without one."""
        ranked = [one.total.share for one in self.comparisons if one.ranked]
        rest = ranked[max(1, len(self.origins)) :]
        return 1 - ranked[0] / rest[0] if rest else None


@dataclass(frozen=True, slots=True)
class Check:
    """A self-test: tensors that are known to be equal on both sides.

    Attributes:
        prefix: Of their canonical names; empty for the whole tower.
        n: Number of tensors with that prefix.
        same: How many of them are identical, or equal up to rounding.
        rounded: How many of these are equal only up to rounding.
    """

    prefix: str
    n: int
    same: int
    rounded: int

    @property
    def passed(self) -> bool:
        """Whether there are such tensors and all are equal."""
        return 0 < self.n == self.same


def trace(post: Encoder, candidates: Iterable[Encoder]) -> Provenance:
    """Compare a post side with candidates, each of which may be loaded when its turn comes.

    Args:
        post: The encoder whose origin is asked for.
        candidates: Encoders that it may descend from, at least one.

    Raises:
        ConfigError: An encoder is not one of our own towers, or there are no candidates.
    """
    tower = _own_tower(post)
    comparisons = []
    sources = {post.info.name: post.info.origin}
    for encoder in candidates:
        comparisons.append(_against(tower, encoder))
        sources[encoder.info.name] = encoder.info.origin
        del encoder  # the next one is loaded before this name is bound again
    if not comparisons:
        raise ConfigError(
            f"Expected candidates from which {post.info.name} may descend, found none. "
            "Name them with --candidate."
        )
    comparisons.sort(key=lambda one: (not one.ranked, one.total.share))
    return Provenance(
        post=post.info.name,
        comparisons=tuple(comparisons),
        sources={name: origin for name, origin in sources.items() if origin},
    )


def _against(post: Vit, candidate: Encoder) -> Comparison:
    """The comparison with one candidate."""
    pre = _own_tower(candidate)
    return compare(
        post.state_dict(),
        pre.state_dict(),
        candidate=candidate.info.name,
        switches=_differences(pre, post),
    )


def _own_tower(encoder: Encoder) -> Vit:
    """The tower of an encoder, if its tensors have our own names."""
    tower = encoder.tower if isinstance(encoder, FrozenEncoder) else None
    if not isinstance(tower, Vit):
        raise ConfigError(
            f"Weights are compared under the names of sdiag's own towers, but {encoder.info.name} "
            f"is a {type(tower or encoder).__name__}. Use its catalogue name, as in "
            "clip-l-336@FOLDER; `sdiag encoders` lists them."
        )
    return tower


def _differences(pre: Vit, post: Vit) -> dict[str, tuple[object, object]]:
    """Fields of the configurations that differ."""
    before, after = asdict(pre.config), asdict(post.config)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def check_same(comparison: Comparison, prefixes: Sequence[str]) -> tuple[Check, ...]:
    """Run the self-tests of a pair.

    Args:
        comparison: The post side and the pair's own pre side.
        prefixes: Of canonical names of tensors that are known to be equal; empty for all.
    """
    checks = []
    for prefix in prefixes:
        states = [one.state for one in comparison.tensors if one.name.startswith(prefix)]
        same = [state for state in states if state in ("identical", "rounded")]
        checks.append(Check(prefix, len(states), len(same), same.count("rounded")))
    return tuple(checks)
