"""What a SocialFusion model is made of: everything that decides its shape and its answers.

It names the frozen parts and holds their digests, so that a checkpoint cannot be put on others.
"""

from typing import Any

from transformers import PretrainedConfig

from degradation.encoders.encoder import EncoderInfo
from degradation.errors import ConfigError, PairingError
from socialfusion.questions import Question

__all__ = ["SocialFusionConfig", "check_encoder"]

_DTYPES = ("float32", "bfloat16")
_ATTENTION = ("causal", "prefix")


class SocialFusionConfig(PretrainedConfig):
    """The configuration, as `config.json` holds it.

    Attributes:
        encoder: Name of the frozen encoder: `tiny:pre`.
        encoder_digest: Its digest (`EncoderInfo.digest`).
        block: The block whose patch tokens are read.
        grid: Rows and columns of one picture's tokens.
        token_width: Their width d.
        token_scale: Tokens are divided by it; their root mean square over the training rows makes
            the units of an encoder drop out.
        questions: The questions that the model answers, as `Question.as_json` gives them.
        language_model: `tiny` (the one that ships with this package), a folder, or a name on the
            hub.
        language_model_digest: Of its weights as loaded; empty until the model is built.
        language_model_config: Its own configuration; empty until the model is built.
        language_model_dtype: `float32` or `bfloat16`: of its frozen weights.
        connector_depth: Linear layers of the connector.
        connector_width: Width between them.
        lora_rank: Rank r of the adapters.
        lora_alpha: They are scaled by alpha / r; 2 r if None.
        lora_dropout: Share of an adapter's inputs that is dropped in training.
        lora_targets: `all-linear` (every projection of the blocks), or the ends of module names.
        heatmap_size: Side of a gaze map in cells.
        heatmap_width: Channels of the gaze head before the transposed convolution.
        heatmap_weight: Lambda: the loss of a map is multiplied by it.
        box_masks: Whether boxes are marked in the picture.
        attention: `causal` (as the language model was trained), or `prefix`: picture and prompt
            see each other both ways, and only answers are causal (arXiv 2407.07726).
        answer_limit: Most tokens of an answer, its end included.
    """

    model_type = "socialfusion"

    encoder: str = ""
    encoder_digest: str = ""
    block: int = 0
    grid: list[int] | tuple[int, ...] = (24, 24)
    token_width: int = 1024
    token_scale: float = 1.0
    questions: list[dict[str, Any]] | tuple[dict[str, Any], ...] = ()
    language_model: str = "meta-llama/Llama-3.2-1B"
    language_model_digest: str = ""
    language_model_config: dict[str, Any] | None = None
    language_model_dtype: str = "float32"
    connector_depth: int = 3
    connector_width: int = 4096
    lora_rank: int = 32
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    lora_targets: str | list[str] | tuple[str, ...] = "all-linear"
    heatmap_size: int = 64
    heatmap_width: int = 256
    heatmap_weight: float = 50.0
    box_masks: bool = True
    attention: str = "causal"
    answer_limit: int = 16

    def __post_init__(self, **kwargs: Any) -> None:
        """Check every value and bring lists into JSON's types.

        Raises:
            ConfigError: Naming the value.
        """
        self.grid, self.questions = list(self.grid), list(self.questions)
        if not isinstance(self.lora_targets, str):
            self.lora_targets = list(self.lora_targets)
        if self.lora_alpha is None:
            self.lora_alpha = 2 * self.lora_rank
        super().__post_init__(**kwargs)
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ConfigError(
                f"Expected a grid of rows and columns, found {self.grid}. Give both, at least 1."
            )
        positive = {
            "token_width": self.token_width,
            "token_scale": self.token_scale,
            "connector_depth": self.connector_depth,
            "connector_width": self.connector_width,
            "lora_rank": self.lora_rank,
            "lora_alpha": self.lora_alpha,
            "heatmap_size": self.heatmap_size,
            "heatmap_width": self.heatmap_width,
            "heatmap_weight": self.heatmap_weight,
            "answer_limit": self.answer_limit,
        }
        for name, value in positive.items():
            if not 0 < value < float("inf"):
                raise ConfigError(f"Expected {name} above 0, found {value}. Give a larger one.")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"Expected lora_dropout in [0, 1), found {self.lora_dropout}.")
        for name, value, known in (
            ("language_model_dtype", self.language_model_dtype, _DTYPES),
            ("attention", self.attention, _ATTENTION),
        ):
            if value not in known:
                raise ConfigError(f"Expected {name} {' or '.join(known)}, found {value!r}.")
        labels = [question.label for question in self.asked()]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise ConfigError(f"Expected each question once, found {', '.join(twice)} again.")
        for question in self.asked():
            if question.kind == "gaze" and question.frames != 1:
                raise ConfigError(
                    f"Expected one picture for the map of {question.label}, found "
                    f"{question.frames} frames. Ask it of stills."
                )

    def asked(self) -> tuple[Question, ...]:
        """The questions, as records, in their order."""
        return tuple(Question.from_json(fields) for fields in self.questions)

    def roles(self) -> tuple[str, ...]:
        """Roles of all questions, each once, in order of first use."""
        return tuple(dict.fromkeys(role for question in self.asked() for role in question.roles))


def check_encoder(config: SocialFusionConfig, info: EncoderInfo) -> None:
    """Check that the tokens of an encoder are those that a model was trained on.

    Raises:
        PairingError: It is another encoder, or has other weights.
    """
    if config.encoder_digest != info.digest:
        raise PairingError(
            f"Expected tokens of {config.encoder} (digest {config.encoder_digest[:12]}), which "
            f"this model was trained on, found {info.name} (digest {info.digest[:12]}). Give that "
            "encoder, or train a model on this one."
        )
