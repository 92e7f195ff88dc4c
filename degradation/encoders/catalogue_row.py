"""What a row of the catalogue says, about one encoder and about one pair.

The rows themselves stand in `catalogue_sources` (encoders before), `catalogue_models` (towers out
of vision-language models) and `catalogue_pairs`.
"""

from dataclasses import dataclass
from typing import Literal

from degradation.encoders.pair import Pair
from degradation.geometry import Geometry

__all__ = ["EncoderRow", "PairRow", "Sure"]

Sure = Literal["confirmed", "secondary", "inferred"]
"""How a statement is known: read in a primary source or computed; read in a mirrored or second
source; or concluded from other facts, to be checked with `sdiag provenance`."""

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRow:
    """One published encoder.

    Attributes:
        name: Its own name, as typed on the command line.
        repo: Repository on the Hugging Face hub.
        family: Loader in `degradation.encoders.families`.
        lineage: What it was trained from and on.
        source: Where that is stated.
        sure: How well that is known.
        parameters: Entries of the tower's tensors as stored: patch embedding, positions, blocks;
            without final norm, pooling head, merger or projector.
        dtype: Of the tower's tensors on disk.
        activation: Of the feed-forward part; a configuration that says otherwise is refused.
        blocks: Transformer blocks that are stored.
        width: Token width d.
        patch: Patch side in pixels.
        size: Native picture side in pixels; for towers without positional table the side at which
            their pair is compared.
        native: How its model shows one whole picture to it, tiles and further crops left out;
            where that has a size of its own it says so, elsewhere it is `size`.
        licence: Licence of the weights.
        gated: Whether the hub asks for an agreement and a login.
        files: Weight files or index to read, where they have not the usual names.
        download: Bytes of the file that must be downloaded whole, for pickles; None for
            safetensors, of which only the tower's ranges are fetched.
        notes: What else a user should know.
    """

    name: str
    repo: str
    family: str
    lineage: str
    source: str
    sure: Sure
    parameters: int
    dtype: Literal["float32", "float16", "bfloat16"]
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "swiglu"]
    blocks: int
    width: int
    patch: int
    size: int
    native: Geometry
    licence: str
    gated: bool = False
    files: tuple[str, ...] = ()
    download: int | None = None
    notes: str = ""

    @property
    def bytes_to_read(self) -> int:
        """Bytes of the tower on disk."""
        return self.parameters * BYTES[self.dtype]

    @property
    def needs(self) -> str:
        """What has to be accepted or downloaded before the first use, as one sentence."""
        place = f"huggingface.co/{self.repo}"
        if self.gated:
            return f"Accept the terms at {place} and log in with `hf auth login`."
        whole = "a pickle, whole" if self.download else "the tower alone"
        size = (self.download or self.bytes_to_read) / 1e9
        return f"Downloads {size:.2f} GB ({whole}) from {place} at first use."


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """One pair of published encoders.

    Attributes:
        name: As typed on the command line.
        pre: Name of the encoder before.
        post: Name of the encoder after.
        lineage: One or two sentences: how post came from pre, and what pre is not.
        source: Where that is stated.
        sure: How well it is known that post came from this pre.
        block: Block of the confirmatory comparison: the deepest that the language model reads.
        size: Picture side in pixels at which both sides have the same grid.
        expected_delta: Known in advance, in points; None where it is the question.
        same: Prefixes of canonical tensor names that must be equal on both sides, the self-tests
            of `sdiag provenance`; the empty prefix stands for the whole tower.
        candidates: Other encoders that post may descend from, for `sdiag provenance`.
        notes: What else a user should know.
    """

    name: str
    pre: str
    post: str
    lineage: str
    source: str
    sure: Sure
    block: int
    size: int
    expected_delta: float | None = None
    same: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    notes: str = ""

    @property
    def pair(self) -> Pair:
        """The row as extraction and reports know it."""
        return Pair(
            name=self.name,
            pre=self.pre,
            post=self.post,
            lineage=self.lineage,
            source=f"{self.source} ({self.sure})",
            block=self.block,
        )
