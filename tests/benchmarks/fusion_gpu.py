"""Training and scoring of SocialFusion at the real sizes on a GPU, with random weights.

    python tests/benchmarks/fusion_gpu.py
    python tests/benchmarks/fusion_gpu.py --device cpu --shape toy --batches 2 4 --seconds 1

A model of the real sizes (tokens of CLIP ViT-L/14-336, 576 x 1024; a Llama of the sizes of Llama
3.2 1B in bfloat16, adapters of rank 32 on all of its projections) takes the steps that training
takes, from float16 tokens on the host to new weights, in bfloat16 autocast. Share of the peak =
arithmetic of the model / time / the best bf16 product of two 8192 x 8192 matrices in the same run;
the goal is 45 %. Counted are, for each weight and token, two operations forward, two backward to
the inputs, and two more where the weight is trained; and causal attention at half of its square.
What is computed twice, or is no product of matrices, counts nothing. Scoring has 34 answers of
which the beginning is shared.
"""

import argparse
import time
from functools import partial

import torch
from device_peak import matmul_peak, wait
from fusion_setup import CLASSES, SHAPES, batch_of, fusion, step, stepper


def operations(model, length, answer):
    """Of a training step, for one sample."""
    visual = model.config.grid[0] * model.config.grid[1]
    blocks = [
        (name, one)
        for name, one in model.causal.get_decoder().named_parameters()
        if one.ndim == 2 and "embed" not in name
    ]
    frozen = sum(one.numel() for name, one in blocks if "lora_" not in name)
    adapters = sum(one.numel() for name, one in blocks if "lora_" in name)
    connector = sum(one.numel() for one in model.connector.parameters() if one.ndim == 2)
    config = model.causal.config
    attention = config.num_hidden_layers * 2 * length**2 * config.hidden_size
    words = config.vocab_size * config.hidden_size * answer
    return length * (4 * frozen + 6 * adapters) + visual * 6 * connector + 3 * attention + 4 * words


def rate(run, seconds, device):
    """Calls per second."""
    for _ in range(3):
        run()
    wait(device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run()
        wait(device)
        done += 1
    return done / (time.perf_counter() - started)


@torch.inference_mode()
def scores(own, batch):
    """Scores of a batch on the host."""
    with own.place.arithmetic():
        own.model.scores(own.place.put(batch))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="real")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    device, cuda = arguments.device, arguments.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        print("Skipped: there is no CUDA device. --device cpu --shape toy tries the script.")
        return
    peak = matmul_peak(device)
    name = torch.cuda.get_device_name(device) if cuda else "CPU"
    print(f"{name}, torch {torch.__version__}, bf16 matmul peak {peak / 1e12:.2f} TFLOP/s")
    model, asked = fusion(arguments.shape, rank=arguments.rank, dtype=torch.bfloat16, device=device)
    own = stepper(model, device, torch.bfloat16)
    wording = model.wordings[asked.label]
    answer = wording.table(model.pad).shape[1]
    length = len(wording.before) + model.config.grid[0] * model.config.grid[1] + len(wording.prompt)
    length += answer - 1
    each = operations(model, length, answer)
    print(f"{length} tokens, {each / 1e9:.3g} GFLOP for a sample and step\n")
    print("| batch | trained/s | share of peak | memory, GB | scored/s | answers/s |")
    print("|---|---|---|---|---|---|")
    for b in arguments.batches:
        batch = batch_of(model, asked, b)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        model.train()
        trained = b * rate(partial(step, own, asked, batch), arguments.seconds, device)
        memory = torch.cuda.max_memory_allocated() / 1e9 if cuda else float("nan")
        model.eval()
        scored = b * rate(partial(scores, own, batch), arguments.seconds, device)
        print(
            f"| {b} | {trained:.1f} | {trained * each / peak:.1%} | {memory:.1f} | {scored:.1f} | "
            f"{scored * CLASSES:.0f} |"
        )


if __name__ == "__main__":
    main()
