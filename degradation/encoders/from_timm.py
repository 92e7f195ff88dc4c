"""Vision transformers of timm: published weights, or a file for a known architecture."""

from pathlib import Path

from torch import nn

from degradation.encoders.library import Loaded, not_plain, read_weights, square
from degradation.encoders.names import unknown_name
from degradation.encoders.weights import load_strict

__all__ = ["load_timm", "timm_parts"]


def load_timm(reference: str, *, trained: bool = True) -> Loaded:
    """A timm vision transformer without its classifier; untrained as timm initialises it.

    Raises:
        ConfigError: There is no such model, or it is no plain transformer.
    """
    import timm

    name, at, file = reference.partition("@")
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, timm.list_models())
    published = timm.list_pretrained(f"{architecture}*")
    if tag and name not in published:
        raise unknown_name("timm model", name, published)
    model = timm.create_model(name, pretrained=trained and not at)
    blocks, n_prefix, patch = timm_parts(model, f"timm:{name}")
    settings = model.pretrained_cfg
    model.reset_classifier(0)
    if trained and at:
        heads = settings.get("classifier") or ()
        heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
        path = Path(file).expanduser()
        state = {n: x for n, x in read_weights(path).items() if not n.startswith(heads)}
        load_strict(model, state, str(path))
    return Loaded(
        model=model,
        blocks=blocks,
        n_prefix=n_prefix,
        size=square(model.patch_embed.img_size),
        patch=patch,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        facts={"architecture": architecture},
    )


def timm_parts(model: nn.Module, name: str) -> tuple[nn.Module, int, int]:
    """Blocks, number of prefix tokens and patch side of a timm model.

    Raises:
        ConfigError: It is no plain transformer.
    """
    if not all(hasattr(model, part) for part in ("blocks", "num_prefix_tokens", "patch_embed")):
        raise not_plain(name, f"it is a {type(model).__name__}")
    return model.blocks, model.num_prefix_tokens, square(model.patch_embed.patch_size)
