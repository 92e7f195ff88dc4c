"""Digests of weights find every change, and nothing else."""

import copy

import pytest
import torch

from degradation.errors import WeightsError
from socialfusion.frozen import check_frozen, combined, frozen_digests
from socialfusion.language import load_language
from socialfusion.lora import lora_config, with_adapters


def test_adapters_do_not_count_and_wrapping_does_not_rename() -> None:
    language = load_language("tiny")
    bare = frozen_digests(language.model)
    config = lora_config(language.model, "all-linear", rank=2, alpha=4, dropout=0.0)
    with_adapters(language.model, config)
    assert frozen_digests(language.model) == bare
    for name, one in language.model.named_parameters():
        if "lora_" in name:
            one.data.add_(1)
    check_frozen(bare, frozen_digests(language.model))


def test_the_first_changed_tensor_is_named() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    before = frozen_digests(module)
    check_frozen(before, frozen_digests(copy.deepcopy(module)))
    module(torch.randn(4, 2))  # batch norm counts in training
    with pytest.raises(WeightsError, match=r"1.num_batches_tracked changed"):
        check_frozen(before, frozen_digests(module))
    with pytest.raises(WeightsError, match=r"0.bias is gone"):
        check_frozen(before, {k: v for k, v in before.items() if k != "0.bias"})
    with pytest.raises(WeightsError, match=r"2.bias is new"):
        check_frozen(before, {**before, "2.bias": "x"})


def test_one_bit_a_type_or_a_name_changes_the_whole() -> None:
    module = torch.nn.Linear(2, 3)
    digests = frozen_digests(module)
    moved = copy.deepcopy(module)
    moved.weight.data.view(torch.int32)[0, 0] ^= 1
    half = copy.deepcopy(module).bfloat16()
    renamed = {name.replace("weight", "height"): one for name, one in digests.items()}
    wholes = [digests, frozen_digests(moved), frozen_digests(half), renamed]
    assert len({combined(one) for one in wholes}) == 4
    assert combined(dict(reversed(digests.items()))) == combined(digests)
