"""Whether this machine can compute where it is asked to."""

import torch

from degradation.errors import ConfigError

__all__ = ["check_device"]


def check_device(device: str, dtype: torch.dtype = torch.float32) -> None:
    """Refuse a device that is unknown, absent, or cannot hold the dtype.

    Args:
        device: As torch names it: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: What is to be computed there.

    Raises:
        ConfigError: With what torch says of it.
    """
    try:
        torch.ones(1, device=device, dtype=dtype).sum().item()
    except (RuntimeError, AssertionError, TypeError) as error:  # TypeError: mps has no float64
        reason = str(error).split("\n")[0].partition(". ")[0].rstrip(".")
        raise ConfigError(
            f"Cannot compute on device {device!r}: {reason}. "
            "Give --device cpu, or cuda on a machine with a GPU."
        ) from error
