"""A model of the shipped parts, and batches for it, shared by the tests of the model."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from socialfusion.batch import Batch
from socialfusion.config import SocialFusionConfig
from socialfusion.model import SocialFusion, build
from socialfusion.questions import Question

RELATION = Question(
    task="scenes-relation",
    name="relation",
    kind="classes",
    prompt="the relation of the two is",
    answers=("friends", "good friends", "none"),
    roles=("person_a", "person_b"),
    frames=1,
    metrics=("accuracy",),
    social=True,
)
LOOKING = Question(
    task="scenes-looking",
    name="looking",
    kind="classes",
    prompt="the person is looking at the",
    answers=("other", "viewer"),
    roles=("face",),
    frames=2,
    metrics=("accuracy",),
    social=True,
)
GAZE = Question(
    task="scenes-gaze",
    name="gaze",
    kind="gaze",
    prompt="the person is looking at the point",
    answers=(),
    roles=("head",),
    frames=1,
    metrics=("average_l2_error",),
    social=True,
)
GRID = (3, 4)
WIDTH = 10


@pytest.fixture
def questions() -> dict[str, Question]:
    return {"relation": RELATION, "looking": LOOKING, "gaze": GAZE}


@pytest.fixture
def make_model() -> Callable[..., SocialFusion]:
    """A function that builds a small model on the shipped language model."""

    def make(*asked: Question, seed: int = 0, **options: object) -> SocialFusion:
        settings: dict[str, object] = {
            "encoder": "tiny:pre",
            "encoder_digest": "e" * 64,
            "block": 2,
            "grid": GRID,
            "token_width": WIDTH,
            "questions": [one.as_json() for one in asked or (RELATION, LOOKING, GAZE)],
            "language_model": "tiny",
            "connector_width": 16,
            "lora_rank": 4,
            "heatmap_size": 16,
            "heatmap_width": 8,
        }
        return build(SocialFusionConfig(**{**settings, **options}), seed=seed)

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """A function that draws a batch of a question."""

    def make(question: Question, b: int = 3, *, seed: int = 0) -> Batch:
        draw = torch.Generator().manual_seed(seed)
        v = question.frames * GRID[0] * GRID[1]
        gaze = question.kind == "gaze"
        return Batch(
            question=question,
            tokens=torch.randn(b, v, WIDTH, generator=draw),
            masks=torch.rand(b, v, len(question.roles), generator=draw) < 0.3,
            labels=None if gaze else torch.arange(b) % len(question.answers),
            points=torch.rand(b, 2, 2, generator=draw) if gaze else None,
        )

    return make


@pytest.fixture
def published_llama() -> LlamaForCausalLM:
    """A language model of the size of the paper's, Llama 3.2 1B, without weights."""
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)
