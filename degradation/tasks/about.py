"""What there is to say of a data set before its folder is there: the answers of `sdiag doctor`."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["About"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A data set as its owners ship it.

    Attributes:
        title: Its name as published.
        paper: Where it is described.
        page: Where it is asked for or downloaded.
        access: What must be signed, accepted or waited for, as one sentence.
        licence: What its terms allow, as one sentence.
        layout: What lies in the data root: path, with `*` for what varies, and what it is.
        notes: What else goes wrong between download and reading, one sentence each.
    """

    title: str
    paper: str
    page: str
    access: str
    licence: str
    layout: Mapping[str, str]
    notes: tuple[str, ...] = ()
