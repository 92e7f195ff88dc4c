"""A question in tokens: its prompt, and its answers with the end that each is scored with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from degradation.errors import ConfigError
from socialfusion.questions import Question

__all__ = ["Wording", "word_question"]


@dataclass(frozen=True, slots=True)
class Wording:
    """The tokens of one question.

    Attributes:
        before: What stands before the picture: the beginning of a sequence, where the language
            model has one.
        prompt: What follows the picture.
        answers: By class; each ends in the end-of-sequence token.
    """

    before: tuple[int, ...]
    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest answer; 0 without answers."""
        return max(map(len, self.answers), default=0)

    def table(self, pad: int) -> Int64[Tensor, "c a"]:
        """Answers by class, filled up on the right."""
        rows = [[*answer, *[pad] * (self.longest - len(answer))] for answer in self.answers]
        return torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, self.longest)

    def lengths(self) -> Int64[Tensor, " c"]:
        """Tokens of each answer."""
        lengths = [len(answer) for answer in self.answers]
        return torch.tensor(lengths, dtype=torch.int64, device="cpu")


def word_question(question: Question, tokenizer: PreTrainedTokenizerBase, *, limit: int) -> Wording:
    """A question in the tokens of a language model.

    Prompt and answers are told apart by a space, which belongs to the answer, as tokenizers that
    read spaces expect.

    Args:
        question: What is asked.
        tokenizer: Of the language model.
        limit: Most tokens of an answer, its end included.

    Raises:
        ConfigError: A text has no tokens or a word that the language model does not know, an answer
            is longer than the limit, or two answers are the same.
    """
    prompt = _tokens(tokenizer, question.prompt, f"the prompt of {question.label}")
    answers: dict[tuple[int, ...], str] = {}
    for text in question.answers:
        where = f"the answers of {question.label}"
        ids = (*_tokens(tokenizer, f" {text}", where), tokenizer.eos_token_id)
        if len(ids) > limit:
            raise ConfigError(
                f"Expected answers of at most {limit} tokens, but {text!r} among {where} has "
                f"{len(ids)} with its end. Shorten it in the file of prompts, or raise "
                "answer_limit."
            )
        if ids in answers:
            raise ConfigError(
                f"Expected answers that differ, but {answers[ids]!r} and {text!r} among {where} "
                "are the same tokens, so that no score can tell them apart. Reword one of them in "
                "the file of prompts."
            )
        answers[ids] = text
    start = tokenizer.bos_token_id
    return Wording(() if start is None else (start,), prompt, tuple(answers))


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, where: str) -> tuple[int, ...]:
    """The tokens of a text, all of them known."""
    ids: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ConfigError(f"Expected words in {where}, found {text!r}. Mend the file of prompts.")
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise ConfigError(
            f"Expected words that the language model knows, but {text!r} in {where} has one that "
            "its tokenizer does not. Reword it in the file of prompts, or take a language model "
            "that reads any text."
        )
    return tuple(ids)
