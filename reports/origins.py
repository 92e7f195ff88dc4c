"""Where published weights were read from, as a table."""

from collections.abc import Iterable

from degradation.encoders.encoder import Origin
from probes.records import OriginCard, RunRecord
from reports.markdown import code, escape, table

__all__ = ["origins_table", "recorded_origins"]

SHOWN = 12  # digits of a digest; a record has them all


def recorded_origins(records: Iterable[RunRecord]) -> list[tuple[str, OriginCard]]:
    """Name and origin of every published encoder in the records, each once."""
    found: dict[str, tuple[str, OriginCard]] = {}
    for card in (record.pair for record in records):
        for name, origin in ((card.pre, card.pre_origin), (card.post, card.post_origin)):
            if origin:
                found[f"{name} {origin.model_dump_json()}"] = (name, origin)
    return list(found.values())


def origins_table(origins: Iterable[tuple[str, Origin | OriginCard]]) -> str:
    """One row for each encoder, with the commit to pin and the files; empty if there are none."""
    rows = [
        (
            code(name),
            code(origin.place),
            code(origin.revision) if origin.revision else "not known",
            escape("; ".join(f"{file} {short(label)}" for file, label in origin.files.items())),
        )
        for name, origin in origins
    ]
    return table(("Encoder", "Read from", "Commit", "Files"), rows) if rows else ""


def short(label: str) -> str:
    """`sha256:...` or `etag:...` with the first digits only."""
    kind, _, digest = label.partition(":")
    return f"{kind}:{digest[:SHOWN]}"
