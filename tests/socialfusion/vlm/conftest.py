"""A random Qwen2-VL with a few words, in memory and on disk, and questions for it."""

import numpy as np
import pytest
import torch
from tiny_qwen import known_questions, write_qwen
from tiny_qwen import qwen_config as small_config
from tiny_qwen import qwen_tokenizer as small_tokenizer

from socialfusion.vlm.batch import PictureBatch
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.patches import patches


@pytest.fixture(scope="session")
def questions():
    return known_questions()


@pytest.fixture(scope="session")
def tokenizer(questions):
    return small_tokenizer(questions.values())


@pytest.fixture(scope="session")
def qwen_config(tokenizer):
    return small_config(tokenizer)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tokenizer):
    return write_qwen(tmp_path_factory.mktemp("qwen"), tokenizer)


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
