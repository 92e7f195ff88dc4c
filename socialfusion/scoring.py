"""What a language model thinks of every answer at once.

All answers of a question are appended to one sequence behind the shared beginning, and a mask keeps
each from seeing the others; positions restart at each. So the beginning, with all visual tokens, is
computed once, and one pass gives exactly what a pass for each answer would.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from socialfusion.wording import Wording

__all__ = ["Tree", "attention_mask", "likelihoods", "positions"]


def attention_mask(
    prefix: int, spans: Sequence[int], *, both_ways: bool, device: torch.device | None = None
) -> Bool[Tensor, "s s"]:
    """Which position may look at which: True where row may look at column.

    Args:
        prefix: Positions of the shared beginning.
        spans: Positions of each answer behind it.
        both_ways: Whether the beginning sees all of itself; else it is causal.
        device: Where the mask is wanted.
    """
    length = prefix + sum(spans)
    answer = torch.cat(
        [torch.zeros(prefix, dtype=torch.int64)]
        + [torch.full((span,), i + 1, dtype=torch.int64) for i, span in enumerate(spans)]
    ).to(device)
    order = torch.arange(length, device=device)
    causal = order[:, None] >= order
    seen = causal & ((answer[:, None] == answer) | (answer == 0))
    if both_ways:
        seen[:prefix, :prefix] = True
    return seen


def positions(
    prefix: int, spans: Sequence[int], *, device: torch.device | None = None
) -> Int64[Tensor, "1 s"]:
    """The position of each token in the sequence it belongs to, shape (1, prefix + all spans)."""
    parts = [torch.arange(prefix), *(prefix + torch.arange(span) for span in spans)]
    return torch.cat(parts).to(device)[None]


class Tree:
    """All answers of a question as one continuation.

    The last token of an answer is only predicted, never read.

    Args:
        wording: The question in tokens.
    """

    def __init__(self, wording: Wording) -> None:
        answers = wording.answers
        self.spans = [len(answer) - 1 for answer in answers]
        self.ids = _tensor([token for answer in answers for token in answer[:-1]])
        self.lengths = _tensor([len(answer) for answer in answers])
        # Row 0 of the logits is the end of the shared beginning, which predicts all first tokens.
        rows, start = [], 1
        for span in self.spans:
            rows += [0, *range(start, start + span)]
            start += span
        self.row = _tensor(rows)
        self.target = _tensor([token for answer in answers for token in answer])
        self.answer = _tensor([k for k, answer in enumerate(answers) for _ in answer])


def _tensor(values: list[int]) -> Int64[Tensor, " n"]:
    """On the CPU even where a model is being built on the meta device."""
    return torch.tensor(values, dtype=torch.int64, device="cpu")


def likelihoods(logits: Float[Tensor, "b s words"], tree: Tree) -> Float32[Tensor, "b c"]:
    """Log-likelihood of each answer and its end, divided by its number of tokens, in nats.

    Args:
        logits: At the last position of the shared beginning, then at those of the tree.
        tree: The answers.
    """
    device = logits.device
    row, target, answer, lengths = (
        part.to(device) for part in (tree.row, tree.target, tree.answer, tree.lengths)
    )
    norm = logits.float().logsumexp(2)
    token = logits[:, row, target].float() - norm[:, row]
    total = torch.zeros(len(logits), len(lengths), device=device).index_add(1, answer, token)
    return total / lengths
