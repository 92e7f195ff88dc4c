"""The frozen language model and its tokenizer, from the package, a folder or the hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from degradation.encoders.checkpoint.network import explanation
from degradation.encoders.shipped import tiny_folder
from degradation.errors import ConfigError, WeightsError

__all__ = ["TINY", "Language", "load_language", "load_tokenizer"]

TINY = "tiny"
"""Names the language model that ships with this package."""


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A causal language model that is ready to be asked.

    Attributes:
        name: As given: `tiny`, a folder, or a name on the hub.
        model: Frozen, in evaluation mode.
        tokenizer: Its tokenizer.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        """Check that tokenizer and model belong together.

        Raises:
            ConfigError: The tokenizer has words that the model has no vector for, or no end.
        """
        rows = self.model.get_input_embeddings().num_embeddings
        highest = max(self.tokenizer.get_vocab().values(), default=-1)
        if highest >= rows:
            raise ConfigError(
                f"Expected a tokenizer with at most the {rows} words of the language model "
                f"{self.name}, found word number {highest}. They do not belong together: give a "
                "folder with both of one model."
            )
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"Expected a tokenizer with an end-of-sequence token, which ends every answer; "
                f"that of {self.name} has none. Set eos_token in its tokenizer_config.json."
            )

    @property
    def pad(self) -> int:
        """The token that fills up answers: the tokenizer's, else its end-of-sequence token.

        Either does: what is filled up is neither read by another position nor scored.
        """
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad


def load_language(name: str, *, dtype: str = "float32") -> Language:
    """A language model with its tokenizer, frozen, on the CPU.

    Args:
        name: `tiny`, a folder in the layout of transformers, or a name on the hub.
        dtype: Of its weights.

    Raises:
        ConfigError: It is not a causal language model, or the tokenizer is another's.
        WeightsError: It cannot be found, is gated, or is damaged.
    """
    place = _place(name)
    tokenizer = load_tokenizer(name)
    config = _loaded(AutoConfig, place, name)
    if hasattr(config, "vision_config"):
        raise ConfigError(
            f"Expected a language model, but {name} has a vision tower of its own "
            f"({config.model_type}). Name a model that reads text only."
        )
    model = _loaded(AutoModelForCausalLM, place, name, dtype=getattr(torch, dtype))
    model.name_or_path = name  # what adapters say they belong to, so no folder of this machine
    return Language(name, model.requires_grad_(False).eval(), tokenizer)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model, without its weights.

    Raises:
        ConfigError: It needs code of its own.
        WeightsError: It cannot be found, is gated, or is damaged.
    """
    return _loaded(AutoTokenizer, _place(name), name)


def _place(name: str) -> str:
    """Where transformers finds it.

    Raises:
        WeightsError: It looks like a folder, but holds no model.
    """
    folder = tiny_folder() / "language-model" if name == TINY else Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WeightsError(
            f"Expected a language model in {folder}, but there is no config.json. Give the folder "
            "that `save_pretrained` of transformers wrote, or a name on the hub."
        )
    if not folder.is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise WeightsError(
            f"Expected a language model, but there is no folder {name}. Give a folder, a name on "
            f"the hub such as meta-llama/Llama-3.2-1B, or {TINY} for the one in this package."
        )
    return str(folder) if folder.is_dir() else name


def _loaded(loader: Any, place: str, name: str, **options: object) -> Any:
    """What a loader of transformers reads, its errors in plain words; never with remote code."""
    try:
        with _quiet() if Path(place).is_dir() else nullcontext():
            return loader.from_pretrained(place, trust_remote_code=False, **options)
    except OSError as error:
        if Path(place).is_dir():
            raise WeightsError(f"{name} cannot be read: {_first(error)}") from error
        raise WeightsError(explanation(_cause(error), name, "main")) from error
    except (ValueError, KeyError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"Expected a causal language model that this transformers knows, but {name} cannot be "
            f"loaded: {_first(error)} Name another model; code from repositories is never run."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars: what lies on disk is read at once, and downloads are another matter."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _cause(error: Exception) -> Exception:
    """The error of the hub that transformers wrapped, where there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, HfHubHTTPError | LocalEntryNotFoundError | OfflineModeIsEnabled):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
