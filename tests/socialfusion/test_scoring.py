"""Scores of all answers in one pass against a plain pass for every answer."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from degradation.errors import ConfigError
from socialfusion.batch import Batch
from socialfusion.config import SocialFusionConfig
from socialfusion.language import Language, load_language
from socialfusion.model import SocialFusion
from socialfusion.scoring import attention_mask, positions


def naive(model: SocialFusion, batch: Batch) -> Tensor:
    """The definition: for every answer the mean log-probability of its tokens, one at a time."""
    wording = model.wordings[batch.question.label]
    prefix = model._prefix(batch)
    embed = model.causal.get_input_embeddings()
    columns = []
    for answer in wording.answers:
        ids = torch.tensor([answer]).expand(len(batch), -1)
        inputs = torch.cat([prefix, embed(ids[:, :-1])], dim=1)
        logits = model.causal(inputs_embeds=inputs, use_cache=False).logits
        logp = logits[:, prefix.shape[1] - 1 :].log_softmax(2)
        columns.append(logp.gather(2, ids[..., None])[..., 0].mean(1))
    return torch.stack(columns, dim=1).log_softmax(1)


def shaken(model: SocialFusion) -> SocialFusion:
    """With adapters that do something."""
    for name, one in model.trained_parameters().items():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.1, generator=torch.Generator().manual_seed(3))
    return model.eval()


@pytest.mark.parametrize("label", ["relation", "looking"])
@torch.no_grad()
def test_all_at_once_is_one_by_one(make_model, make_batch, questions, label: str) -> None:
    model, batch = shaken(make_model()), make_batch(questions[label])
    scores = model.scores(batch)
    torch.testing.assert_close(scores, naive(model, batch), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(batch)))
    # They are of the picture, and of more than one shape of answer.
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)


@torch.no_grad()
def test_a_beginning_seen_both_ways_is_scored_by_its_definition(
    make_model, make_batch, questions
) -> None:
    model, batch = shaken(make_model(attention="prefix")), make_batch(questions["relation"])
    wording = model.wordings["scenes-relation/relation"]
    prefix, columns = model._prefix(batch), []
    for answer in wording.answers:
        ids = torch.tensor([answer]).expand(len(batch), -1)
        length, p = prefix.shape[1] + len(answer) - 1, prefix.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        seen[:p, :p] = True
        inputs = torch.cat([prefix, model.causal.get_input_embeddings()(ids[:, :-1])], dim=1)
        logits = model.causal(
            inputs_embeds=inputs, attention_mask=seen[None, None], use_cache=False
        ).logits
        logp = logits[:, p - 1 :].log_softmax(2)
        columns.append(logp.gather(2, ids[..., None])[..., 0].mean(1))
    expected = torch.stack(columns, dim=1).log_softmax(1)
    torch.testing.assert_close(model.scores(batch), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(naive(model, batch), expected, atol=1e-3)


@torch.no_grad()
def test_loss_of_a_class_is_what_its_score_is_made_of(make_model, make_batch, questions) -> None:
    model, question = shaken(make_model()), questions["relation"]
    batch = make_batch(question, 1)
    losses = torch.stack(
        [model(replace(batch, labels=torch.tensor([k])))[0] for k in range(len(question.answers))]
    )
    torch.testing.assert_close(model.scores(batch)[0], (-losses).log_softmax(0))


def test_mask_keeps_answers_apart() -> None:
    seen = attention_mask(2, [1, 2], both_ways=False).int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]
    assert attention_mask(2, [1, 2], both_ways=True)[0].int().tolist() == [1, 1, 0, 0, 0]
    assert positions(2, [1, 2]).tolist() == [[0, 1, 2, 2, 3]]


def other_model(kind: str, words: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if kind == "gpt2":
            return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=words))
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=words,
                hidden_size=8,
                intermediate_size=12,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                attn_implementation="eager",
            )
        )


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
@torch.no_grad()
def test_other_language_models_are_scored_as_exactly(kind, questions, make_batch) -> None:
    # Learned positions and transposed layers; grouped heads and plain attention.
    tokenizer = load_language("tiny").tokenizer
    language = Language(kind, other_model(kind, 156).requires_grad_(False).eval(), tokenizer)
    config = SocialFusionConfig(
        grid=(3, 4),
        token_width=10,
        connector_width=16,
        lora_rank=2,
        questions=[questions["relation"].as_json()],
    )
    model = SocialFusion(config, language)
    model.initialise(seed=0)
    batch = make_batch(questions["relation"])
    scores = shaken(model).scores(batch)
    torch.testing.assert_close(scores, naive(model, batch), atol=1e-5, rtol=0)


def test_a_language_model_without_enough_positions_is_refused(questions) -> None:
    tokenizer = load_language("tiny").tokenizer
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=156, n_positions=20)
    language = Language("short", GPT2LMHeadModel(config), tokenizer)
    asked = SocialFusionConfig(grid=(3, 4), questions=[questions["relation"].as_json()])
    with pytest.raises(
        ConfigError, match="room for 26 tokens, but the language model short has 20"
    ):
        SocialFusion(asked, language)


def test_maps_have_no_scores_and_words_no_map(make_model, make_batch, questions) -> None:
    model = make_model()
    with pytest.raises(ConfigError, match="answered by a map"):
        model.scores(make_batch(questions["gaze"]))
    with pytest.raises(ConfigError, match="answered in words"):
        model.heatmaps(make_batch(questions["looking"]))
