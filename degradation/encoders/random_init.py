"""Names of towers with fresh weights: what an architecture lets a probe read before any training.

`random:NAME` is the architecture of the encoder NAME, frozen at weights drawn from a fixed seed;
trained ones are not read, only the configuration is. What a probe reads from it comes from the
wiring alone, which is more than nothing: convolutions and attention of random weights keep much of
a picture (Jarrett et al. 2009, ICCV; Zhang & Bowman 2018, arXiv 1809.10040). A trained tower
should be held against that rather than against chance.

Towers of our own class are drawn by `Vit.initialise`: Glorot's normal distribution, as of the
first vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929, their code), biases 0, norms
and layer scales the identity. Towers of a library are as the library initialises them. The digest
of such an encoder is over the weights drawn, as of every other.

Left out: planted operations, which were fitted on trained weights and have no architecture.
"""

from degradation.encoders.catalogue import canonical

__all__ = ["RANDOM", "SEED", "random_name", "without_random"]

RANDOM = "random:"
SEED = 0


def random_name(name: str) -> str:
    """Name of the tower of the same architecture with fresh weights.

    Encoders with several names have one such tower.

    Example:
        >>> random_name("tiny:pre"), random_name("random:tiny:pre")
        ('random:tiny:pre', 'random:tiny:pre')
    """
    return f"{RANDOM}{canonical(without_random(name)[0])}"


def without_random(name: str) -> tuple[str, int | None]:
    """The encoder that gives the architecture, and the seed of its weights if they are fresh."""
    return (name.removeprefix(RANDOM), SEED) if name.startswith(RANDOM) else (name, None)
