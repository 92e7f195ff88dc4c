"""Which layers get adapters, and the audit that they are those and no others.

peft is content if any name matches. Here every name has to, and none may match a vision tower:
the encoder is frozen, also where it comes inside the language model.
"""

import re
import warnings
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from degradation.errors import ConfigError

__all__ = ["lora_config", "lora_targets", "with_adapters"]

ALL_LINEAR = "all-linear"
_VISION = re.compile(r"(?i)vision|visual|image|pixel|(^|[._])(vit|vpm|siglip|clip)([._]|$)")


def lora_config(
    model: nn.Module,
    wanted: str | Sequence[str],
    *,
    rank: int,
    alpha: int,
    dropout: float,
) -> LoraConfig:
    """The configuration for peft of adapters on `lora_targets(model, wanted)`.

    Args:
        model: The language model.
        wanted: As `lora_targets` takes it.
        rank: Rank r.
        alpha: Adapters are scaled by alpha / r.
        dropout: Share of their inputs that is dropped in training.

    Raises:
        ConfigError: As `lora_targets`.
    """
    targets = lora_targets(model, wanted)
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(model.get_submodule(one), Conv1D) for one in targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def lora_targets(model: nn.Module, wanted: str | Sequence[str]) -> list[str]:
    """Full names of the layers that get adapters, sorted.

    Args:
        model: A language model; where it has a vision tower, that is never adapted.
        wanted: `all-linear`, every linear layer but the output layer and those of a vision tower,
            or the ends of names: `q_proj`, `self_attn.q_proj`.

    Raises:
        ConfigError: A name matches no linear layer, or one of a vision tower.
    """
    output = getattr(model, "get_output_embeddings", lambda: None)()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    ]
    if wanted == ALL_LINEAR:
        found = [name for name in layers if not _VISION.search(name)]
        if not found:
            raise ConfigError(
                "Expected linear layers in the language model, found none. Name another model."
            )
        return sorted(found)
    found = []
    for end in [wanted] if isinstance(wanted, str) else wanted:
        matches = [name for name in layers if name == end or name.endswith(f".{end}")]
        if not matches:
            known = sorted({name.rpartition(".")[2] for name in layers})
            raise ConfigError(
                f"Expected LoRA targets that the language model has, but {end!r} matches no linear "
                f"layer. Its linear layers end in {', '.join(known)}."
            )
        if seeing := [name for name in matches if _VISION.search(name)]:
            raise ConfigError(
                f"Expected LoRA targets in the language model only, but {end!r} matches "
                f"{seeing[0]} and {len(seeing) - 1} more in a vision tower, which stays frozen. "
                "Give longer ends of names that only match the language model."
            )
        found += matches
    return sorted(set(found))


def with_adapters(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """The model with adapters in its layers, in place; all else is frozen."""
    with warnings.catch_warnings():
        # November 2026: peft 0.21 asks for a property that transformers 5.24 has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)
