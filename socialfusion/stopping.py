"""When a question has had enough: its validation loss does not get better any more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from socialfusion.records import Stop

__all__ = ["Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What was best so far; a new one after every look.

    Attributes:
        best: Lowest validation loss of each question.
        waited: Looks of each question since then.
        stops: Questions that get no more batches, and why.
        mean: Lowest mean validation loss over all questions; None before the first look.
        step: The step of that look, whose weights are kept.
    """

    best: Mapping[str, float]
    waited: Mapping[str, int]
    stops: Mapping[str, Stop]
    mean: float | None = None
    step: int = 0

    def looked(self, step: int, losses: Mapping[str, float], patience: int) -> "Progress":
        """After one look at the validation rows.

        Args:
            step: Steps taken.
            losses: By question, of all questions that have validation rows.
            patience: Looks without a better loss after which a question stops; 0 for never.
        """
        best, waited, stops = dict(self.best), dict(self.waited), dict(self.stops)
        for label, loss in losses.items():
            if label not in best or loss < best[label]:
                best[label], waited[label] = loss, 0
            else:
                waited[label] += 1
            if patience and waited[label] >= patience and label not in stops:
                reason = f"no better validation loss in {patience} looks"
                stops[label] = Stop(step=step, reason=reason)
        mean = sum(losses.values()) / len(losses)
        if self.mean is None or mean < self.mean:
            return Progress(best, waited, stops, mean, step)
        return replace(self, best=best, waited=waited, stops=stops)
