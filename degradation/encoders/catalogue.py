"""The catalogue: published encoders, and pairs before and after visual-linguistic pre-training.

Plain data, so that listing needs neither torch nor a network.

    clip-l-336                 an encoder by its own name
    qwen2-vl:post              the post side of the pair `qwen2-vl`; `:pre` likewise
    qwen2-vl:post@FOLDER       the same from a folder, or from another hub repository

A side resolves to the encoder's own name, so pairs that share a pre side share its features.
"""

from degradation.encoders import catalogue_models, catalogue_pairs, catalogue_sources
from degradation.encoders.catalogue_row import EncoderRow, PairRow

__all__ = ["ENCODERS", "PAIRS", "EncoderRow", "PairRow", "canonical", "find_encoder", "find_pair"]

ENCODERS: dict[str, EncoderRow] = {
    row.name: row for row in (*catalogue_sources.ROWS, *catalogue_models.ROWS)
}
"""All catalogued encoders by name: first those before, then those out of a larger model."""

PAIRS: dict[str, PairRow] = {row.name: row for row in catalogue_pairs.ROWS}
"""All catalogued pairs by name."""


def find_encoder(name: str) -> EncoderRow | None:
    """The row that a name means; None if it means none.

    Args:
        name: An encoder's own name or `PAIR:pre`, `PAIR:post`; what follows an `@` is ignored.
    """
    base = name.partition("@")[0]
    pair, _, side = base.partition(":")
    if pair in PAIRS and side in ("pre", "post"):
        row = PAIRS[pair]
        base = row.pre if side == "pre" else row.post
    return ENCODERS.get(base)


def canonical(name: str) -> str:
    """The encoder's own name and its place, as in `dfn-h-378@FOLDER`; other names unchanged."""
    row, (_, at, place) = find_encoder(name), name.partition("@")
    return f"{row.name}{at}{place}" if row else name


def find_pair(pre: str, post: str) -> PairRow | None:
    """The pair that two encoders make, wherever they lie; None if they make none."""
    before, after = find_encoder(pre), find_encoder(post)
    if before and after:
        for row in PAIRS.values():
            if (row.pre, row.post) == (before.name, after.name):
                return row
    return None
