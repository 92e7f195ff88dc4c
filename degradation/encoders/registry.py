"""Names of encoders and pairs. Listing needs no torch; loading imports what the name needs.

tiny:SIDE      the small transformer that ships: pre, post, step-000400, ...
KIND:post      a planted operation on tiny:pre: identity, rotation, erased, folded, noise
open_clip:...  timm:...  hf:...  through their own libraries (see `external`)
"""

from pathlib import Path
from typing import TYPE_CHECKING

from degradation.encoders.names import unknown_name
from degradation.encoders.pair import Pair
from degradation.encoders.shipped import tiny_steps

if TYPE_CHECKING:
    from degradation.encoders.encoder import Encoder

__all__ = ["EXTERNAL", "PLANTED", "get_pair", "load_encoder", "pair_of", "pairs"]

EXTERNAL = ("open_clip", "timm", "hf")
PLANTED = {
    "identity": "tiny:pre itself; every delta is exactly 0.",
    "rotation": "tiny:pre in another orthonormal basis: drift without loss.",
    "erased": "tiny:pre with the linear subspace of expression removed from every block (LEACE).",
    "folded": "tiny:pre with expression kept, but moved out of the reach of linear probes.",
    "noise": "tiny:pre plus one Gaussian vector per picture, of twice the features' deviation.",
}
TINY = "trained inside a small vision-language model on captions that name nothing social"


def load_encoder(name: str, *, device: str = "cpu", folder: Path | None = None) -> "Encoder":
    """The frozen encoder of that name, on a device.

    Args:
        name: As listed above.
        device: As torch writes it: `cpu`, `cuda:1`.
        folder: Folder of tiny weights in place of the shipped one.

    Raises:
        ConfigError: No encoder has that name.
        WeightsError: Its weights are missing or do not fit.
    """
    family, _, side = name.partition(":")
    if family in EXTERNAL and side:
        from degradation.encoders.external import load_external

        return load_external(name).to(device)
    if name not in own_encoders(folder):
        raise unknown_name(
            "encoder", name, [*own_encoders(folder), *(f"{e}:..." for e in EXTERNAL)]
        )
    if family == "tiny":
        from degradation.encoders.tiny import load_tiny

        return load_tiny(side, folder).to(device)
    from degradation.encoders.planted import load_planted

    return load_planted(family, folder).to(device)


def own_encoders(folder: Path | None = None) -> list[str]:
    """Names of the encoders that ship."""
    sides = ["pre", "post", *tiny_steps(folder)]
    return [f"tiny:{side}" for side in sides] + [f"{kind}:post" for kind in PLANTED]


def pairs(folder: Path | None = None) -> dict[str, Pair]:
    """The registered pairs by name: tiny, its checkpoints on the way, and the planted ones.

    Args:
        folder: Folder of tiny weights in place of the shipped one.
    """
    source = "the recipe in this package, `sdiag scenes train`"
    tiny = {"tiny": ("tiny:post", f"tiny:pre, {TINY}.")}
    for step in tiny_steps(folder):
        number = step.removeprefix("step-")
        lineage = f"tiny:pre after {int(number)} steps of being {TINY}."
        tiny[f"tiny@{number}"] = (f"tiny:{step}", lineage)
    planted = {kind: (f"{kind}:post", lineage) for kind, lineage in PLANTED.items()}
    return {
        name: Pair(name=name, pre="tiny:pre", post=post, lineage=lineage, source=source)
        for name, (post, lineage) in (tiny | planted).items()
    }


def get_pair(name: str, folder: Path | None = None) -> Pair:
    """The registered pair of that name; `ConfigError` with the nearest names if there is none."""
    known = pairs(folder)
    if name not in known:
        raise unknown_name("pair", name, known)
    return known[name]


def pair_of(pre: str, post: str, name: str | None = None) -> Pair:
    """A pair of any two encoders; its name is `PRE..POST` unless given."""
    return Pair(
        name=name or f"{pre}..{post}",
        pre=pre,
        post=post,
        lineage=f"{pre} and {post}, as named by the user.",
        source="the command line",
    )
