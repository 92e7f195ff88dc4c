"""Which layers get adapters: all that are meant, and no others."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from degradation.errors import ConfigError
from socialfusion.lora import lora_config, lora_targets, with_adapters

SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


class Seeing(nn.Module):
    """A language model that brings a vision tower along."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_tower = nn.ModuleDict({"q_proj": nn.Linear(2, 2), "fc1": nn.Linear(2, 2)})
        self.text = nn.ModuleDict({"q_proj": nn.Linear(2, 2)})


@pytest.fixture
def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=11,
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=2,
            num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )


def test_all_linear_is_every_projection_of_the_blocks_and_not_the_output(llama) -> None:
    found = lora_targets(llama, "all-linear")
    assert {name.rpartition(".")[2] for name in found} == SEVEN
    assert len(found) == 2 * 7


def test_names_are_matched_whole(llama) -> None:
    assert lora_targets(llama, ["v_proj", "1.self_attn.q_proj"]) == [
        "model.layers.0.self_attn.v_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.v_proj",
    ]


@pytest.mark.parametrize("wanted", ["proj", "attention.wq", "lm_head", "embed_tokens"])
def test_a_name_that_matches_nothing_is_refused(llama, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}' matches no linear layer.*down_proj"):
        lora_targets(llama, ["q_proj", wanted])


def test_a_vision_tower_is_never_adapted() -> None:
    assert lora_targets(Seeing(), "all-linear") == ["text.q_proj"]
    assert lora_targets(Seeing(), ["text.q_proj"]) == ["text.q_proj"]
    with pytest.raises(ConfigError, match=r"'q_proj' matches vision_tower\.q_proj"):
        lora_targets(Seeing(), ["q_proj"])


@pytest.mark.filterwarnings("error")
def test_transposed_layers_get_adapters_that_fit() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11)).eval()
    before = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    config = lora_config(model, "all-linear", rank=2, alpha=4, dropout=0.0)
    adapted = with_adapters(model, config)
    torch.testing.assert_close(adapted(input_ids=torch.tensor([[1, 2, 3]])).logits, before)
    trained = [name for name, one in adapted.named_parameters() if one.requires_grad]
    assert len(trained) == 2 * 4
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (["q_proj", "v_proj"], 3_407_872),
        (["q_proj", "k_proj", "v_proj", "o_proj"], 6_815_744),
        ("all-linear", 22_544_384),
    ],
)
def test_published_size_has_the_published_number_of_parameters(
    published_llama, wanted, count: int
) -> None:
    with torch.device("meta"):
        config = lora_config(published_llama, wanted, rank=32, alpha=64, dropout=0.0)
        adapted = with_adapters(published_llama, config)
    assert sum(one.numel() for one in adapted.parameters() if one.requires_grad) == count
