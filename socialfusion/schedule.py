"""The learning rate by step: a linear rise, then half a cosine down to 0."""

import math

__all__ = ["learning_rate"]


def learning_rate(step: int, steps: int, *, peak: float, warmup: float) -> float:
    """The learning rate of a step, numbered from 0.

    It rises over the first share `warmup` of the steps, of which the last has the peak, and falls
    as half a cosine to nearly 0 at the last step.

    Args:
        step: Number of the step.
        steps: Of the whole run.
        peak: The highest rate.
        warmup: Share of the steps, from 0 to 1.

    Example:
        >>> [round(learning_rate(i, 4, peak=1.0, warmup=0.5), 3) for i in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2
