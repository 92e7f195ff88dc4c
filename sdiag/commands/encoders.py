"""`sdiag encoders`: which encoders and pairs there are, and what they need."""

from dataclasses import asdict
from textwrap import fill
from typing import Annotated, Any

import typer

from sdiag.commands.options import Json, emit

__all__ = ["EXAMPLES", "encoders"]

EXAMPLES = "Examples:  sdiag encoders  |  sdiag encoders qwen2-vl  |  sdiag encoders clip-l-336"

WIDTH = 100
PAIRS = """\
PAIRS, for --model. block: compared for the verdict; side: pictures in pixels; delta: known in
advance; sure: how well the lineage is known (details: sdiag encoders NAME)."""
ENCODERS = """\
ENCODERS, for --pre, --post and --candidate. GB: of the tower, which is all that is read; + the
whole file is downloaded for it; * the hub asks for an agreement. NAME@FOLDER reads a local copy."""
LIBRARIES = """\
Any other encoder: open_clip:NAME/TAG, timm:NAME, hf:REPO, or a local folder or file of these.
random:NAME is the architecture of any of them with fresh weights, a reference."""


def encoders(
    name: Annotated[
        str | None, typer.Argument(help="A pair or an encoder to show in full. Default: list all.")
    ] = None,
    json: Json = False,
) -> None:
    """List encoders and pairs: lineage, source, size, licence, and what has to be accepted."""
    if name is None:
        emit({"pairs": pair_facts(), "encoders": encoder_facts()}, listing(), as_json=json)
        return
    pairs, towers = chosen(name)
    text = "\n\n".join(card(facts) for facts in (*pairs, *towers))
    emit({"pairs": pairs, "encoders": towers}, text, as_json=json)


def pair_facts() -> list[dict[str, Any]]:
    """All pairs, those that ship first."""
    from degradation.encoders.catalogue import PAIRS as published
    from degradation.encoders.registry import pairs

    shipped = [asdict(pair) for pair in pairs().values()]
    return shipped + [asdict(row) for row in published.values()]


def encoder_facts() -> list[dict[str, Any]]:
    """All published encoders."""
    from degradation.encoders.catalogue import ENCODERS as published
    from degradation.encoders.catalogue import PAIRS as published_pairs

    in_pairs = {
        name: [pair.name for pair in published_pairs.values() if name in (pair.pre, pair.post)]
        for name in published
    }
    return [
        asdict(row)
        | {"bytes_to_read": row.bytes_to_read, "needs": row.needs, "pairs": in_pairs[row.name]}
        for row in published.values()
    ]


def listing() -> str:
    """Both lists as text."""
    pair_rows = [
        (
            facts["name"],
            facts["pre"],
            facts["post"],
            "last" if facts["block"] is None else facts["block"],
            facts.get("size", ""),
            "" if facts.get("expected_delta") is None else f"{facts['expected_delta']:g}",
            facts.get("sure", "shipped"),
        )
        for facts in pair_facts()
    ]
    encoder_rows = [
        (
            facts["name"] + "*" * facts["gated"],
            facts["repo"],
            f"{facts['bytes_to_read'] / 1e9:.2f}" + "+" * bool(facts["download"]),
            facts["licence"].partition(" (")[0],
        )
        for facts in encoder_facts()
    ]
    pairs = table(("name", "pre", "post", "block", "side", "delta", "sure"), pair_rows)
    towers = table(("name", "repository", "GB", "licence"), encoder_rows)
    return "\n\n".join((PAIRS, pairs, ENCODERS, towers, LIBRARIES))


def table(header: tuple[str, ...], rows: list[tuple]) -> str:
    """Columns aligned on the left, two spaces apart."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def chosen(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pair of that name with its encoders, or the encoder of that name alone."""
    from degradation.encoders.catalogue import find_encoder
    from degradation.encoders.names import unknown_name

    pairs = {facts["name"]: facts for facts in pair_facts()}
    towers = {facts["name"]: facts for facts in encoder_facts()}
    if row := find_encoder(name):
        return [], [towers[row.name]]
    if name not in pairs:
        raise unknown_name("pair or encoder", name, [*pairs, *towers])
    sides = (pairs[name][side] for side in ("pre", "post"))
    return [pairs[name]], [towers[side] for side in sides if side in towers]


def card(facts: dict[str, Any]) -> str:
    """One pair or encoder in full; what is not set is left out."""
    lines = [facts["name"]]
    for field, value in facts.items():
        if field != "name" and not empty(value):
            label = f"  {field.replace('_', ' '):<16}"
            lines.append(
                fill(
                    in_words(field, value),
                    WIDTH,
                    initial_indent=label,
                    subsequent_indent=" " * len(label),
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )
    return "\n".join(lines)


def empty(value: Any) -> bool:
    """Whether a field is not set; zero is a value."""
    return value is None or value is False or (isinstance(value, str | tuple | list) and not value)


def in_words(field: str, value: Any) -> str:
    """A value as text: bytes in GB, large numbers with their thousands parted."""
    if field in ("download", "bytes_to_read"):
        return f"{value / 1e9:.2f} GB"
    if isinstance(value, tuple | list):
        return ", ".join(item or "the whole tower" for item in value)
    return f"{value:,}" if type(value) is int else str(value)
