"""Names of encoders and pairs. Listing needs no torch; loading imports what the name needs.

tiny:SIDE      the small transformer that ships: pre, post, step-000400, ...
KIND:post      a planted operation on tiny:pre: identity, rotation, erased, folded, noise
clip-l-336 ... qwen2-vl:post, qwen2-vl:post@FOLDER ... published encoders (see `catalogue`)
open_clip:...  timm:...  hf:...  through their own libraries (see `external`)
random:NAME    the architecture of any of these with fresh weights (see `random_init`)
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degradation.encoders.catalogue import (
    ENCODERS,
    PAIRS,
    canonical,
    find_encoder,
    find_pair,
)
from degradation.encoders.names import unknown_name
from degradation.encoders.pair import Pair
from degradation.encoders.random_init import RANDOM, random_name, without_random
from degradation.encoders.shipped import tiny_steps
from degradation.errors import ConfigError

if TYPE_CHECKING:
    from degradation.encoders.encoder import Encoder
    from degradation.encoders.positions import Interpolation

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


def load_encoder(
    name: str,
    *,
    device: str = "cpu",
    folder: Path | None = None,
    weights: Path | None = None,
    size: int | None = None,
    interpolation: "Interpolation | None" = None,
    any_grid: bool = False,
    final_norm: bool = False,
    revision: str | None = None,
    offline: bool = False,
) -> "Encoder":
    """The frozen encoder of that name, on a device.

    Args:
        name: As listed above.
        device: As torch writes it: `cpu`, `cuda:1`.
        folder: Folder of tiny weights in place of the shipped one.
        weights: Folder in which published repositories are looked for first, as `ORG/NAME` or
            `NAME`; `$SDIAG_WEIGHTS` if None.
        size: Picture side in pixels for a published encoder; its native side if None.
        interpolation: How its table of positions is brought to that side; None refuses to.
        any_grid: Whether it is to take pictures of any shape; published encoders only.
        final_norm: Whether the output of its last block goes through the norm that the rest of
            its model applies to it, if any; published encoders only.
        revision: Commit hash, tag or branch of a published encoder's repository; None for the
            one that the hub's cache holds, else the newest.
        offline: Make no request to the hub; also so if HF_HUB_OFFLINE is set.

    Raises:
        ConfigError: No encoder has that name, it cannot take such pictures, or a revision is given
            for one that is not published.
        WeightsError: Its weights are missing or do not fit.
    """
    base, seed = without_random(name)
    if find_encoder(base):
        encoder = load_published(
            canonical(base),
            weights,
            revision=revision,
            offline=offline,
            size=size,
            interpolation=interpolation,
            any_grid=any_grid,
            final_norm=final_norm,
            seed=seed,
        )
    else:
        check_unpublished(name, folder)
        if revision is not None:
            raise ConfigError(
                f"Expected a revision for published encoders only, but {name} got {revision}. "
                "`sdiag encoders` lists those that have one."
            )
        if any_grid or final_norm:
            raise uncatalogued(name, "--geometry native" if any_grid else "--stage native_norm")
        encoder = load_unpublished(base, folder, offline=offline, seed=seed)
    if seed is not None:
        encoder.info = replace(encoder.info, name=random_name(name))
    return encoder.to(device)


def check_unpublished(name: str, folder: Path | None) -> None:
    """Raise `ConfigError` unless an encoder has that name that ships or comes through a library."""
    base, seed = without_random(name)
    family, _, side = base.partition(":")
    own = own_encoders(folder)
    if base not in own and not (family in EXTERNAL and side):
        others = [*(f"{library}:..." for library in EXTERNAL), f"{RANDOM}..."]
        raise unlisted("encoder", name, [*own, *others, *ENCODERS])
    if seed is not None and family in PLANTED:
        raise ConfigError(
            f"Expected an encoder with an architecture of its own after {RANDOM}, found {base}, "
            f"which is an operation on tiny:pre. Use {RANDOM}tiny:pre."
        )


def load_unpublished(
    name: str, folder: Path | None, *, offline: bool, seed: int | None
) -> "Encoder":
    """The frozen encoder of a name that `check_unpublished` lets pass, without its `random:`.

    Args:
        name: Of an encoder that ships, or of a library.
        folder: As for `load_encoder`.
        offline: As for `load_encoder`.
        seed: Of fresh weights; None for the trained ones.
    """
    family, _, side = name.partition(":")
    if family in EXTERNAL:
        from degradation.encoders.external import load_external

        return load_external(name, offline=offline, seed=seed)
    if family == "tiny":
        from degradation.encoders.tiny import load_tiny, random_tiny

        return load_tiny(side, folder) if seed is None else random_tiny(side, folder, seed=seed)
    from degradation.encoders.planted import load_planted

    return load_planted(family, folder)


def load_published(
    name: str,
    weights: Path | None,
    *,
    revision: str | None,
    offline: bool,
    seed: int | None,
    **options: Any,
) -> "Encoder":
    """The frozen encoder of a catalogue row, which tells where it was read from.

    Args:
        name: The row's own name; after an `@`, the folder or hub repository in place of its own.
        weights: As for `load_encoder`.
        revision: As for `load_encoder`.
        offline: As for `load_encoder`.
        seed: Of fresh weights, for which the configuration alone is read; None for the trained
            ones.
        options: Of `load_family`: size, interpolation, any_grid, final_norm.
    """
    from degradation.encoders.checkpoint import open_checkpoint, open_configuration
    from degradation.encoders.encoder import Origin
    from degradation.encoders.families import FAMILIES, load_family

    row, place = find_encoder(name), name.partition("@")[2]
    prefixes = FAMILIES[row.family].prefixes
    where = {
        "files": None if place else row.files or None,
        "revision": revision,
        "offline": offline,
        "root": weights,
    }
    checkpoint = (
        open_checkpoint(place or row.repo, **where, prefixes=prefixes if all(prefixes) else ())
        if seed is None
        else open_configuration(place or row.repo, **where)
    )
    encoder = load_family(
        row.family,
        checkpoint,
        name,
        **options,
        seed=seed,
        expected={
            "width": row.width,
            "depth": row.blocks,
            "patch": row.patch,
            "activation": row.activation,
        },
    )
    origin = Origin(place or row.repo, checkpoint.revision, checkpoint.files)
    encoder.info = replace(encoder.info, origin=origin)
    return encoder


def unlisted(kind: str, name: str, known: list[str]) -> ConfigError:
    """The error for an unknown name, which says where all names are listed."""
    error = unknown_name(kind, name, known, shown=12)
    return ConfigError(f"{error} `sdiag encoders` lists them all.")


def uncatalogued(name: str, option: str) -> ConfigError:
    """The error for an option that needs facts which only the catalogue has."""
    return ConfigError(
        f"Expected a published encoder for {option}, found {name}. Choose those that "
        "`sdiag encoders` lists, or leave the option out."
    )


def own_encoders(folder: Path | None = None) -> list[str]:
    """Names of the encoders that ship."""
    sides = ["pre", "post", *tiny_steps(folder)]
    return [f"tiny:{side}" for side in sides] + [f"{kind}:post" for kind in PLANTED]


def pairs(folder: Path | None = None) -> dict[str, Pair]:
    """The pairs that ship, by name: tiny, its checkpoints on the way, and the planted ones.

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
    """The pair of that name, shipped or published; `ConfigError` with the nearest if none."""
    if name in PAIRS:
        return PAIRS[name].pair
    shipped = pairs(folder)
    if name not in shipped:
        raise unlisted("pair", name, [*shipped, *PAIRS])
    return shipped[name]


def pair_of(pre: str, post: str, name: str | None = None) -> Pair:
    """A pair of any two encoders; its name is `PRE..POST` unless given.

    Two encoders that make a published pair keep its lineage and its block, wherever they lie.
    """
    name = name or f"{pre}..{post}"
    if row := find_pair(pre, post):
        return replace(row.pair, name=name, pre=pre, post=post)
    return Pair(
        name=name,
        pre=pre,
        post=post,
        lineage=f"{pre} and {post}, as named by the user.",
        source="the command line",
    )
