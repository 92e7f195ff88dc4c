"""The model against transformers' own loss, and what reaches which part of it."""

from dataclasses import replace

import pytest
import torch

from degradation.encoders.encoder import EncoderInfo
from degradation.errors import ConfigError, PairingError, WeightsError
from socialfusion.config import SocialFusionConfig, check_encoder
from socialfusion.frozen import check_frozen
from socialfusion.heatmap import target_maps
from socialfusion.language import Language, load_language, load_tokenizer
from socialfusion.model import SocialFusion, build


@torch.no_grad()
def test_loss_is_that_of_transformers_with_everything_else_ignored(
    make_model, make_batch, questions
) -> None:
    model, question = make_model(), questions["relation"]
    batch = make_batch(question)
    # By hand, on the bare language model: adapters start without effect.
    bare = load_language("tiny")
    tokens = batch.tokens.clone()
    for i, role in enumerate(question.roles):
        vector = model.boxes.vectors[model.boxes.roles.index(role)]
        tokens += batch.masks[..., i, None] * vector
    visual = model.connector(tokens)
    for sample, loss in enumerate(model(batch)):
        text = f"{question.prompt} {question.answers[batch.labels[sample]]} <eos>"
        ids = bare.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        embed = bare.model.get_input_embeddings()
        inputs = torch.cat([embed(torch.tensor([[1]])), visual[sample][None], embed(ids)], dim=1)
        labels = torch.full(inputs.shape[:2], -100)
        prompt = len(question.prompt.split())
        labels[0, 1 + visual.shape[1] + prompt :] = ids[0, prompt:]
        expected = bare.model(inputs_embeds=inputs, labels=labels).loss
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_map_is_read_from_the_visual_positions(make_model, make_batch, questions) -> None:
    model, batch = make_model(), make_batch(questions["gaze"])
    hidden = load_language("tiny").model.model(inputs_embeds=model._prefix(batch))
    visual = hidden.last_hidden_state[:, 1 : 1 + batch.tokens.shape[1]]
    logits = model.heatmap(visual)
    torch.testing.assert_close(model.heatmaps(batch), logits)
    target = target_maps(batch.points, 16)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(model(batch), 50 * each.mean((1, 2)))


def test_gradients_reach_what_is_trained_and_nothing_else(
    make_model, make_batch, questions
) -> None:
    model = make_model().train()
    before = model.language_digests()
    trained = model.trained_parameters()
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-2)
    for _ in range(2):  # in the first step B is 0, so that A gets none
        for question in questions.values():
            model(make_batch(question)).mean().backward()
        optimiser.step()
    reached = {name for name, one in model.named_parameters() if one.grad is not None}
    assert reached == set(trained)
    assert all(one.grad.abs().sum() > 0 for one in trained.values())
    assert {name.partition(".")[0] for name in trained} == {
        "connector", "boxes", "heatmap", "language_model",
    }  # fmt: skip
    assert sum("lora_" in name for name in trained) == 2 * 2 * 7
    check_frozen(before, model.language_digests())


def test_parts_that_no_question_needs_are_not_there(make_model, questions) -> None:
    model = make_model(questions["looking"], box_masks=False)
    assert {name.partition(".")[0] for name in model.trained_parameters()} == {
        "connector",
        "language_model",
    }
    assert make_model(questions["looking"]).boxes.roles == ("face",)
    assert make_model().boxes.roles == ("person_a", "person_b", "face", "head")


@torch.no_grad()
def test_boxes_reach_the_loss_unless_they_are_switched_off(
    make_model, make_batch, questions
) -> None:
    for question in questions.values():
        batch = make_batch(question)
        moved = replace(batch, masks=batch.masks.roll(1, dims=1))
        with_boxes, without = make_model(), make_model(box_masks=False)
        assert not torch.allclose(with_boxes(batch), with_boxes(moved), atol=1e-4)
        assert torch.equal(without(batch), without(moved))


@torch.no_grad()
def test_the_two_people_of_a_pair_are_told_apart(make_model, make_batch, questions) -> None:
    model, batch = make_model(), make_batch(questions["relation"])
    swapped = replace(batch, masks=batch.masks.flip(2))
    assert not torch.allclose(model(batch), model(swapped), atol=1e-4)


@torch.no_grad()
def test_a_sample_is_not_changed_by_its_neighbours(make_model, make_batch, questions) -> None:
    model = make_model().eval()
    for question in questions.values():
        batch = make_batch(question, 4)
        one = replace(
            batch,
            tokens=batch.tokens[2:3],
            masks=batch.masks[2:3],
            labels=None if batch.labels is None else batch.labels[2:3],
            points=None if batch.points is None else batch.points[2:3],
        )
        torch.testing.assert_close(model(batch)[2:3], model(one))


@torch.no_grad()
def test_units_of_the_tokens_drop_out(make_model, make_batch, questions) -> None:
    batch = make_batch(questions["relation"])
    scaled = replace(batch, tokens=8 * batch.tokens)
    torch.testing.assert_close(make_model(token_scale=8.0)(scaled), make_model()(batch))
    half = replace(batch, tokens=batch.tokens.half())
    torch.testing.assert_close(make_model()(half), make_model()(batch), atol=1e-2, rtol=1e-2)


def test_the_same_seed_draws_the_same_weights_and_another_others(make_model, questions) -> None:
    first, again, other = (make_model(seed=seed).trained_parameters() for seed in (0, 0, 1))
    assert all(torch.equal(one, again[name]) for name, one in first.items())
    for name, one in first.items():
        zeros = "lora_B" in name or name in ("heatmap.project.bias", "heatmap.enlarge.bias")
        assert torch.equal(one, other[name]) == zeros, name
    # Each part by its own name: leaving one out does not change the others.
    alone = make_model(questions["looking"]).trained_parameters()
    assert torch.equal(alone["connector.0.weight"], first["connector.0.weight"])


@pytest.mark.parametrize("attention", ["causal", "prefix"])
@torch.no_grad()
def test_generated_answers_are_the_likeliest_words(
    make_model, make_batch, questions, attention: str
) -> None:
    model = make_model(attention=attention, answer_limit=4).eval()
    batch = make_batch(questions["relation"], 2)
    prefix, said = model._prefix(batch), []
    for _ in range(4):
        ids = torch.tensor(said, dtype=torch.int64).view(-1, 2).mT
        logits = model._logits(prefix, [ids])[:, -1]
        said.append(logits.argmax(1).tolist())
    expected = [
        model.tokenizer.decode(row[: row.index(2)] if 2 in row else row)
        for row in torch.tensor(said).mT.tolist()
    ]
    assert model.generate_answers(batch) == expected


@pytest.mark.parametrize("attention", ["causal", pytest.param("prefix", marks=pytest.mark.slow)])
def test_a_picture_is_learned_by_heart(make_model, make_batch, questions, attention) -> None:
    # One picture with a point, one with a class: enough to see that losses lead to answers.
    model = make_model(attention=attention, heatmap_size=64).train()
    gaze = replace(make_batch(questions["gaze"], 1), points=torch.tensor([[[0.8, 0.3]]]))
    relation = replace(make_batch(questions["relation"], 1), labels=torch.tensor([1]))
    optimiser = torch.optim.AdamW(model.trained_parameters().values(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        (model(gaze).mean() + model(relation).mean()).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        row, column = divmod(int(model.heatmaps(gaze)[0].argmax()), 64)
        assert abs(column - 0.8 * 64) < 11
        assert abs(row - 0.3 * 64) < 11
        assert model.scores(relation)[0].exp()[1] > 0.7  # a mean over tokens is milder than a sum
    assert model.generate_answers(relation) == ["good friends"]


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_gives_the_same_to_its_rounding(
    make_model, make_batch, questions, autocast: bool
) -> None:
    half = make_model(language_model_dtype="bfloat16")
    assert {one.dtype for one in half.trained_parameters().values()} == {torch.float32}
    for question in questions.values():
        batch = make_batch(question)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = half(batch)
        loss.mean().backward()
        torch.testing.assert_close(loss, make_model()(batch), atol=0.1, rtol=0.01)


def test_what_the_model_was_not_made_for_is_refused(make_model, make_batch, questions) -> None:
    model = make_model(questions["looking"])
    with pytest.raises(ConfigError, match="answers scenes-looking/looking, but was asked"):
        model(make_batch(questions["gaze"]))
    reworded = replace(questions["looking"], prompt="the face is")
    with pytest.raises(ConfigError, match="the same in other words"):
        model(make_batch(reworded))
    batch = make_batch(questions["looking"])
    with pytest.raises(ConfigError, match=r"Expected 24 visual tokens .* found \(12, 10\)"):
        model(replace(batch, tokens=batch.tokens[:, :12], masks=batch.masks[:, :12]))
    with pytest.raises(ConfigError, match="Expected labels"):
        model(replace(batch, labels=None))
    with pytest.raises(ConfigError, match="Expected points"):
        make_model()(replace(make_batch(questions["gaze"]), points=None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grid", [3]),
        ("grid", [0, 4]),
        ("token_width", 0),
        ("token_scale", 0.0),
        ("token_scale", float("inf")),
        ("connector_depth", 0),
        ("connector_width", 0),
        ("lora_rank", 0),
        ("lora_alpha", -1),
        ("lora_dropout", 1.0),
        ("lora_dropout", -0.1),
        ("language_model_dtype", "float16"),
        ("attention", "none"),
        ("heatmap_size", 0),
        ("heatmap_width", 0),
        ("heatmap_weight", 0.0),
        ("heatmap_weight", float("nan")),
        ("answer_limit", 0),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field.split("_")[0]):
        SocialFusionConfig(**{field: value})


def test_questions_are_asked_once_and_maps_of_stills(questions) -> None:
    asked = questions["gaze"].as_json()
    with pytest.raises(ConfigError, match="each question once"):
        SocialFusionConfig(questions=[asked, asked])
    with pytest.raises(ConfigError, match="one picture for the map"):
        SocialFusionConfig(questions=[{**asked, "frames": 2}])
    with pytest.raises(ConfigError, match="at least one question"):
        build(SocialFusionConfig(language_model="tiny"), seed=0)


def test_another_language_model_under_the_same_name_is_refused(make_model) -> None:
    with pytest.raises(WeightsError, match="with digest 000000000000, found"):
        make_model(language_model_digest="0" * 64)


def test_another_encoder_is_refused(make_model) -> None:
    info = EncoderInfo("tiny:pre", "e" * 64, 3, 96, 64, 8, 0, (0.5,) * 3, (0.5,) * 3)
    config = make_model().config
    check_encoder(config, info)
    with pytest.raises(PairingError, match=r"tokens of tiny:pre .* found tiny:post"):
        check_encoder(config, replace(info, name="tiny:post", digest="f" * 64))


def test_published_size_has_the_published_number_of_parameters(published_llama, questions) -> None:
    config = SocialFusionConfig(
        questions=[one.as_json() for one in questions.values()], grid=(24, 24), token_width=1024
    )
    with torch.device("meta"):
        language = Language("llama", published_llama, load_tokenizer("tiny"))
        model = SocialFusion(config, language)
    counts: dict[str, int] = {}
    for name, one in model.trained_parameters().items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + one.numel()
    assert counts == {
        "connector": 29_370_368,
        "boxes": 4 * 1024,
        "heatmap": 2048 * 256 + 256 + 256 * 4 + 1,
        "language_model": 22_544_384,
    }
