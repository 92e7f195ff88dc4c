"""What a device can do at most, by which benchmarks measure the share that they reach."""

import time

import torch


def wait(device):
    """Until the device has done all its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def matmul_peak(device):
    """Operations per second of the best of many bf16 products of two large square matrices."""
    side = 8192 if torch.device(device).type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(30):
        wait(device)
        started = time.perf_counter()
        torch.mm(a, b)
        wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best
