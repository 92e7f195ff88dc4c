"""What the commands of the pages read: pictures, data sets, weights, features of one's own."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from family_fixtures import write
from page_commands import ROOT
from PIL import Image
from safetensors.torch import save_file
from small_world import PUBLISHED, TIMM, stand_in
from tiny_qwen import SPECIAL, write_qwen
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.clip import CLIPImageProcessor

from degradation.encoders.catalogue import ENCODERS
from degradation.scenes.export.registry import export

__all__ = ["lay_out"]

DATA_SETS = ("HaGRID", "AffectNet", "PISC", "GazeFollow")
CLASSES = ("angry", "happy")
COMMIT = "0" * 40
TIMM_NAME = "vit_base_patch16_clip_224.openai"


def lay_out(folder: Path, hub: Path) -> None:
    """Fill a folder with everything that the pages take to be in the reader's own.

    Args:
        folder: Where the commands will run; `data/` in it stands for `/data/`.
        hub: Cache of the hub, for the weights that libraries load by their names.
    """
    folder.mkdir()
    for name in DATA_SETS:
        export(name.lower(), folder / name, scale=0.3)
    _photographs(folder / "photographs")
    shutil.copytree(folder / "photographs", folder / "data" / "photographs")
    for name in CLASSES:  # for a table that is read without --data-root
        shutil.copytree(folder / "photographs" / name, folder / name)
    shutil.move(folder / "photographs" / "labels.csv", folder / "labels.csv")
    _portraits(folder / "portraits")
    _features(folder)
    for name in PUBLISHED:
        write(folder / "data" / "models" / ENCODERS[name].repo, stand_in(name))
    for name in ("my-llava", "my-llava-finetune"):
        write(folder / "data" / name, stand_in("llava-1.5:post"))
    for seed, (name, patch) in enumerate({"my-tower": 16, "my-tuned-tower": 32}.items()):
        _tower(folder / name, patch=patch, seed=seed)
    _publish(hub, "openai/clip-vit-base-patch32", lambda place: _tower(place, patch=32, seed=2))
    _publish(hub, f"timm/{TIMM_NAME}", _timm_tower)
    _publish(
        hub, "Qwen/Qwen2-VL-2B-Instruct", lambda place: write_qwen(place, _tokenizer(SPECIAL))
    )  # fmt: skip
    _publish(hub, "meta-llama/Llama-3.2-1B", _llama)


def _photographs(folder: Path) -> None:
    """Pictures of two classes, dark and bright, in a folder for each, and a table of them."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split,cluster"]
    for number in range(96):
        name = CLASSES[number % 2]
        pixels = rng.normal(60 + 80 * (number % 2), 40, (64, 80, 3)).clip(0, 255)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:03}.jpg")
        split = ("train", "train", "val", "test")[number // 2 % 4]
        lines.append(f"{name}/{number:03}.jpg,{name},{split},{number // 2}")
    (folder / "labels.csv").write_text("\n".join(lines))


def _portraits(folder: Path) -> None:
    """The data of the task that docs/adding-a-task.md adds."""
    folder.mkdir()
    lines = ["picture,split,person,mood,x1,y1,x2,y2"]
    for number in range(48):
        split, mood = ("train", "train", "test")[number % 3], ("calm", "cross")[number % 2]
        Image.new("RGB", (40, 30), (5 * number, 90, 90)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{split},{split}-{number // 6},{mood},4,3,20,27")
    (folder / "moods.csv").write_text("\n".join(lines))


def _features(folder: Path) -> None:
    """Features that were computed elsewhere."""
    rng = np.random.default_rng(0)
    for side, width in (("pre", 8), ("post", 6)):
        np.save(folder / f"{side}.npy", rng.normal(size=(60, width)).astype(np.float32))
    lines = [f"{i},{'ab'[i % 2]},{('train', 'val', 'test')[i // 2 % 3]}" for i in range(60)]
    (folder / "rows.csv").write_text("\n".join(["id,label,split", *lines]))


def _publish(hub: Path, repo: str, fill: Callable[[Path], object]) -> None:
    """Put a repository into the hub's cache, as a download would have."""
    place = hub / f"models--{repo.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    fill(place / "snapshots" / COMMIT)


def _tower(folder: Path, *, patch: int, seed: int) -> None:
    """A vision tower as transformers saves it."""
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        image_size=224, patch_size=patch, projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPVisionModel(config).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)


def _timm_tower(folder: Path) -> None:
    """A vision transformer as timm publishes it."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = timm.create_model(TIMM_NAME, pretrained=False, **TIMM).state_dict()
    save_file(state, folder / "model.safetensors")


def _llama(folder: Path) -> None:
    """A language model as transformers saves it."""
    tokenizer = _tokenizer(("<|im_end|>", "<|endoftext|>"))
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=len(tokenizer), bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(special: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer for any text, with short words for the usual answers and the special ones."""
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = PreTokenizers(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    trainer = BpeTrainer(
        vocab_size=2000, special_tokens=list(special), initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    inner.train([str(ROOT / "socialfusion" / "prompts.toml")], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=list(special),
    )  # fmt: skip
