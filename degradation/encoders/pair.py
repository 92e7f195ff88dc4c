"""What a pair is. Apart from the encoder contract, so that listing pairs needs no torch."""

from dataclasses import dataclass

__all__ = ["Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """An encoder before and after visual-linguistic pre-training.

    Attributes:
        name: As typed on the command line, for example `tiny`.
        pre: Encoder name before.
        post: Encoder name after.
        lineage: One sentence: how post came from pre.
        source: Where that is stated.
        block: Block of the confirmatory comparison (the deepest that the language model reads);
            None for the last.
    """

    name: str
    pre: str
    post: str
    lineage: str
    source: str
    block: int | None = None
