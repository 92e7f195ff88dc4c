"""A tiny checkpoint, the files of its repository, and the shapes that many formats share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, HEADS, MLP, DEPTH, PATCH, SIZE = 32, 4, 48, 3, 14, 56
CELLS = (SIZE // PATCH) ** 2
LLM, LLM_MLP, VOCABULARY = 24, 40, 64
Shapes = dict[str, tuple[int, ...]]
DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
}


class Facts(NamedTuple):
    shape: tuple[int, ...]
    dtype: str


@dataclass
class Tiny:
    """A checkpoint in memory, with the interface of the one that reads from disk.

    Attributes:
        family: The family that it belongs to.
        config: Its config.json.
        state: Its tensors by name on disk.
        prefix: What stands before the names of the tower.
        config_name: Name of the configuration file.
        was_read: Names that have been asked for.
    """

    family: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    prefix: str
    config_name: str = "config.json"
    source: str = "tiny checkpoint"
    was_read: list[str] = field(default_factory=list)

    @property
    def tensors(self) -> Mapping[str, Facts]:
        return {n: Facts(tuple(x.shape), DTYPES[x.dtype]) for n, x in self.state.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        self.was_read += names
        return {name: self.state[name] for name in names}

    def changed(self, **state: Tensor | None) -> "Tiny":
        """A copy with tensors under the prefix put in, or taken out where None."""
        merged = self.state | {self.prefix + name: tensor for name, tensor in state.items()}
        return replace(self, state={n: x for n, x in merged.items() if x is not None}, was_read=[])

    def configured(self, **settings: Any) -> "Tiny":
        """A copy with other fields in the part of the configuration that describes the tower."""
        config = json.loads(json.dumps(self.config))
        part = config.get("model_cfg", config)
        for nested in ("vision_config", "vision_backbone", "vision_cfg"):
            part = part.get(nested, part)
        part.update(settings)
        return replace(self, config=config, was_read=[])


def write(folder: Path, tiny: Tiny, *, shards: int = 1, pickled: str = "") -> Path:
    """Write the files of a repository.

    Args:
        folder: Made if absent.
        tiny: What to write.
        shards: Files of safetensors, with an index if there are several.
        pickled: Name of one PyTorch file to write in their place, as `pytorch_model.bin`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / tiny.config_name).write_text(json.dumps(tiny.config, indent=2))
    if pickled:
        torch.save(tiny.state, folder / pickled)
        return folder
    if shards == 1:
        save_file(tiny.state, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tiny.state.items())[number::shards])
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    total = sum(x.numel() * x.element_size() for x in tiny.state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def drawn(shapes: Shapes, *, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random tensors, large enough that any mix-up of two of them shows in the features."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=generator)
        last = name.split(".")[-1]
        if last in ("ls1", "ls2", "lambda1"):
            x = 0.7 + 0.2 * x
        elif "norm" in name or ".ln_" in name or "pre_ln" in name:
            x = 0.2 * x + (last == "weight")
        elif len(shape) < 2:
            x = 0.2 * x
        elif "pos" in name:
            x = 0.5 * x
        else:
            x = 0.8 * x / (x[0].numel() ** 0.5)
        state[name] = x.to(dtype)
    return state


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int = WIDTH, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def language_model(prefix: str, head: str, qkv_bias: bool) -> Shapes:
    """A whole one-layer Llama or Qwen2, so that transformers finds nothing missing."""
    layer = f"{prefix}layers.0"
    shapes = {f"{prefix}embed_tokens.weight": (VOCABULARY, LLM)}
    for part in "qkv":
        shapes |= linear(f"{layer}.self_attn.{part}_proj", LLM, LLM, bias=qkv_bias)
    shapes |= linear(f"{layer}.self_attn.o_proj", LLM, LLM, bias=False)
    shapes |= linear(f"{layer}.mlp.gate_proj", LLM_MLP, LLM, bias=False)
    shapes |= linear(f"{layer}.mlp.up_proj", LLM_MLP, LLM, bias=False)
    shapes |= linear(f"{layer}.mlp.down_proj", LLM, LLM_MLP, bias=False)
    shapes |= norm(f"{layer}.input_layernorm", LLM, bias=False)
    shapes |= norm(f"{layer}.post_attention_layernorm", LLM, bias=False)
    shapes |= norm(f"{prefix}norm", LLM, bias=False)
    return shapes | ({head: (VOCABULARY, LLM)} if head else {})


TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": LLM,
    "intermediate_size": LLM_MLP,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}
