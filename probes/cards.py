"""The cards by which records name the task, the pair and the version behind their numbers."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from degradation.cache import PairEntry
from degradation.encoders.encoder import Origin
from degradation.tasks.task import Arm
from probes.records import ArmCard, OriginCard, PairCard, TaskCard
from probes.table import Table

__all__ = ["pair_card", "task_card", "tool_version"]


def task_card(table: Table, arms: Sequence[Arm] = ()) -> TaskCard:
    """The task as it was asked, with the arms that were probed beside the declared one."""
    spec = table.spec
    return TaskCard(
        name=spec.name,
        kind=spec.kind,
        social=spec.social,
        label_sets=dict(spec.label_sets),
        regions=spec.regions,
        metrics=dict(spec.metrics),
        cluster=spec.cluster,
        source=spec.source,
        balanced=spec.balanced,
        arms=tuple(
            ArmCard(name=arm.name, regions=arm.regions, balanced=arm.balanced) for arm in arms
        ),
        row_list=table.row_list,
    )


def pair_card(table: Table, entry: PairEntry) -> PairCard:
    """Both encoders of an entry whose features are in the table."""
    pre, post = (table.features[entry.split][side].encoder for side in ("pre", "post"))
    return PairCard(
        name=entry.pair,
        pre=pre.name,
        post=post.name,
        pre_digest=pre.digest,
        post_digest=post.digest,
        lineage=entry.lineage,
        source=entry.source,
        protocol=entry.protocol,
        imported=entry.imported,
        pre_origin=_origin_card(pre.origin),
        post_origin=_origin_card(post.origin),
    )


def _origin_card(origin: Origin | None) -> OriginCard | None:
    if origin is None:
        return None
    return OriginCard(place=origin.place, revision=origin.revision, files=dict(origin.files))


def tool_version() -> str:
    """Version of the installed package."""
    try:
        return version("sdiag")
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "unknown"
