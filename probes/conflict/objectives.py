"""Losses of questions on an encoder, batch by batch, differentiable in its weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from degradation.encode import by_shape, region_weights, upload
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.planted import PlantedEncoder
from degradation.errors import ConfigError
from degradation.placement import rows_in_arrays
from degradation.pooling import pool_frames
from degradation.protocol import Protocol
from degradation.reading import Sample
from degradation.tasks.task import Rows
from probes.conflict.heads import LossHead
from probes.conflict.leaves import leaf_of
from probes.conflict.measure import Objective
from probes.conflict.pictures import Pictures

__all__ = ["EncoderLoss", "Passes", "chosen_parameters", "reached"]

ENCODER, BLOCKS = "encoder", "blocks:"
ELSEWHERE = ("connector", "lora", "boxes", "heatmap")
"""Parts of a SocialFusion model, which a bare encoder does not have."""


@dataclass(frozen=True, slots=True)
class Passes:
    """How gradients are computed.

    Attributes:
        device: Where the encoder is.
        dtype: float32, or a narrower type for `torch.autocast`; weights, losses and gradients are
            float32 all the same.
        micro_batch: Samples in one backward pass; None for whole batches.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    micro_batch: int | None = None


class EncoderLoss:
    """The loss of one question on one encoder.

    Pixels become features as in extraction, but with gradients: the declared block's patch tokens,
    pooled over the regions that the probe reads. The mean over a batch is the sum of its
    micro-batches, each divided by the size of the whole.

    Args:
        label: `task/question`.
        head: Fitted on the features of this encoder.
        encoder: In evaluation mode, on the device.
        protocol: Of the cached features.
        block: That the head reads.
        regions: Concatenated in this order.
        pictures: Of the task, among others.
        task: Its name.
        batches: Rows of each batch, positions in the table of the task, shape (m, b).
        cached: The features of these rows that the head was fitted on, shape (m, b, d).
        passes: How gradients are computed.
    """

    def __init__(
        self,
        label: str,
        head: LossHead,
        encoder: FrozenEncoder | PlantedEncoder,
        protocol: Protocol,
        *,
        block: int,
        regions: Sequence[str],
        pictures: Pictures,
        task: str,
        batches: Int64[np.ndarray, "m b"],
        cached: Float32[np.ndarray, "m b d"],
        passes: Passes,
    ):
        if protocol.pool == "gem":
            raise ConfigError(
                f"{label}: features pooled by gem have no gradient where a mean is zero. Extract "
                "with another --pool: mean, max, grid:KxK or cls."
            )
        self.label, self.head, self.encoder, self.protocol = label, head, encoder, protocol
        self.block, self.regions = block, tuple(regions)
        self.pictures, self.task, self.batches, self.cached = pictures, task, batches, cached
        self.passes = passes
        self.drift = 0.0
        """Largest difference so far between a feature and the cached one, over its deviation."""
        self._deviation = np.maximum(cached.std(axis=(0, 1)), 1e-6)

    @property
    def objective(self) -> Objective:
        """As `probes.conflict.measure` takes it."""
        return Objective(self.label, self.losses)

    def losses(self, m: int) -> Iterator[Tensor]:
        """Losses of the micro-batches of batch m, which sum to its mean loss.

        Raises:
            DataError: A picture cannot be read.
            PairingError: A picture is not the one that the features were extracted from.
        """
        rows = self.batches[m]
        samples = self.pictures.read(self.task, rows)
        step = self.passes.micro_batch or len(rows)
        for group in by_shape([sample.pixels for sample in samples]):
            for start in range(0, len(group), step):
                some = group[start : start + step]
                features = self._features([samples[i] for i in some])
                self._compare(features, self.cached[m, some])
                yield self.head.losses(features, rows[some]).sum() / len(rows)

    def _features(self, samples: Sequence[Sample]) -> Float[Tensor, "b d"]:
        """Pooled features of samples of one shape, regions concatenated."""
        pixels = upload([sample.pixels for sample in samples], self.passes.device)
        source = self.pictures.sources[self.task].reader.rows
        taken = source.take(np.array([sample.row for sample in samples]))
        placements = [sample.placements for sample in samples]
        moved = rows_in_arrays(taken, placements, mask_pad=self.protocol.mask_pad)
        images, narrow = pixels.flatten(0, 1).permute(0, 3, 1, 2), self.passes.dtype
        with torch.autocast(pixels.device.type, narrow, enabled=narrow != torch.float32):
            tokens = self.encoder.with_gradients(images, [self.block])[self.block]
        if self.protocol.pool == "cls":
            return tokens.prefix[:, 0].float().unflatten(0, pixels.shape[:2]).mean(dim=1)
        weights = self._weights(moved, pixels)
        pooling = "mean" if self.protocol.pool_grid else self.protocol.pool
        return pool_frames(tokens.patches, weights, pooling).flatten(1)

    def _weights(
        self, rows: Rows, pixels: UInt8[Tensor, "b f h w 3"]
    ) -> Float32[Tensor, "b f rk t"]:
        """Pooling weights of the regions, and of the fields in each, in order."""
        height, width = pixels.shape[2:4]
        fields = self.protocol.pool_grid or 1
        found = region_weights(rows, self.encoder.info, (height, width), fields=fields)
        parts = np.concatenate([found[region] for region in self.regions], axis=2)
        return torch.from_numpy(parts).to(self.passes.device)

    def _compare(self, features: Float[Tensor, "b d"], cached: Float32[np.ndarray, "b d"]) -> None:
        """Note how far features are from those that the head was fitted on."""
        found = features.detach().float().cpu().numpy()
        self.drift = max(self.drift, float((np.abs(found - cached) / self._deviation).max()))


def chosen_parameters(
    encoder: FrozenEncoder | PlantedEncoder, parameters: str, *, deepest: int
) -> dict[str, nn.Parameter]:
    """The weights of an encoder whose gradients are wanted, by name; the others stay frozen.

    They are made to require gradients, in place.

    Args:
        encoder: Its tower's parameters are looked at.
        parameters: `encoder` for all that come before the heads, or `blocks:1,2`.
        deepest: The deepest block that a head reads.

    Raises:
        ConfigError: There are no such parameters, or no loss depends on them.
    """
    named = dict(encoder.tower.named_parameters())
    blocks = {leaf_of(name).block for name in named} - {None}
    if parameters == ENCODER:
        chosen = {name: one for name, one in named.items() if (leaf_of(name).block or 0) <= deepest}
    else:
        wanted = _blocks(parameters, encoder.info.name, sorted(blocks))
        if late := sorted(one for one in wanted if one > deepest):
            raise ConfigError(
                f"The heads read block {deepest}, so that no loss depends on block {late[0]} of "
                f"{encoder.info.name}. Name blocks up to {deepest}."
            )
        chosen = {name: one for name, one in named.items() if leaf_of(name).block in wanted}
    encoder.tower.requires_grad_(False)
    for one in chosen.values():
        one.requires_grad_(True)
    return chosen


def _blocks(parameters: str, encoder: str, known: Sequence[int]) -> set[int]:
    """The blocks of `blocks:1,2`."""
    if parameters.lower() in ELSEWHERE:
        raise ConfigError(
            f"{encoder} is a bare encoder and has no {parameters}: that is part of a SocialFusion "
            "model. Give --parameters encoder or blocks:1,2 here."
        )
    numbers = parameters.removeprefix(BLOCKS).split(",")
    if not parameters.startswith(BLOCKS) or not all(one.strip().isdecimal() for one in numbers):
        raise ConfigError(f"Expected parameters as encoder or blocks:1,2, found {parameters!r}.")
    wanted = {int(one) for one in numbers}
    if absent := sorted(wanted - set(known)):
        raise ConfigError(
            f"{encoder} has blocks {known[0] if known else 'of no number'} to "
            f"{known[-1] if known else ''}, but block {absent[0]} was asked for."
        )
    return wanted


def reached(
    objectives: Sequence[Objective], parameters: Mapping[str, nn.Parameter]
) -> dict[str, nn.Parameter]:
    """Those parameters that some loss depends on, by a look at one micro-batch of each.

    A library's tower may hold a norm or a pooler behind its blocks, which no head reads.
    """
    found: set[str] = set()
    for objective in objectives:
        loss = next(iter(objective.losses(0)))
        grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        found |= {name for name, own in zip(parameters, grads, strict=True) if own is not None}
    return {name: one for name, one in parameters.items() if name in found}
