"""Small random towers of each library, saved to disk: our tokens equal the library's own."""

import json

import huggingface_hub
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

from degradation.encoders.external import LIBRARIES, load_external
from degradation.encoders.frozen import channels, normalise
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError, WeightsError

SIZE, PATCH, WIDTH, DEPTH = 24, 8, 32, 3
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 20,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
VISION = SHAPE | {"intermediate_size": 48}
OPEN_CLIP = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": DEPTH,
        "width": WIDTH,
        "head_width": 8,
        "patch_size": PATCH,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    torch.manual_seed(0)  # the libraries draw their initial weights from the global stream


def random_pixels(size=SIZE):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), generator=rng, dtype=torch.uint8)


def save_hf(model, folder):
    model.eval().save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD, "image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return f"hf:{folder}"


def rescaled(model, factor=4.0):
    """The model with larger weights: at initial size every block is nearly the identity."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= factor
    return model


def assert_contract(encoder, n_prefix, size=SIZE, patch=PATCH):
    info = encoder.info
    assert (info.size, info.patch, info.n_prefix) == (size, patch, n_prefix)
    tokens = encoder(random_pixels(size), [info.n_blocks - 1, 0])
    assert list(tokens) == [info.n_blocks - 1, 0]
    grid = size // patch
    for output in tokens.values():
        assert output.patches.shape == (2, grid * grid, info.width)
        assert output.prefix.shape == (2, n_prefix, info.width)
    assert not any(module.training for module in encoder.train().modules())
    assert not any(p.requires_grad for p in encoder.parameters())


def assert_raster(encoder):
    """The first block changes most in the cell that changed: weights must be as initialised."""
    info = encoder.info
    grid = info.size // info.patch
    dark = torch.zeros(1, 3, info.size, info.size, dtype=torch.uint8)
    for row, column in ((0, grid - 1), (2, 1)):
        bright = dark.clone()
        top, left = row * info.patch, column * info.patch
        bright[:, :, top : top + info.patch, left : left + info.patch] = 255
        change = encoder(bright, [0])[0].patches - encoder(dark, [0])[0].patches
        assert change.norm(dim=-1).argmax() == row * grid + column


def hf_model(kind):
    match kind:
        case "clip":
            return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION))
        case "siglip":
            return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VISION))
        case "vit":
            return transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False)
        case "dinov2":
            return transformers.Dinov2Model(transformers.Dinov2Config(**SHAPE, mlp_ratio=2))
        case "dinov2_with_registers":
            config = transformers.Dinov2WithRegistersConfig(
                **SHAPE, mlp_ratio=2, num_register_tokens=2
            )
            return transformers.Dinov2WithRegistersModel(config)


@pytest.mark.parametrize(
    ("kind", "n_prefix"),
    [("clip", 1), ("siglip", 0), ("vit", 1), ("dinov2", 1), ("dinov2_with_registers", 3)],
)
def test_transformers_tower_equals_its_own_hidden_states(tmp_path, kind, n_prefix):
    model = rescaled(hf_model(kind))
    encoder = load_encoder(save_hf(model, tmp_path))
    assert (encoder.info.mean, encoder.info.std) == (MEAN, STD)
    assert (encoder.info.n_blocks, encoder.info.width) == (DEPTH, WIDTH)
    pixels = random_pixels()
    with torch.no_grad():
        states = model(
            normalise(pixels, channels(MEAN), channels(STD)), output_hidden_states=True
        ).hidden_states
    tokens = encoder(pixels, range(DEPTH))
    for block in range(DEPTH):
        together = torch.cat([tokens[block].prefix, tokens[block].patches], dim=1)
        torch.testing.assert_close(together, states[block + 1], atol=1e-5, rtol=1e-5)
    assert_contract(encoder, n_prefix)


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "dinov2", "dinov2_with_registers"])
def test_transformers_patches_are_in_raster_order(tmp_path, kind):
    assert_raster(load_external(save_hf(hf_model(kind), tmp_path)))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_vision_part_of_a_two_tower_model(tmp_path, kind):
    name = {"clip": "CLIP", "siglip": "Siglip"}[kind]
    config = getattr(transformers, f"{name}Config")(vision_config=VISION, text_config=TEXT)
    model = rescaled(getattr(transformers, f"{name}Model")(config))
    encoder = load_external(save_hf(model, tmp_path))
    pixels = random_pixels()
    with torch.no_grad():
        output = model.vision_model(
            normalise(pixels, channels(MEAN), channels(STD)), output_hidden_states=True
        )
    tokens = encoder(pixels, [1])[1]
    together = torch.cat([tokens.prefix, tokens.patches], dim=1)
    torch.testing.assert_close(together, output.hidden_states[2], atol=1e-5, rtol=1e-5)


def test_hub_names_and_half_precision(tmp_path):
    model = hf_model("clip")
    name = save_hf(model, tmp_path)
    before = load_external(name).info.digest
    path = tmp_path / "model.safetensors"
    state = {f"vision_model.{n}": x for n, x in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})
    assert load_external(name).info.digest == before
    save_file({n: x.half() for n, x in state.items()}, path, metadata={"format": "pt"})
    encoder = load_external(name)
    assert encoder(random_pixels(), [0])[0].patches.dtype == torch.float32
    assert encoder.info.digest != before


def damaged(state, key):
    state.pop(key)


def grown(state, key):
    state[f"{key}.extra"] = torch.ones(3)


def reshaped(state, key):
    state[key] = torch.ones(3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(damaged, "1 missing"), (grown, "1 unexpected"), (reshaped, "1 misshapen")],
)
@pytest.mark.parametrize("kind", ["clip", "vit", "dinov2"])
def test_transformers_tower_is_never_filled_at_random(tmp_path, kind, damage, message):
    name = save_hf(hf_model(kind), tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    damage(state, next(n for n in sorted(state) if ".1." in n and "norm" in n))
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=message):
        load_external(name)


def test_transformers_folders_that_cannot_be_used(tmp_path):
    name = save_hf(hf_model("clip"), tmp_path / "clip")
    weights = tmp_path / "clip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="hf could not load them"):
        load_external(name)
    (tmp_path / "clip" / "preprocessor_config.json").unlink()
    hf_model("clip").save_pretrained(tmp_path / "clip")
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        load_external(name)
    bert = transformers.BertConfig(**{n: TEXT[n] for n in ("hidden_size", "vocab_size")})
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="'bert', which has no vision tower"):
        load_external(f"hf:{tmp_path / 'bert'}")
    with pytest.raises(WeightsError, match="there is none"):
        load_external(f"hf:{tmp_path / 'nowhere'}")
    with pytest.raises(WeightsError, match="Without a network, download them beforehand"):
        load_external("hf:nobody/nothing")


def test_remote_code_is_refused(tmp_path):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(WeightsError, match="trust_remote_code"):
        load_external(f"hf:{tmp_path}")


@pytest.fixture
def open_clip_folder(tmp_path):
    preprocess = {"mean": MEAN, "std": STD}
    settings = {"model_cfg": OPEN_CLIP, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    model = open_clip.CLIP(**OPEN_CLIP).eval()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    return tmp_path, model


def test_open_clip_folder_equals_its_own_intermediates(open_clip_folder):
    folder, model = open_clip_folder
    assert_raster(load_encoder(f"open_clip:{folder}"))
    save_file(rescaled(model).state_dict(), folder / "open_clip_model.safetensors")
    encoder = load_encoder(f"open_clip:{folder}")
    pixels = random_pixels()
    with torch.no_grad():
        output = model.visual.forward_intermediates(
            normalise(pixels, channels(MEAN), channels(STD)),
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
    tokens = encoder(pixels, range(DEPTH))
    for block in range(DEPTH):
        patches = output["image_intermediates"][block]
        prefix = output["image_intermediates_prefix"][block]
        torch.testing.assert_close(tokens[block].patches, patches, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens[block].prefix, prefix, atol=1e-5, rtol=1e-5)
    assert (encoder.info.mean, encoder.info.std) == (MEAN, STD)
    assert_contract(encoder, n_prefix=1)


def test_open_clip_pytorch_file_gives_the_same_encoder(open_clip_folder):
    folder, model = open_clip_folder
    before = load_external(f"open_clip:{folder}").info
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": model.state_dict()}, folder / "open_clip_pytorch_model.bin")
    assert load_external(f"open_clip:{folder}").info == before


def test_open_clip_activation_is_part_of_the_digest(open_clip_folder):
    folder, _ = open_clip_folder
    before = load_external(f"open_clip:{folder}").info.digest
    settings = {"model_cfg": OPEN_CLIP | {"quick_gelu": False}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    assert load_external(f"open_clip:{folder}").info.digest != before


def test_open_clip_folders_that_cannot_be_used(open_clip_folder):
    folder, model = open_clip_folder
    weights = folder / "open_clip_model.safetensors"
    state = model.state_dict()
    del state["visual.positional_embedding"]
    save_file(state, weights)
    with pytest.raises(WeightsError, match=r"1 missing \(positional_embedding\)"):
        load_external(f"open_clip:{folder}")
    # A table of another grid is refused, not interpolated behind the user's back.
    save_file(state | {"visual.positional_embedding": torch.zeros(17, WIDTH)}, weights)
    with pytest.raises(WeightsError, match="1 misshapen"):
        load_external(f"open_clip:{folder}")
    weights.unlink()
    with pytest.raises(WeightsError, match=r"found open_clip_config\.json"):
        load_external(f"open_clip:{folder}")
    torch.save({"visual.proj": torch.zeros(2), "epoch": 3}, folder / "model.pt")
    (folder / "model.pt").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError, match="Save the model's state_dict"):
        load_external(f"open_clip:{folder}")
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="model_cfg"):
        load_external(f"open_clip:{folder}")


def test_open_clip_file_for_a_known_architecture(open_clip_folder):
    folder, _ = open_clip_folder
    (folder / "ViT-nano.json").write_text(json.dumps(OPEN_CLIP))
    open_clip.add_model_config(folder / "ViT-nano.json")
    encoder = load_external(f"open_clip:ViT-nano@{folder / 'open_clip_model.safetensors'}")
    assert encoder.info.digest == load_external(f"open_clip:{folder}").info.digest
    assert encoder.info.mean == open_clip.OPENAI_DATASET_MEAN
    with pytest.raises(WeightsError, match="No such file"):
        load_external(f"open_clip:ViT-nano@{folder / 'absent.bin'}")


def test_open_clip_names_that_cannot_be_used():
    with pytest.raises(ConfigError, match="Did you mean ViT-B-32"):
        load_external("open_clip:ViT-B-3/openai")
    with pytest.raises(
        ConfigError, match=r"no open_clip tag of ViT-B-32, 'opanai'\. Did you mean op"
    ):
        load_external("open_clip:ViT-B-32/opanai")
    with pytest.raises(ConfigError, match="Use open_clip:ViT-B-32-quickgelu/openai"):
        load_external("open_clip:ViT-B-32/openai")


def test_timm_file_equals_its_own_intermediates(tmp_path):
    model = rescaled(timm.create_model("test_vit", num_classes=7).eval())
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    encoder = load_encoder(f"timm:test_vit@{path}")
    settings = model.pretrained_cfg
    pixels = random_pixels(size=160)
    with torch.no_grad():
        expected = model.forward_intermediates(
            normalise(pixels, channels(settings["mean"]), channels(settings["std"])),
            norm=False,
            output_fmt="NLC",
            return_prefix_tokens=True,
            intermediates_only=True,
        )
    tokens = encoder(pixels, range(encoder.info.n_blocks))
    assert len(expected) == encoder.info.n_blocks
    for block, (patches, prefix) in enumerate(expected):
        torch.testing.assert_close(tokens[block].patches, patches, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens[block].prefix, prefix, atol=1e-5, rtol=1e-5)
    assert_contract(encoder, n_prefix=1, size=160, patch=16)


def test_timm_patches_are_in_raster_order(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    assert_raster(load_external(f"timm:test_vit@{path}"))


def test_timm_files_that_cannot_be_used(tmp_path):
    state = timm.create_model("test_vit").state_dict()
    path = tmp_path / "model.pth"
    torch.save({n: x for n, x in state.items() if n != "blocks.0.norm1.weight"}, path)
    with pytest.raises(WeightsError, match=r"1 missing \(blocks\.0\.norm1\.weight\)"):
        load_external(f"timm:test_vit@{path}")
    torch.save(timm.create_model("test_vit"), path)  # a whole object, not its state
    with pytest.raises(WeightsError, match="which are never unpickled"):
        load_external(f"timm:test_vit@{path}")
    with pytest.raises(ConfigError, match="Did you mean vit_tiny_patch16_224"):
        load_external("timm:vit_tiny_patch16_225")
    with pytest.raises(ConfigError, match="not: it is a ResNet"):
        load_external(f"timm:test_resnet@{path}")
    with pytest.raises(WeightsError, match="Without a network"):
        load_external("timm:test_vit")


def test_offline_reaches_the_libraries_and_ends_with_the_call(monkeypatch):
    constants, seen = huggingface_hub.constants, []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def load(reference, *, trained):
        seen.append(constants.HF_HUB_OFFLINE)
        raise OSError("no such repository")

    monkeypatch.setitem(LIBRARIES, "hf", load)
    for offline in (True, False):
        with pytest.raises(WeightsError, match="no such repository"):
            load_encoder("hf:some/model", offline=offline)
        assert not constants.HF_HUB_OFFLINE
    assert seen == [True, False]
