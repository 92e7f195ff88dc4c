"""Our Qwen2-VL tower against transformers' own at equal work.

    python tests/benchmarks/extract_qwen.py
    python tests/benchmarks/extract_qwen.py --device cpu --tower tiny-rope --batch 4 --rounds 3

Both towers hold the same random weights and see the same pictures of one size; their outputs are
compared first, in float32, after transformers' merge order is undone. Then both are timed in turn:
ours in bfloat16 autocast from normalised pictures, eager and compiled; transformers' from its own
flattened patches, in the same autocast, and with its weights in bfloat16, which is how it is
commonly run. The merger is left out on both sides. The goal is 1.5 on a GPU.
"""

import argparse
import copy
import statistics
import time

import torch
from extract_setup import SHAPES, gflop, tower
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

MERGE = 2


def reference(ours, device):
    """Transformers' tower with our weights; the kernel of stills is halved over two frames."""
    config = ours.config
    theirs = Qwen2VisionTransformerPretrainedModel(
        Qwen2VLVisionConfig(
            depth=config.depth,
            embed_dim=config.width,
            num_heads=config.heads,
            mlp_ratio=config.mlp // config.width,
            patch_size=config.patch,
            spatial_merge_size=MERGE,
            temporal_patch_size=2,
            hidden_act=config.activation,
        )
    )
    theirs.merger = torch.nn.Identity()
    state = ours.state_dict()
    kernel = state.pop("patch_embed.weight")
    state["patch_embed.proj.weight"] = torch.stack([kernel / 2, kernel / 2], dim=2)
    theirs.load_state_dict(state, strict=True)
    return theirs.eval().requires_grad_(False).to(device)


def flattened(pixels, patch):
    """Pictures (b, 3, s, s) as transformers wants them: patches in merge order, two frames each."""
    batch, _, side, _ = pixels.shape
    grid = side // patch
    cut = pixels.reshape(batch, 3, grid // MERGE, MERGE, patch, grid // MERGE, MERGE, patch)
    ordered = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # b, block row and column, row, column, c, y, x
    twice = ordered.unsqueeze(6).expand(*ordered.shape[:6], 2, patch, patch)
    sizes = torch.tensor([[1, grid, grid]] * batch, device=pixels.device)
    return twice.reshape(batch * grid**2, -1), sizes


def raster(tokens, batch, grid):
    """Tokens in merge order (b * t, d) as (b, t, d) in raster order."""
    blocks = tokens.reshape(batch, grid // MERGE, grid // MERGE, MERGE, MERGE, -1)
    return blocks.transpose(2, 3).reshape(batch, grid**2, -1)


@torch.inference_mode()
def seconds(run, rounds, device):
    """Median wall time of a call."""
    times = []
    for _ in range(rounds + 3):
        started = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def main():
    """Compare outputs, then times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", choices=SHAPES, default="qwen2-vl-448")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="time ours compiled, too")
    arguments = parser.parse_args()
    device, batch = arguments.device, arguments.batch
    if device.startswith("cuda") and not torch.cuda.is_available():
        print("Skipped: there is no CUDA device. --device cpu --tower tiny-rope tries the script.")
        return
    ours = tower(arguments.tower, device=device)
    theirs = reference(ours, device)
    config, last = ours.config, [ours.config.depth - 1]
    generator = torch.Generator(device).manual_seed(0)
    pixels = torch.randn(
        batch, 3, config.size, config.size, device=device, generator=generator
    ).clamp(-2, 2)
    patches, sizes = flattened(pixels, config.patch)
    few = sizes[:1].prod(dim=1).item()
    with torch.inference_mode():
        expected = theirs(patches[:few], grid_thw=sizes[:1]).last_hidden_state
        expected = raster(expected, 1, config.grid)
        found = ours(pixels[:1], last)[last[0]].patches
    print(f"relative difference in float32: {(found - expected).norm() / expected.norm():.1e}")
    narrow = copy.deepcopy(theirs).to(torch.bfloat16)
    autocast = torch.autocast(torch.device(device).type, dtype=torch.bfloat16)

    def cast(model, *inputs, **named):
        with autocast:
            model(*inputs, **named)

    runs = {
        "ours, autocast": lambda: cast(ours, pixels, last),
        "transformers, autocast": lambda: cast(theirs, patches, grid_thw=sizes),
        "transformers, bf16 weights": lambda: narrow(patches.bfloat16(), grid_thw=sizes),
    }
    if arguments.compile:
        compiled = torch.compile(ours, dynamic=False)
        runs["ours, autocast, compiled"] = lambda: cast(compiled, pixels, last)
    times = {name: seconds(run, arguments.rounds, device) for name, run in runs.items()}
    for name, taken in times.items():
        rate = gflop(arguments.tower) * batch / taken / 1e3
        print(f"{name:<28} {batch / taken:8.1f} pictures/s   {rate:7.2f} TFLOP/s")
    own = min(taken for name, taken in times.items() if name.startswith("ours"))
    for name, taken in times.items():
        if name.startswith("transformers"):
            print(f"{name} / ours = {taken / own:.2f}")


if __name__ == "__main__":
    main()
