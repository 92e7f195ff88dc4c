"""Pictures and words in one sequence, and the three positions that Qwen2-VL gives each token.

A word has the same number as time, row and column, and the next word the next one. The tokens of a
picture share the time of their picture, and are numbered along its rows and columns from there;
what follows goes on behind the larger of the two sides (M-RoPE, arXiv 2409.12191, 2.1.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

__all__ = ["Part", "Sequences", "line_up"]

Part = Sequence[int] | tuple[str, int, int]
"""Words, or `("picture", rows, columns)` of its tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """b sequences, filled up on the left so that all end at the same place.

    Attributes:
        ids: Tokens, shape (b, p).
        present: Where there is a token at all, shape (b, p).
        places: Time, row and column, shape (3, b, p); 0 where there is no token.
        following: The number of the token that would come next, shape (b,).
    """

    ids: Int64[Tensor, "b p"]
    present: Bool[Tensor, "b p"]
    places: Int64[Tensor, "3 b p"]
    following: Int64[Tensor, " b"]

    def to(self, device: torch.device) -> "Sequences":
        """The sequences on a device."""
        parts = (self.ids, self.present, self.places, self.following)
        return Sequences(*(part.to(device) for part in parts))


def line_up(samples: Sequence[Sequence[Part]], *, picture: int, pad: int) -> Sequences:
    """Samples in parts as sequences.

    Args:
        samples: Parts of each, in order.
        picture: The token that stands for each token of a picture.
        pad: The token that fills up.
    """
    ids, places, following = [], [], []
    for parts in samples:
        own, start = [], 0
        where = []
        for part in parts:
            if part and part[0] == "picture":
                rows, columns = part[1:]
                own += [picture] * (rows * columns)
                row, column = torch.meshgrid(
                    torch.arange(rows), torch.arange(columns), indexing="ij"
                )
                where.append(start + torch.stack([torch.zeros_like(row), row, column]).flatten(1))
                start += max(rows, columns)
            else:
                own += part
                where.append((start + torch.arange(len(part))).expand(3, -1))
                start += len(part)
        ids.append(torch.tensor(own, dtype=torch.int64))
        places.append(torch.cat(where, dim=1))
        following.append(start)
    longest = max(map(len, ids))
    return Sequences(
        ids=torch.stack([_filled(one, longest, pad) for one in ids]),
        present=torch.stack([_filled(torch.ones_like(one), longest, 0) for one in ids]).bool(),
        places=torch.stack([_filled(one, longest, 0) for one in places], dim=1),
        following=torch.tensor(following),
    )


def _filled(tokens: Int64[Tensor, "*a _"], length: int, value: int) -> Int64[Tensor, "*a _"]:
    return torch.nn.functional.pad(tokens, (length - tokens.shape[-1], 0), value=value)
