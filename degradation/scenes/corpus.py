"""Pictures with captions to train on: rendered once, captioned afresh each epoch.

The pictures come from subject pools of their own (`pretrain`, `pretrain-val`), so that no subject
of the probing splits is ever seen in training.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from jaxtyping import UInt8
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from degradation.scenes.captions import vocabulary
from degradation.scenes.records import Scene
from degradation.scenes.render import render
from degradation.scenes.world import FRAMES, compose
from degradation.views import square

__all__ = ["Corpus", "encode", "render_corpus", "shifted", "word_tokenizer"]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """n pictures with the scenes they were rendered from."""

    pixels: UInt8[np.ndarray, "n s s 3"]
    scenes: tuple[Scene, ...]

    def captions(
        self, wording: Callable[..., str], *, social: bool, rng: np.random.Generator
    ) -> list[str]:
        """One freshly worded caption per picture; `wording` is `caption` or `brief`."""
        return [wording(scene, social=social, rng=rng) for scene in self.scenes]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of the captions, adding <bos> and <eos>."""
    special = ("<pad>", "<bos>", "<eos>", "<unk>")
    words = {word: number for number, word in enumerate((*special, *vocabulary()))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )


def render_corpus(
    counts: dict[str, int], split: str, *, seed: int, size: int, processes: int
) -> Corpus:
    """Render `counts[framing]` pictures of each framing, squared to `size`.

    The clips of the framing `looking` give one picture each, of a frame that goes round.
    """
    keys = [
        (framing, split, index, seed, index % FRAMES if framing == "looking" else 0)
        for framing, n in counts.items()
        for index in range(n)
    ]
    parts = [(keys[start : start + 500], size) for start in range(0, len(keys), 500)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        pixels = np.concatenate(list(pool.map(_render_part, parts)))
    return Corpus(pixels, tuple(_scene(key) for key in keys))


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Token ids of every text, padded to the longest, shape (n, words), int64."""
    return tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]


def shifted(
    picture: UInt8[np.ndarray, "s s 3"], reach: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "s s 3"]:
    """The picture moved by a random offset of at most `reach` pixels, its edges repeated."""
    side = len(picture)
    down, right = rng.integers(-reach, reach + 1, 2)
    rows = np.clip(np.arange(side) + down, 0, side - 1)
    columns = np.clip(np.arange(side) + right, 0, side - 1)
    return picture[rows[:, None], columns]


def _scene(key: tuple[str, str, int, int, int]) -> Scene:
    framing, split, index, seed, frame = key
    return compose(framing, split, index, seed=seed, frame=frame)


def _render_part(part: tuple[list[tuple[str, str, int, int, int]], int]) -> np.ndarray:
    keys, size = part
    return np.stack([square(render(_scene(key)), size) for key in keys])
