"""Qwen2-VL and its tokenizer, from a folder or the hub, and the words it has for pictures."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedTokenizerBase, Qwen2VLForConditionalGeneration

from degradation.errors import ConfigError, WeightsError
from socialfusion.language import load_tokenizer

__all__ = ["load_qwen"]

_WORDS = (
    "<|vision_start|>", "<|image_pad|>", "<|vision_end|>",
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
)  # fmt: skip


def load_qwen(
    name: str, *, dtype: str
) -> tuple[Qwen2VLForConditionalGeneration, PreTrainedTokenizerBase]:
    """Qwen2-VL, frozen, on the CPU, and its tokenizer.

    Args:
        name: A folder in the layout of transformers, or a name on the hub.
        dtype: Of its weights.

    Raises:
        ConfigError: It is another kind of model, or the tokenizer is another's.
        WeightsError: It cannot be found, is gated, or is damaged.
    """
    tokenizer = load_tokenizer(name)
    place = str(Path(name).expanduser())
    place = place if Path(place).is_dir() else name
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        if config.model_type != "qwen2_vl":
            raise ConfigError(
                f"Expected a Qwen2-VL to fine-tune, found {name} of type {config.model_type}. Name "
                "one such as Qwen/Qwen2-VL-2B-Instruct, or a folder that holds one."
            )
        model = Qwen2VLForConditionalGeneration.from_pretrained(
            place, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    except (OSError, ValueError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"Expected a Qwen2-VL in {name}, but it cannot be read: {first.rstrip('.')}. Copy or "
            "download it again."
        ) from error
    _check_tokenizer(tokenizer, model)
    return model.requires_grad_(False).eval(), tokenizer


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: Qwen2VLForConditionalGeneration
) -> None:
    """Check that a tokenizer belongs to a Qwen2-VL.

    Raises:
        ConfigError: It lacks the words for pictures and boxes, or has others than the model.
    """
    vocabulary = tokenizer.get_vocab()
    rows = model.get_input_embeddings().num_embeddings
    absent = [word for word in _WORDS if word not in vocabulary]
    config = model.config
    same = not absent and (
        vocabulary["<|image_pad|>"] == config.image_token_id
        and vocabulary["<|vision_start|>"] == config.vision_start_token_id
        and vocabulary["<|vision_end|>"] == config.vision_end_token_id
    )
    if not same or max(vocabulary.values()) >= rows or tokenizer.eos_token_id is None:
        raise ConfigError(
            "Expected the tokenizer of a Qwen2-VL, with its words for pictures and boxes, an "
            f"end-of-sequence token and at most {rows} words, found "
            + (f"none of {', '.join(absent)}." if absent else "one that numbers words otherwise.")
            + " Give a folder with model and tokenizer of one release."
        )
