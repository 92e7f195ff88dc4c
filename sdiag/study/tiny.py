"""The same study on the rendered world: the embedded pair, tiny settings, a few minutes."""

from typing import TypeVar

from sdiag.study.schema import (
    Ablate,
    Audit,
    Diagnose,
    Fusion,
    Gcd,
    PairChoice,
    Probe,
    Study,
    TaskChoice,
    Transfer,
)

__all__ = ["tiny_version"]

RENDERED = {
    "affectnet": "scenes-expression",
    "affectnet-7": "scenes-expression",
    "hagrid": "scenes-gesture",
    "gazefollow": "scenes-gaze",
    "pisc-relationship": "scenes-relation",
    "pisc-domain": "scenes-relation",
    "lam": "scenes-looking",
}
"""The rendered task that stands for a data set; any other is `scenes-objects`."""
STEPS, SEEDS = 20, 1
FusionKind = TypeVar("FusionKind", bound=Fusion)


def tiny_version(study: Study) -> Study:
    """The study with the same stages on the pair `tiny` and the rendered tasks.

    Settings that depend on the size of encoders and language models are those of the tiny ones;
    numbers of draws, refits, batches, steps and seeds are small.
    """
    names = dict.fromkeys(_rendered(one.name) for one in study.task)

    def small(fusion: FusionKind) -> FusionKind:
        tasks = fusion.tasks and tuple(dict.fromkeys(_rendered(one) for one in fusion.tasks))
        seeds = min(fusion.seeds, SEEDS)
        update = {"tasks": tasks, "seeds": seeds, "steps": STEPS, "settings": {}}
        return fusion.model_copy(update=update)

    def ablated(one: Ablate) -> Ablate:
        values = () if one.setting == "encoder" else one.values
        return small(one).model_copy(update={"values": values})

    return study.model_copy(
        update={
            "name": f"{study.name}-tiny",
            "device": "cpu",
            "rows": "",
            "needs": None,
            "pair": (PairChoice(model="tiny"),),
            "task": tuple(TaskChoice(name=name) for name in names),
            "audit": study.audit and Audit(by_name=True),
            "extract": type(study.extract)(),
            "probe": study.probe and Probe(draws=200, refits=0),
            "diagnose": study.diagnose and Diagnose(quick=True, draws=200),
            "gcd": study.gcd and _small_gcd(study.gcd),
            "train": study.train and small(study.train),
            "transfer": study.transfer and _small_transfer(small(study.transfer)),
            "ablate": tuple(ablated(one) for one in study.ablate),
        }
    )


def _rendered(name: str) -> str:
    return name if name.startswith("scenes-") else RENDERED.get(name, "scenes-objects")


def _small_gcd(gcd: Gcd) -> Gcd:
    return Gcd(batch_size=8, batches=8, against_transfer=gcd.against_transfer)


def _small_transfer(transfer: Transfer) -> Transfer:
    return transfer.model_copy(update={"sides": transfer.sides[-1:]})
