"""What a fine-tuned Qwen2-VL is made of: everything that decides its answers."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from probes.records import Record
from socialfusion.questions import Question

__all__ = ["VlmConfig"]


class VlmConfig(Record):
    """The configuration, as `vlm.json` holds it."""

    model: str
    """A folder, or a name on the hub: `Qwen/Qwen2-VL-2B-Instruct`."""
    digest: str = ""
    """Of its weights as loaded; empty until the model is built."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of its frozen weights."""
    questions: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """The questions that it answers, as `Question.as_json` gives them."""
    lora_rank: Annotated[int, Field(ge=1)] = 32
    lora_alpha: Annotated[int, Field(ge=1)] = 64
    """Adapters are scaled by alpha / r."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    lora_targets: str | tuple[str, ...] = "all-linear"
    """`all-linear` (every projection of the language model), or the ends of module names."""
    train_vision: bool = False
    """Whether the vision tower and its merger are trained too, all of their weights."""
    boxes: bool = True
    """Whether boxes are written into the prompt."""
    min_pixels: Annotated[int, Field(ge=1)] = 56 * 56
    """Least area of a picture as it is seen."""
    max_pixels: Annotated[int, Field(ge=1)] = 576 * 28 * 28
    """Largest area: by default 576 tokens, as many as SocialFusion gets from CLIP at 336 pixels."""
    answer_limit: Annotated[int, Field(ge=1)] = 16
    """Most tokens of an answer, its end included."""

    @model_validator(mode="after")
    def _check(self) -> "VlmConfig":
        labels = [one.label for one in self.asked()]
        if len(set(labels)) != len(labels):
            raise ValueError(f"each question once, found {', '.join(labels)}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} above max_pixels {self.max_pixels}")
        return self

    def asked(self) -> tuple[Question, ...]:
        """The questions, as records, in their order."""
        return tuple(Question.from_json(one) for one in self.questions)
