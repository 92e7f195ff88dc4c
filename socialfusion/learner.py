"""What training, evaluation and transfer need of a model, whatever it is inside."""

import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Float32
from torch import Tensor, nn

from socialfusion.questions import Question

__all__ = ["Learner", "QuestionBatch"]


@runtime_checkable
class QuestionBatch(Protocol):
    """A micro-batch of one question, in whatever form its model reads."""

    @property
    def question(self) -> Question:
        """What is asked."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A torch module that answers questions: `SocialFusion`, or a fine-tuned `Vlm`."""

    questions: Mapping[str, Question]

    def __call__(self, batch: Any) -> Float32[Tensor, " b"]:
        """Loss of each sample, in nats."""
        ...

    def scores(self, batch: Any) -> Float32[Tensor, "b c"]:
        """Log-probability of each class."""
        ...

    def heatmaps(self, batch: Any) -> Float[Tensor, "b s s"]:
        """Logits of the map of where somebody looks."""
        ...

    def generate_answers(self, batch: Any) -> list[str]:
        """Answers in the model's own words."""
        ...

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name, in a fixed order."""
        ...

    def language_digests(self) -> dict[str, str]:
        """SHA-256 of each frozen tensor."""
        ...

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write all that was trained."""
        ...
