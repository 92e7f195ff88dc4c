"""`sdiag provenance`, on the embedded pair and on checkpoints in the hub's own formats."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from degradation.encoders import catalogue
from degradation.encoders.catalogue import ENCODERS
from degradation.encoders.shipped import tiny_steps
from degradation.errors import ConfigError
from sdiag.cli import app

WIDTH, MLP, PATCH, SIDE = 16, 32, 4, 8
Save = Callable[[dict[str, Tensor]], None]


def run(*arguments: str, out: Path) -> Result:
    return CliRunner().invoke(
        app, ["provenance", *arguments, "--out", str(out), "--json"], catch_exceptions=False
    )


def clip_state(seed: int, depth: int = 24) -> dict[str, Tensor]:
    """A CLIP tower under the names of the hub, without prefix."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        # Few bits, so that half precision holds the values exactly, as it does OpenAI's.
        return (torch.randn(shape, generator=generator) * 8).round() / 64

    state = {
        "embeddings.class_embedding": drawn(WIDTH),
        "embeddings.patch_embedding.weight": drawn(WIDTH, 3, PATCH, PATCH),
        "embeddings.position_embedding.weight": drawn((SIDE // PATCH) ** 2 + 1, WIDTH),
        "pre_layrnorm.weight": 1 + drawn(WIDTH),
        "pre_layrnorm.bias": drawn(WIDTH),
        "post_layernorm.weight": 1 + drawn(WIDTH),
        "post_layernorm.bias": drawn(WIDTH),
    }
    linear = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (MLP, WIDTH), "mlp.fc2": (WIDTH, MLP)}
    for i in range(depth):
        layer = f"encoder.layers.{i}"
        for name, shape in linear.items():
            state |= {
                f"{layer}.{name}.weight": drawn(*shape),
                f"{layer}.{name}.bias": drawn(shape[0]),
            }
        for norm in ("layer_norm1", "layer_norm2"):
            state |= {
                f"{layer}.{norm}.weight": 1 + drawn(WIDTH),
                f"{layer}.{norm}.bias": drawn(WIDTH),
            }
    return state


VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": 24,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "hidden_act": "quick_gelu",
    "projection_dim": 8,
}
MOLMO_NAMES = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.out_proj": "attention.wo",
    "layer_norm1": "attention_norm",
    "layer_norm2": "ffn_norm",
    "mlp.fc1": "feed_forward.w1",
    "mlp.fc2": "feed_forward.w2",
}


def save(folder: Path, state: dict[str, Tensor], config: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def save_clip(root: Path, state: dict[str, Tensor]) -> None:
    prefixed = {f"vision_model.{name}": tensor for name, tensor in state.items()}
    config = {"model_type": "clip", "vision_config": VISION}
    save(root / ENCODERS["clip-l-336"].repo, prefixed, config)


def save_llava(root: Path, state: dict[str, Tensor]) -> None:
    prefixed = {f"vision_tower.vision_model.{n}": t.half() for n, t in state.items()}
    prefixed["language_model.lm_head.weight"] = torch.zeros(4, 4, dtype=torch.float16)
    config = {"model_type": "llava", "vision_config": VISION, "vision_feature_layer": -2}
    save(root / ENCODERS["llava-1.5:post"].repo, prefixed, config)


def save_molmo(root: Path, state: dict[str, Tensor]) -> None:
    """The same tower as MolmoE has it: 23 blocks, patches flattened (row, column, channel)."""
    patches = state["embeddings.patch_embedding.weight"]
    named = {
        "class_embedding": state["embeddings.class_embedding"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "patch_embedding.weight": patches.permute(0, 2, 3, 1).reshape(WIDTH, -1).contiguous(),
        "pre_ln.weight": state["pre_layrnorm.weight"],
        "pre_ln.bias": state["pre_layrnorm.bias"],
    }
    for i in range(23):
        for ours, theirs in MOLMO_NAMES.items():
            for end in ("weight", "bias"):
                tensor = state[f"encoder.layers.{i}.{ours}.{end}"]
                named[f"transformer.resblocks.{i}.{theirs}.{end}"] = tensor
    prefixed = {f"model.vision_backbone.image_vit.{n}": t for n, t in named.items()}
    prefixed["model.vision_backbone.pad_embed"] = torch.zeros(2, 2 * WIDTH)
    tower = {
        "image_model_type": "openai",
        "image_default_input_size": [SIDE, SIDE],
        "image_patch_size": PATCH,
        "image_emb_dim": WIDTH,
        "image_num_heads": 2,
        "image_num_layers": 23,
        "image_mlp_dim": MLP,
        "image_mlp_activations": "quick_gelu",
        "image_norm_eps": 1e-5,
    }
    save(root / ENCODERS["molmoe:post"].repo, prefixed, {
        "model_type": "molmo", "vision_backbone": tower, "vit_layers": [-2, -9],
    })  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for checkpoints of towers that are small, registered as such."""
    for name in ("clip-l-336", "llava-1.5:post", "molmoe:post"):
        small = replace(ENCODERS[name], width=WIDTH, patch=PATCH, size=SIDE)
        monkeypatch.setitem(catalogue.ENCODERS, name, small)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "weights"


def trained(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """All blocks but 22 and 23 moved a little, as training that reads block 21 would."""
    generator = torch.Generator().manual_seed(5)
    spared = ("encoder.layers.22.", "encoder.layers.23.", "post_layernorm.")
    return {
        name: tensor
        if name.startswith(spared)
        else tensor + 0.01 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }


def test_without_arguments_the_embedded_pair_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["provenance", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    last = f"tiny:{tiny_steps()[-1]}"
    assert (data["post"], data["origins"]) == ("tiny:post", [last])
    assert [one["name"] for one in data["candidates"]][-1] == "tiny:pre"
    assert 0 < data["margin"] < 1
    files = {path.name for path in (tmp_path / "sdiag-provenance").iterdir()}
    figure = {f"provenance.{kind}" for kind in ("png", "svg", "csv")}
    assert files == {"provenance.md", "tensors.csv", *figure}
    assert all(row["relative_l2"] is not None for row in data["distances"])


def test_people_read_sentences_and_the_place_of_the_account(tmp_path: Path) -> None:
    arguments = ["provenance", "--post", "tiny:post", "-c", "tiny:post", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    first, *rest = done.stdout.splitlines()
    words = "tiny:post descends from tiny:post: relative distance 0, where chance gives "
    assert first.startswith(words)
    assert rest == [
        "tiny:post and tiny:post have identical weights: every delta is exactly 0.",
        f"Account: {tmp_path / 'provenance.md'}",
    ]


def test_a_frozen_llava_passes_its_self_test(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_llava(weights, clip_state(1))
    done = run("--model", "llava-1.5", "--weights", str(weights), out=tmp_path / "out")
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert data["origins"] == ["clip-l-336"]
    assert data["candidates"][0]["identical"]
    assert [test["passed"] for test in data["self_tests"]] == [True]
    assert "every delta is exactly 0" in data["sentences"][1]
    assert "Self-test passed" in (tmp_path / "out" / "provenance.md").read_text()


def test_a_llava_that_was_trained_fails_its_self_test(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_llava(weights, trained(clip_state(1)))
    done = run("--model", "llava-1.5", "--weights", str(weights), out=tmp_path)
    assert done.exit_code == 6
    data = json.loads(done.stdout)
    assert data["origins"] == ["clip-l-336"]
    assert not data["self_tests"][0]["passed"]
    assert "Self-test FAILED" in data["sentences"][-1]


def test_molmos_unread_block_is_that_of_clip(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_molmo(weights, trained(clip_state(1)))
    done = run("--model", "molmoe", "--weights", str(weights), out=tmp_path)
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert data["self_tests"] == [{"prefix": "blocks.22.", "n": 12, "same": 12, "passed": True}]
    (clip,) = data["candidates"]
    assert clip["counts"]["identical"] == 12
    assert clip["counts"]["pre only"] == 12  # CLIP's block 23
    assert clip["counts"]["post only"] == clip["counts"]["misshapen"] == 0
    by_block = {
        row["part"]: row["relative_l2"] for row in data["distances"] if row["kind"] == "all"
    }
    assert by_block["block 22"] == 0 < by_block["block 21"] < 0.2


def test_a_molmo_whose_unread_block_moved_fails(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_molmo(weights, clip_state(2))
    done = run("--model", "molmoe", "--weights", str(weights), out=tmp_path)
    assert done.exit_code == 6
    assert json.loads(done.stdout)["origins"] == []


def test_named_folders_of_a_known_pair_keep_its_self_test(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_llava(weights, trained(clip_state(1)))
    clip, llava = (weights / ENCODERS[name].repo for name in ("clip-l-336", "llava-1.5:post"))
    done = run(
        *("--post", f"llava-1.5:post@{llava}", "--candidate", f"llava-1.5:pre@{clip}"),
        out=tmp_path,
    )
    data = json.loads(done.stdout)
    assert (done.exit_code, len(data["self_tests"])) == (6, 1)
    assert data["candidates"][0]["name"] == f"clip-l-336@{clip}"
    assert data["post"] == f"llava-1.5:post@{llava}"


def test_more_candidates_can_be_added_to_a_pair(weights: Path, tmp_path: Path) -> None:
    save_clip(weights, clip_state(1))
    save_molmo(weights, trained(clip_state(1)))
    other = tmp_path / "other"
    save_clip(other, clip_state(3))
    name = f"clip-l-336@{other / ENCODERS['clip-l-336'].repo}"
    done = run("-m", "molmoe", "-c", name, "--weights", str(weights), out=tmp_path / "out")
    data = json.loads(done.stdout)
    assert data["origins"] == ["clip-l-336"]
    assert [one["name"] for one in data["candidates"]] == ["clip-l-336", name]
    assert not data["candidates"][1]["related"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "tiny", "--post", "tiny:post"), "either --model or --post"),
        (("--post", "tiny:post"), "--candidate"),
        (("--model", "rotation"), "rotation:post is a PlantedEncoder"),
        (("--model", "tinny"), "Did you mean tiny"),
        (("--post", "tiny:post", "-c", "tiny:prae"), "no encoder 'tiny:prae'"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        run(*arguments, out=tmp_path)
