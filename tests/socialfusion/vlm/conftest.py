"""A random Qwen2-VL with a few words, in memory and on disk, and questions for it."""

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Digits, Sequence, Split, WhitespaceSplit
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from degradation.tasks.registry import get_task
from socialfusion.questions import questions_of
from socialfusion.vlm.batch import PictureBatch
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.patches import patches

SPECIAL = (
    "<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>", "<|object_ref_start|>",
    "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|im_end|>", "<|endoftext|>",
)  # fmt: skip
TASKS = ("scenes-expression", "scenes-relation", "scenes-gaze", "scenes-looking")


@pytest.fixture(scope="session")
def questions():
    """By name: expression, relation, domain, gaze, looking."""
    found = {}
    for name in TASKS:
        for question in questions_of(get_task(name).spec, 2 if name == "scenes-looking" else 1):
            found[question.name] = question
    return found


@pytest.fixture(scope="session")
def tokenizer(questions):
    texts = [(one.prompt, *one.answers, *one.roles) for one in questions.values()]
    words = {word.replace("_", " ") for text in texts for line in text for word in line.split()}
    words = {part for word in words for part in word.split()} | set("0123456789(),")
    order = (*SPECIAL, "<unk>", *sorted(words))
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(order)}, unk_token="<unk>"))
    inner.pre_tokenizer = Sequence(
        [WhitespaceSplit(), Split(Regex(r"[(),]"), "isolated"), Digits(individual_digits=True)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="<|im_end|>",
        pad_token="<|endoftext|>", additional_special_tokens=list(SPECIAL),
    )  # fmt: skip


@pytest.fixture(scope="session")
def qwen_config(tokenizer):
    ids = tokenizer.get_vocab()
    return Qwen2VLConfig(
        text_config={
            "vocab_size": len(ids), "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                "mrope_section": [1, 1, 2]},
            "bos_token_id": None, "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory, qwen_config, tokenizer):
    """A Qwen2-VL on disk, as a user would name it."""
    place = tmp_path_factory.mktemp("qwen")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2VLForConditionalGeneration(qwen_config)
    # Drawn weights hardly move what they are added to: make the model see, and tell words apart.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def config(folder, questions):
    return VlmConfig(
        model=str(folder),
        questions=tuple(one.as_json() for one in questions.values()),
        lora_rank=4,
        lora_alpha=8,
        min_pixels=64,
        max_pixels=1024,
    )


@pytest.fixture
def ask(qwen_config):
    """Makes a batch: `ask(question, sizes)` with sizes of each sample's pictures in patches."""

    def make(question, sizes, *, labels=None, points=None, seed=0):
        rng = np.random.default_rng(seed)
        cut, grids, boxes = [], [], []
        for h, w in sizes:
            for _ in range(question.frames):
                array = rng.integers(0, 256, (4 * h, 4 * w, 3), dtype=np.uint8)
                values, grid = patches(array, qwen_config)
                cut.append(values)
                grids.append(grid)
        low = rng.uniform(0, 0.5, (len(sizes), question.frames, len(question.roles), 2))
        boxes = torch.tensor(np.concatenate([low, low + 0.3], axis=3), dtype=torch.float32)
        return PictureBatch(
            question,
            torch.cat(cut),
            torch.tensor(grids),
            boxes,
            None if labels is None else torch.tensor(labels),
            None if points is None else torch.tensor(points),
        )

    return make
