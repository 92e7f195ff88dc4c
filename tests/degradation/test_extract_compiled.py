"""Compiled forward passes, in a process of their own."""

import shutil
import subprocess
import sys

import pytest

COMPILED = """
import sys
import numpy as np
import torch
from degradation.encode import launcher, upload
from degradation.encoders.registry import load_encoder
from degradation.tasks.scenes import scenes_task

torch.set_num_threads(1)
encoder = load_encoder("tiny:pre")
size = encoder.info.size
rows = scenes_task("scenes-relation").read("val").take(np.arange(3))
pixels = np.random.default_rng(0).integers(0, 256, (3, 1, size, size, 3), dtype=np.uint8)
options = dict(blocks=(0,), token_blocks=(0,), device="cpu", compute_dtype=torch.float32)
eager, compiled = (
    launcher(encoder, compile_for=padded, **options)(upload(list(pixels), "cpu"), rows).collect()
    for padded in (None, 4)
)
assert eager.keys() == compiled.keys()
for name, values in eager.items():
    np.testing.assert_allclose(compiled[name], values, rtol=1e-4, atol=1e-5)
assert torch._dynamo.utils.counters["graph_break"] == {}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_really_compiled_features_are_the_same_up_to_rounding():
    # Apart from this process, in which every function checks its annotations.
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
