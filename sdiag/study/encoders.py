"""The pairs of a study with every choice made, from what is known without reading weights."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from degradation.encoders.catalogue import find_encoder
from degradation.encoders.pair import Pair
from degradation.encoders.registry import get_pair, load_encoder, pair_of
from degradation.errors import ConfigError
from degradation.geometry import Geometry
from degradation.protocol import Protocol
from sdiag.commands.extract import arm, native_geometry
from sdiag.study.schema import Extract, PairChoice, Study

__all__ = ["EncoderFacts", "StudyPair", "encoder_facts", "parameters_of", "study_pairs"]


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What decides the cost of an encoder.

    Attributes:
        name: As typed.
        blocks: Number of transformer blocks.
        width: Token width d.
        patch: Patch side in pixels.
        size: Native picture side in pixels.
        parameters: Of the tower; 0 where it does not tell.
    """

    name: str
    blocks: int
    width: int
    patch: int
    size: int
    parameters: int

    def tokens(self, size: int | None) -> int:
        """Patch tokens of a picture of this side; of the native one if None."""
        return ((size or self.size) // self.patch) ** 2

    def flops(self, size: int | None) -> float:
        """Operations of a forward pass of one picture.

        Two for each parameter and token, and in each block 4 t^2 d for the two products of
        attention (t tokens; Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Attention within
        windows takes less.
        """
        t = self.tokens(size)
        return 2.0 * self.parameters * t + 4.0 * t * t * self.width * self.blocks


@dataclass(frozen=True, slots=True)
class StudyPair:
    """A pair with nothing left open.

    Attributes:
        pair: Named as in the cache, after the protocol too unless that is the standard one.
        protocol: How pictures become features.
        pre: The encoder before.
        post: The encoder after.
        choice: What the study says, with every default filled in.
    """

    pair: Pair
    protocol: Protocol
    pre: EncoderFacts
    post: EncoderFacts
    choice: PairChoice

    @property
    def name(self) -> str:
        """Of the pair in the cache and in the results."""
        return self.pair.name

    def side(self, name: str) -> EncoderFacts:
        """The encoder of a side."""
        return self.pre if name == "pre" else self.post


@cache
def encoder_facts(name: str, weights: Path | None = None) -> EncoderFacts:
    """Facts about an encoder: from the catalogue, else from its weights, without the network.

    Args:
        name: As typed.
        weights: Folder in which published repositories are looked for first.

    Raises:
        ConfigError: There is no such encoder.
        WeightsError: It is in no catalogue, and its weights are not on this machine.
    """
    row = find_encoder(name)
    if row is not None:
        return EncoderFacts(name, row.blocks, row.width, row.patch, row.size, row.parameters)
    encoder = load_encoder(name, weights=weights, offline=True)
    info = encoder.info
    count = parameters_of(encoder)
    return EncoderFacts(name, info.n_blocks, info.width, info.patch, info.size, count)


def parameters_of(encoder: object) -> int:
    """Entries of the tensors of an encoder; 0 for one that is no module."""
    named = getattr(encoder, "state_dict", None)
    return sum(one.numel() for one in named().values()) if named else 0


def study_pairs(study: Study, weights: Path | None) -> tuple[StudyPair, ...]:
    """The pairs of a study, in order.

    Args:
        study: As read.
        weights: Folder in which published repositories are looked for first.

    Raises:
        ConfigError: No such pair or encoder, a protocol that cannot be, or two pairs of one name.
        WeightsError: An encoder of no catalogue has no weights on this machine.
    """
    found = tuple(_settled(one, study, weights) for one in study.pair)
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"Expected pairs of different names, found {twice[0]} twice. Give one of them another "
            "`name`, with `pre` and `post` in place of `model`."
        )
    return found


def _settled(choice: PairChoice, study: Study, weights: Path | None) -> StudyPair:
    pair = get_pair(choice.model) if choice.model else pair_of(choice.pre, choice.post, choice.name)
    pre, post = (encoder_facts(one, weights) for one in (pair.pre, pair.post))
    blocks = min(pre.blocks, post.blocks)
    declared = blocks - 1 if pair.block is None else pair.block
    native = study.extract.geometry == "native"
    tokens = choice.token_blocks
    if tokens is None:
        tokens = (declared,) if study.reads_tokens else ()
    whole = choice.model_copy(
        update={
            "size": None if native else choice.size or pre.size,
            "blocks": choice.blocks or tuple(range(blocks)),
            "token_blocks": tokens,
        }
    )
    protocol = _protocol(pair.post, choice.size, study.extract)
    return StudyPair(arm(pair, protocol), protocol, pre, post, whole)


def _protocol(post: str, size: int | None, asked: Extract) -> Protocol:
    """The protocol of an extraction, as `sdiag extract` makes it of its options."""
    knobs = {"size": size, "max_pixels": asked.max_pixels}
    given = {name: value for name, value in knobs.items() if value is not None}
    native = asked.geometry == "native"
    return Protocol(
        geometry=native_geometry(post, **given) if native else Geometry(asked.geometry, **given),
        pool=asked.pool,
        normalisation=asked.normalisation,
        positions=asked.positions,
        stage=asked.stage,
    )
