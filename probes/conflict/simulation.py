"""Gradients with a known cosine under noise, to see whether intervals cover (see the benchmark).

Noise has a spectrum as gradients have it, few directions large and many small (variance 1 / k in
the k-th), and may be shared by two tasks that see the same pictures.
"""

import numpy as np
from jaxtyping import Float64

from probes.conflict.leaves import Leaf
from probes.conflict.products import Products

__all__ = ["noisy_gradients", "products_of"]

KINDS = ("attention", "mlp", "norm")


def noisy_gradients(
    cosine: float,
    signal: tuple[float, float],
    batches: int,
    *,
    rng: np.random.Generator,
    width: int = 300,
    shared: float = 0.0,
    heavy: bool = False,
) -> Float64[np.ndarray, "2 M p"]:
    """Batch gradients of two tasks whose expected gradients have norm 1 and a known cosine.

    Args:
        cosine: Of the expected gradients.
        signal: Squared norm of the expected gradient over the mean squared norm of the noise of a
            batch, of either task.
        batches: M.
        rng: Source of the noise.
        width: Parameters p.
        shared: Correlation of the noise of both tasks in a batch of one number.
        heavy: Student's t with three degrees of freedom and batches of unequal noise (lognormal
            with deviation 0.5), in place of normal noise.
    """
    noise = rng.standard_t(3, (2, batches, width)) / np.sqrt(3) if heavy else None
    if noise is None:
        noise = rng.normal(size=(2, batches, width))
    noise[1] = shared * noise[0] + np.sqrt(1 - shared**2) * noise[1]
    if heavy:
        noise *= rng.lognormal(-0.25, 0.5, (2, batches, 1))
    variance = 1 / np.arange(1, width + 1)
    noise *= np.sqrt(variance / variance.sum())
    expected = np.zeros((2, 1, width))
    # Not along the noisiest direction, but where noise is neither large nor small.
    expected[0, 0, 5] = 1
    expected[1, 0, 5:7] = cosine, np.sqrt(1 - cosine**2)
    return expected + noise / np.sqrt(np.array(signal))[:, None, None]


def products_of(gradients: Float64[np.ndarray, "T M p"], *, leaves: int = 1) -> Products:
    """Exact products of gradients that are held, by direct sums; leaves are equal stretches."""
    tasks, batches, width = gradients.shape
    cut = gradients.reshape(tasks, batches, leaves, width // leaves)
    gram = np.einsum("imgp,jngp->gimjn", cut, cut, optimize=True)
    sums = cut.sum(axis=1)
    return Products(
        tasks=tuple(f"task {number}" for number in range(tasks)),
        leaves=tuple(Leaf(n // len(KINDS), KINDS[n % len(KINDS)]) for n in range(leaves)),
        parameters=(width // leaves,) * leaves,
        cells=(width // leaves,) * leaves,
        total=np.einsum("igp,jgp->gij", sums, sums),
        same=np.ascontiguousarray(np.einsum("gimjm->gmij", gram)),
        following=np.einsum("imgp,imgp->gmi", cut[:, :-1], cut[:, 1:]),
        gram=gram.astype(np.float32),
        losses=np.ones((batches, tasks)),
        exact=True,
        preconditioned=False,
        seed=0,
    )
