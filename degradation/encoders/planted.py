"""Planted pairs: `tiny:pre` after an operation whose effect on every probe is known beforehand.

The operation acts on the output tokens of every block, patches and prefix alike. Each is affine in
the token, with coefficients that may depend on the picture but not on the place, and pooling
weights sum to one: so it acts on pooled features exactly as on tokens.

    identity   nothing: every delta is exactly 0
    rotation   a random orthogonal map: the features drift, no linear readout loses anything
    erased     the linear subspace of a concept removed: lost to every linear probe
    folded     that concept kept, but times a sign per picture that stands elsewhere in the token:
               lost to linear probes, recovered by a small MLP
    noise      a Gaussian vector per picture and block, of twice the features' deviation

What a concept's subspace is, and how large features are, is fitted once on pooled features and
stored in `planted.safetensors` beside the tiny weights.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Num, UInt8
from torch import Tensor, nn

from degradation.encoders.encoder import BlockTokens
from degradation.encoders.erasure import fit_eraser, fit_sign_axis
from degradation.encoders.frozen import FrozenEncoder, check_request
from degradation.encoders.shipped import tiny_folder
from degradation.encoders.tiny import load_tiny
from degradation.encoders.weights import digest, read_safetensors, refuse, write_safetensors
from degradation.errors import DataError, WeightsError

__all__ = ["OPERATIONS", "PlantedEncoder", "fit_planted", "load_planted"]

FILE = "planted.safetensors"
STORED = {
    "identity": (),
    "rotation": (),
    "erased": ("erased.u", "erased.v", "erased.mean"),
    "folded": ("erased.u", "erased.v", "erased.mean", "folded.axis", "folded.scale"),
    "noise": ("noise.std",),
}
NOISE_SCALE = 2.0

Tokens = Float[Tensor, "b t d"]
Factors = nn.ParameterDict


def unchanged(tokens: Tokens, factors: Factors, keys: Sequence[int]) -> Tokens:
    """The tokens themselves."""
    return tokens


def rotated(tokens: Tokens, factors: Factors, keys: Sequence[int]) -> Tokens:
    """The tokens in another orthonormal basis."""
    return tokens @ factors["rotation"]


def erased(tokens: Tokens, factors: Factors, keys: Sequence[int]) -> Tokens:
    """The tokens without the concept: x - u v (x - mean)."""
    return tokens - concept_part(tokens, factors)


def folded(tokens: Tokens, factors: Factors, keys: Sequence[int]) -> Tokens:
    """The concept times a sign, and the sign written along the axis in place of what was there."""
    signs = torch.tensor([1.0 - 2.0 * (key & 1) for key in keys], device=tokens.device)
    signs = signs.view(-1, 1, 1)
    axis = factors["axis"]
    flipped = tokens + (signs - 1) * concept_part(tokens, factors)
    along = (flipped - factors["mean"]) @ axis
    return flipped + (signs * factors["scale"] - along[..., None]) * axis


def noised(tokens: Tokens, factors: Factors, keys: Sequence[int]) -> Tokens:
    """The tokens plus one Gaussian vector per picture; pooling does not average it out."""
    width = tokens.shape[-1]
    # Drawn on the CPU, whose stream is the same everywhere.
    drawn = torch.stack(
        [torch.randn(width, generator=torch.Generator().manual_seed(key)) for key in keys]
    )
    return tokens + drawn.to(tokens.device)[:, None] * factors["std"]


def concept_part(tokens: Tokens, factors: Factors) -> Tokens:
    """What an eraser removes: u v (x - mean)."""
    return (tokens - factors["mean"]) @ factors["v"].T @ factors["u"].T


OPERATIONS = {
    "identity": unchanged,
    "rotation": rotated,
    "erased": erased,
    "folded": folded,
    "noise": noised,
}


class PlantedEncoder(nn.Module):
    """A frozen encoder with an operation on the tokens of every block.

    Args:
        base: The encoder whose tokens are changed.
        kind: A key of `OPERATIONS`.
        stored: What was fitted, by name (`erased.BLOCK.u`, ...); nothing for identity and rotation.
    """

    def __init__(self, base: FrozenEncoder, kind: str, stored: Mapping[str, Tensor]):
        super().__init__()
        self.base = base
        self.operation = OPERATIONS[kind]
        self.info = replace(
            base.info,
            name=f"{kind}:post",
            digest=digest(stored, base=base.info.digest, operation=kind),
        )
        self.factors = nn.ModuleList(
            nn.ParameterDict(
                {
                    name: nn.Parameter(tensor, requires_grad=False)
                    for name, tensor in block_factors(kind, block, base.info.width, stored).items()
                }
            )
            for block in range(base.info.n_blocks)
        )
        self.train(False)

    @property
    def tower(self) -> nn.Module:
        """The tower whose tokens are changed; the operation itself has no weights to train."""
        return self.base.tower

    def train(self, mode: bool = True) -> "PlantedEncoder":
        """Stay in evaluation mode, as every frozen encoder."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, pixels: UInt8[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """The changed tokens; arguments and errors as for every encoder."""
        return self.with_gradients(pixels, blocks)

    def with_gradients(
        self, pixels: UInt8[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """The same tokens, differentiable in the weights of `tower` that require gradients."""
        check_request(self.info, pixels, blocks)
        pictures = [hashlib.blake2b(picture.cpu().numpy().tobytes()).digest() for picture in pixels]
        outputs = {}
        for block, tokens in self.base.with_gradients(pixels, blocks).items():
            keys = [picture_key(picture, block) for picture in pictures]
            factors = self.factors[block]
            outputs[block] = BlockTokens(*(self.operation(x, factors, keys) for x in tokens))
        return outputs


def block_factors(
    kind: str, block: int, width: int, stored: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the operation needs at one block, by short name."""
    if kind == "rotation":
        return {"rotation": random_rotation(width, seed=block)}
    names = {name.split(".")[1]: stored_name(name, block) for name in STORED[kind]}
    return {short: stored[name] for short, name in names.items()}


def stored_name(name: str, block: int) -> str:
    """`erased.u` at block 3 is stored as `erased.3.u`."""
    part, factor = name.split(".")
    return f"{part}.{block}.{factor}"


def random_rotation(width: int, *, seed: int) -> Float[Tensor, "d d"]:
    """An orthogonal matrix drawn uniformly (Haar): QR of a Gaussian matrix, signs made unique."""
    drawn = torch.randn(
        width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    q, r = torch.linalg.qr(drawn)
    return (q * r.diagonal().sign()).float()


def picture_key(picture: bytes, block: int) -> int:
    """63 bits that depend on the picture's pixels and the block, and on nothing else."""
    salted = hashlib.blake2b(picture + block.to_bytes(4, "little"), digest_size=8)
    return int.from_bytes(salted.digest(), "little") >> 1


def load_planted(kind: str, folder: Path | None = None) -> PlantedEncoder:
    """The frozen encoder `KIND:post`.

    Args:
        kind: A key of `OPERATIONS`.
        folder: Folder of the tiny weights; the shipped one if None.

    Raises:
        WeightsError: The tiny weights are missing, or `planted.safetensors` is missing, incomplete
            or was fitted on other weights.
    """
    folder = folder or tiny_folder()
    base = load_tiny("pre", folder)
    if not STORED[kind]:
        return PlantedEncoder(base, kind, {})
    path = folder / FILE
    stored = read_safetensors(path)
    names = [stored_name(name, i) for i in range(base.info.n_blocks) for name in STORED[kind]]
    refuse(str(path), missing={"base", *names} - stored.keys())
    if bytes(stored["base"].tolist()).hex() != base.info.digest:
        raise WeightsError(
            f"{path} was fitted on other weights than the pre side beside it. "
            "Fit it again with `sdiag scenes train`."
        )
    return PlantedEncoder(base, kind, {name: stored[name] for name in names})


def fit_planted(
    pooled: Mapping[int, Num[np.ndarray, "n d"]], labels: Int[np.ndarray, "n"], folder: Path
) -> None:
    """Write `planted.safetensors`: eraser, sign axis and noise size for every block.

    Args:
        pooled: Pooled features of `tiny:pre` as loaded from `folder`, by block, every block.
        labels: The concept to erase and fold, shape (n,).
        folder: Folder of the tiny weights.

    Raises:
        DataError: A block is missing, or the features cannot be fitted (see `fit_eraser`).
    """
    info = load_tiny("pre", folder).info
    if sorted(pooled) != list(range(info.n_blocks)):
        raise DataError(
            f"Expected pooled features of blocks 0 to {info.n_blocks - 1}, but got "
            f"{sorted(pooled)}. Pool every block."
        )
    stored: dict[str, np.ndarray] = {}
    for block, x in pooled.items():
        eraser = fit_eraser(x, labels)
        axis, scale = fit_sign_axis(x, eraser)
        stored |= {f"erased.{block}.{name}": value for name, value in eraser._asdict().items()}
        stored[f"folded.{block}.axis"] = axis
        stored[f"folded.{block}.scale"] = np.array(scale)
        stored[f"noise.{block}.std"] = NOISE_SCALE * x.std(axis=0, dtype=np.float64)
    tensors = {name: torch.from_numpy(value).float() for name, value in stored.items()}
    tensors["base"] = torch.tensor(list(bytes.fromhex(info.digest)), dtype=torch.uint8)
    write_safetensors(tensors, folder / FILE)
