"""SocialFusion with an encoder that is trained along: the other arm of "frozen against unfrozen".

Everything else is as in the frozen run: the same model, drawn weights, rows and order. The tokens
are computed in every step, with gradients, by the encoder's blocks up to the one that is read.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Float32
from safetensors.torch import save_file
from torch import Tensor, nn

from degradation.encoders.encoder import Encoder
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.planted import PlantedEncoder
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError
from socialfusion.batch import Batch
from socialfusion.config import check_encoder
from socialfusion.frozen import combined, frozen_digests
from socialfusion.model import SocialFusion
from socialfusion.pixels import PixelBatch
from socialfusion.questions import Question
from socialfusion.saving import ENCODER, MANIFEST, load, trained_manifest
from socialfusion.weight_files import fill

__all__ = ["Unfrozen", "load_unfrozen"]

_NAME = "encoder."


class Unfrozen(nn.Module):
    """A SocialFusion model that reads pictures, and trains the encoder that it reads them with.

    The encoder stays in evaluation behaviour, as when it is frozen: nothing in it is dropped.

    Args:
        fusion: The rest of the model.
        encoder: Its weights before training. Those that the tokens depend on are made to require
            gradients, in place.

    Raises:
        ConfigError: The encoder has no weights to train.
        PairingError: The model was made for another encoder.
    """

    def __init__(self, fusion: SocialFusion, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, FrozenEncoder | PlantedEncoder):
            raise ConfigError(
                f"Expected an encoder with weights to train, found {type(encoder).__name__}. Keep "
                "it frozen."
            )
        check_encoder(fusion.config, encoder.info)
        self.fusion, self.encoder = fusion, encoder
        self.questions: Mapping[str, Question] = fusion.questions
        self.digest_before = self.encoder_digest()
        self._tower = _require_gradients(encoder, fusion.config.block)

    # ------------------------------------------------------------------ what is trained

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name, the encoder's behind the rest as `encoder.NAME`."""
        tower = {f"{_NAME}{name}": one for name, one in self._tower.items()}
        return self.fusion.trained_parameters() | tower

    def language_digests(self) -> dict[str, str]:
        """`frozen_digests` of the language model, without its adapters."""
        return self.fusion.language_digests()

    def tower_digests(self) -> dict[str, str]:
        """`frozen_digests` of what stays frozen of the encoder: all that is not read."""
        tower = frozen_digests(self.encoder.tower)
        return {name: one for name, one in tower.items() if name not in self._tower}

    def encoder_digest(self) -> str:
        """One digest of all weights of the encoder, as they are now."""
        return combined(frozen_digests(self.encoder.tower))

    # ------------------------------------------------------------------ what it computes

    def forward(self, batch: PixelBatch) -> Float32[Tensor, " b"]:
        """The loss of each sample, in nats; see `SocialFusion.forward`."""
        return self.fusion(self._seen(batch))

    def scores(self, batch: PixelBatch) -> Float32[Tensor, "b c"]:
        """Log-probability of each class."""
        return self.fusion.scores(self._seen(batch))

    def heatmaps(self, batch: PixelBatch) -> Float[Tensor, "b s s"]:
        """Logits of the map of where somebody looks."""
        return self.fusion.heatmaps(self._seen(batch))

    def generate_answers(self, batch: PixelBatch) -> list[str]:
        """What the language model answers in its own words."""
        return self.fusion.generate_answers(self._seen(batch))

    def _seen(self, batch: PixelBatch) -> Batch:
        """The batch with the tokens of its pictures, frame after frame."""
        images = batch.pixels.flatten(0, 1).permute(0, 3, 1, 2)
        block = self.fusion.config.block
        tokens = self.encoder.with_gradients(images, [block])[block].patches
        tokens = tokens.float().unflatten(0, batch.pixels.shape[:2]).flatten(1, 2)
        return Batch(batch.question, tokens, batch.masks, batch.labels, batch.points)

    # ------------------------------------------------------------------ on disk

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write what `SocialFusion.save_pretrained` does, and `encoder.safetensors` beside it."""
        folder = Path(folder)
        self.fusion.save_pretrained(folder)
        tower = {name: one.detach().cpu().contiguous() for name, one in self._tower.items()}
        save_file(tower, folder / ENCODER)
        manifest = trained_manifest(self.fusion)
        frozen = manifest["frozen"]
        trained = self.trained_parameters()
        manifest |= {
            "trained": {name: list(one.shape) for name, one in trained.items()},
            "parameters": sum(one.numel() for one in trained.values()),
            "frozen": {name: one for name, one in frozen.items() if name != "encoder"},
            "encoder before training": frozen["encoder"],
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    def load_tower(self, folder: str | os.PathLike[str]) -> None:
        """Put the trained weights of a folder into the encoder.

        Raises:
            WeightsError: They are damaged, or those of other blocks or another encoder.
        """
        fill(self._tower, Path(folder) / ENCODER)


def load_unfrozen(folder: str | os.PathLike[str], *, language_model: str | None = None) -> Unfrozen:
    """A model that was trained with its encoder, in evaluation mode, on the CPU.

    Args:
        folder: As `Unfrozen.save_pretrained` wrote it.
        language_model: Where the language model is now; where the configuration says if None.

    Raises:
        ConfigError: The configuration cannot be read, or names an encoder that there is not.
        PairingError: The encoder of that name has other weights now.
        WeightsError: The folder is not whole, or weights are missing.
    """
    fusion = load(folder, language_model=language_model, with_encoder=True)
    model = Unfrozen(fusion, load_encoder(fusion.config.encoder))
    model.load_tower(folder)
    return model.eval()


def _require_gradients(
    encoder: FrozenEncoder | PlantedEncoder, block: int
) -> dict[str, nn.Parameter]:
    """The weights that the patch tokens of a block depend on, by name; the others stay frozen.

    Raises:
        ConfigError: They depend on none.
    """
    tower = dict(encoder.tower.requires_grad_(True).named_parameters())
    size, device = encoder.info.size, next(iter(tower.values())).device
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device)
    tokens = encoder.with_gradients(blank, [block])[block].patches
    if not tokens.requires_grad:
        raise ConfigError(
            f"Expected tokens that depend on the weights of {encoder.info.name}, found others. "
            "Keep it frozen."
        )
    grads = torch.autograd.grad(tokens.sum(), list(tower.values()), allow_unused=True)
    for one, grad in zip(tower.values(), grads, strict=True):
        one.requires_grad_(grad is not None)
    return {name: one for name, one in tower.items() if one.requires_grad}
