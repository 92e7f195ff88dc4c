"""Qwen2-VL with adapters, against transformers' plain forward pass."""

import copy

import pytest
import torch
from peft import PeftModel
from transformers import Qwen2VLForConditionalGeneration

from degradation.errors import ConfigError
from socialfusion.heatmap import heatmap_probabilities
from socialfusion.vlm.grounding import box_text, point_text
from socialfusion.vlm.model import build_vlm
from socialfusion.vlm.saving import load_vlm

SIZES = [(4, 6), (2, 8), (4, 4)]


@pytest.fixture
def model(config):
    return build_vlm(config, seed=0).eval()


def drawn(model, seed=0):
    """The model with adapters that have an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in model.trained_parameters().items():
            if "lora_B" in name:
                one.normal_(std=0.3, generator=generator)
    return model


def by_hand(base, tokenizer, batch, row, answer):
    """Log-probability of each token of an answer, from one plain pass over one sample."""
    likely = plain(base, tokenizer, batch, row, answer)[: len(answer)]
    return likely.gather(1, torch.tensor(answer)[:, None])[:, 0]


def plain(base, tokenizer, batch, row, answer):
    """Log-probabilities of all words as the first token of an answer and behind each of its own."""
    question, frames = batch.question, batch.question.frames
    grids = batch.grids[row * frames : (row + 1) * frames]
    counts = batch.grids.prod(1)
    start = int(counts[: row * frames].sum())
    pixels = batch.patches[start : start + int(grids.prod(1).sum())]
    text = ""
    for frame in range(frames):
        tokens = int(grids[frame].prod()) // 4
        text += "<|vision_start|>" + "<|image_pad|>" * tokens + "<|vision_end|>"
        boxes = batch.boxes[row, frame].tolist()
        text += "".join(map(box_text, question.roles, boxes))
    prefix = tokenizer(text + question.prompt)["input_ids"]
    ids = torch.tensor([[*prefix, *answer]])
    logits = base(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels,
        image_grid_thw=grids,
        mm_token_type_ids=(ids == base.config.image_token_id).int(),
    ).logits.log_softmax(2)
    return logits[0, len(prefix) - 1 :]


def answers(tokenizer, question):
    return [
        [*tokenizer(f" {text}")["input_ids"], tokenizer.eos_token_id] for text in question.answers
    ]


@pytest.mark.parametrize("name", ["relation", "looking"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_scores_are_the_sums_of_separate_passes(model, tokenizer, questions, ask, name, attention):
    drawn(model).base.set_attn_implementation(attention)
    batch = ask(questions[name], SIZES)
    with torch.no_grad():
        expected = torch.stack(
            [
                torch.stack(
                    [by_hand(model.base, tokenizer, batch, row, one).mean()
                     for one in answers(tokenizer, batch.question)]
                )
                for row in range(len(batch))
            ]
        )  # fmt: skip
        found = model.scores(batch)
    torch.testing.assert_close(found, expected.log_softmax(1), atol=2e-5, rtol=0)
    assert found.exp().std(0).max() > 1e-3  # the picture matters, so that the test can fail


def test_losses_are_those_of_separate_passes(model, tokenizer, questions, ask):
    drawn(model)
    batch = ask(questions["relation"], SIZES, labels=[2, 0, 3])
    words = answers(tokenizer, batch.question)
    with torch.no_grad():
        found = model(batch)
        expected = [-by_hand(model.base, tokenizer, batch, i, words[k]).mean()
                    for i, k in enumerate([2, 0, 3])]  # fmt: skip
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=0)


def test_the_loss_of_gaze_is_that_of_its_point_in_words(model, tokenizer, questions, ask):
    drawn(model)
    points = [[[0.25, 0.5], [0.75, 0.5]], [[0.004, 0.9], [float("nan")] * 2]]
    batch = ask(questions["gaze"], SIZES[:2], points=points)
    with torch.no_grad():
        found = model(batch)
        expected = []
        for row, point in enumerate([(0.5, 0.5), (0.004, 0.9)]):
            text = tokenizer(point_text(point))["input_ids"]
            answer = [*text, tokenizer.eos_token_id]
            expected.append(-by_hand(model.base, tokenizer, batch, row, answer).mean())
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=0)


def test_adapters_start_without_effect(model, folder, tokenizer, questions, ask):
    batch = ask(questions["expression"], SIZES, labels=[0, 1, 2])
    bare = Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
    words = answers(tokenizer, batch.question)
    with torch.no_grad():
        expected = [-by_hand(bare, tokenizer, batch, i, words[i]).mean() for i in range(3)]
        torch.testing.assert_close(model(batch), torch.stack(expected), atol=2e-5, rtol=0)


def test_only_the_language_model_is_trained_unless_asked(model, config):
    names = list(model.trained_parameters())
    assert names
    assert all(".language_model.layers." in name and ".lora_" in name for name in names)
    assert sum(".lora_A." in name for name in names) == 2 * 7
    seeing = build_vlm(config.model_copy(update={"train_vision": True}), seed=0)
    more = set(seeing.trained_parameters()) - set(names)
    assert len(more) == len(list(seeing.base.model.visual.parameters()))
    assert not set(seeing.language_digests()) & {
        f"model.visual.{name}" for name, _ in seeing.base.model.visual.named_parameters()
    }
    with pytest.raises(ConfigError, match="vision tower"):
        build_vlm(config.model_copy(update={"lora_targets": ("qkv",)}), seed=0)


def test_boxes_reach_the_answer_only_where_wanted(model, config, questions, ask):
    batch = ask(questions["expression"], SIZES[:1])
    moved = copy.copy(batch.boxes) * 0.5
    other = type(batch)(batch.question, batch.patches, batch.grids, moved)
    blind = drawn(build_vlm(config.model_copy(update={"boxes": False}), seed=0).eval())
    drawn(model)
    with torch.no_grad():
        assert not torch.allclose(model.scores(batch), model.scores(other), atol=1e-4)
        assert torch.equal(blind.scores(batch), blind.scores(other))


@pytest.mark.parametrize("vision", [False, True])
def test_steps_lower_the_loss_of_all_questions(config, questions, ask, vision):
    model = build_vlm(config.model_copy(update={"train_vision": vision}), seed=0)
    frozen = model.language_digests()
    batches = [
        ask(questions["expression"], SIZES, labels=[0, 1, 2]),
        ask(questions["gaze"], SIZES, points=[[[0.2, 0.3]], [[0.7, 0.9]], [[0.5, 0.1]]]),
    ]
    optimiser = torch.optim.AdamW(model.trained_parameters().values(), lr=2e-2)
    losses = []
    for _ in range(7):
        loss = sum(model(batch).mean() for batch in batches)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(one.grad is not None for one in model.trained_parameters().values())
    assert model.language_digests() == frozen


def test_a_point_becomes_a_map(model, questions, ask, monkeypatch):
    batch = ask(questions["gaze"], SIZES[:2])
    monkeypatch.setattr(type(model), "generate_answers", lambda *_: ["(200,700)", "no idea"])
    maps = heatmap_probabilities(model.heatmaps(batch))
    peaks = maps.flatten(1).argmax(1).tolist()
    assert peaks == [int(0.7005 * 64) * 64 + int(0.2005 * 64), 32 * 64 + 32]
    assert model.points(batch)[1].isnan().all()


def test_generation_follows_the_plain_pass(model, tokenizer, questions, ask):
    drawn(model)
    batch = ask(questions["looking"], SIZES)
    picture = model.base.config.image_token_id
    found = model.generate(batch, max_new_tokens=4, suppress_tokens=[picture]).tolist()
    for row, ids in enumerate(found):
        ids = ids[: ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else None]
        with torch.no_grad():
            likely = plain(model.base, tokenizer, batch, row, ids)
        likely[:, picture] = -torch.inf
        assert likely.argmax(1)[: len(ids)].tolist() == ids
    assert len({tuple(ids) for ids in found}) > 1  # the pictures matter


# peft asks for a property that transformers has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("vision", [False, True])
def test_a_saved_model_is_the_same(config, questions, ask, tmp_path, vision):
    model = drawn(build_vlm(config.model_copy(update={"train_vision": vision}), seed=1)).eval()
    if vision:
        with torch.no_grad():
            model.base.model.visual.merger.ln_q.weight.mul_(1.5)
    model.save_pretrained(tmp_path)
    again = load_vlm(tmp_path)
    batch = ask(questions["relation"], SIZES, labels=[0, 1, 2])
    with torch.no_grad():
        assert torch.equal(again(batch), model(batch))
    assert again.config == model.config
    if not vision:
        bare = Qwen2VLForConditionalGeneration.from_pretrained(config.model)
        loaded = PeftModel.from_pretrained(bare, tmp_path / "adapter").state_dict()
        for name, one in model.language_model.state_dict().items():
            assert torch.equal(loaded[name], one)


def test_the_seed_decides_the_adapters(config):
    first, second, other = (build_vlm(config, seed=seed).trained_parameters() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
