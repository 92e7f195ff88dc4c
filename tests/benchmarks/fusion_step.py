"""A training step of SocialFusion against the bare passes of its language model, and scoring.

    python tests/benchmarks/fusion_step.py
    python tests/benchmarks/fusion_step.py --shape toy --batch 8 --rounds 50

Bare means: the same language model with the same adapters, forward and backward over a sequence of
the same length from random embeddings, for the same batch, with logits at as many positions and
the same loss; no connector, boxes, prompt, optimiser or data. The step is the one that training
takes, from float16 tokens on the host to new weights. Both are timed in turn; the ratio is the
median over the rounds, of wall time and of processor time, which other programs disturb less. The
goal is 1.1.

Scoring is timed with 34 answers: all behind one shared beginning, and each in a pass of its own.
"""

import argparse
import statistics
import time

import torch
from fusion_setup import CLASSES, SHAPES, batch_of, fusion, step, stepper


def clocks(run):
    """Wall time of a call, and processor time of all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def bare(model, batch):
    """A call that runs the language model alone, forward and backward."""
    wording = model.wordings[batch.question.label]
    ids = wording.table(model.pad)[batch.labels]
    length = len(wording.before) + batch.tokens.shape[1] + len(wording.prompt) + ids.shape[1] - 1
    hidden = model.causal.config.hidden_size
    draw = torch.Generator().manual_seed(1)
    embeddings = torch.randn(len(batch), length, hidden, generator=draw)

    def run():
        for parameter in model.language_model.parameters():
            parameter.grad = None
        logits = model.causal(
            inputs_embeds=embeddings, use_cache=False, logits_to_keep=ids.shape[1]
        ).logits
        torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids).backward()

    return run, length


@torch.inference_mode()
def naive(model, batch):
    """Scores from a pass over the whole sequence for each answer."""
    prefix = model._prefix(batch)
    found = []
    for answer in model.wordings[batch.question.label].answers:
        ids = torch.tensor([answer]).expand(len(batch), -1)
        likely = model._logits(prefix, [ids[:, :-1]]).log_softmax(2)
        found.append(likely.gather(2, ids[..., None]).mean(dim=(1, 2)))
    return torch.stack(found, dim=1).log_softmax(1)


@torch.inference_mode()
def shared(model, batch):
    """Scores as SocialFusion computes them."""
    return model.scores(batch)


def main():
    """Print ratios and rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    model, asked = fusion(arguments.shape, rank=arguments.rank)
    batch = batch_of(model, asked, arguments.batch)
    alone, length = bare(model, batch)
    own = stepper(model, "cpu", torch.float32)

    def whole():
        step(own, asked, batch)

    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in
              (("language model with adapters", model.language_model),
               ("connector", model.connector))}  # fmt: skip
    print(f"{counts}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"batch {arguments.batch}, {length} tokens, rank {arguments.rank}")
    for run in (alone, whole):
        run()
    pairs = [(clocks(alone), clocks(whole)) for _ in range(arguments.rounds)]
    for k, clock in enumerate(("wall", "processor")):
        ratios = sorted(b[k] / a[k] for a, b in pairs)
        first, second = (
            statistics.median(one[k] for one in side) for side in zip(*pairs, strict=True)
        )
        print(
            f"{clock} time: bare passes {first:.3f} s, training step {second:.3f} s; step / bare = "
            f"{statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f} in "
            f"{len(ratios)} rounds"
        )
    model.eval()
    found: dict[str, object] = {}
    once = min(clocks(lambda: found.update(shared=shared(model, batch)))[1] for _ in range(3))
    each = clocks(lambda: found.update(naive=naive(model, batch)))[1]
    answers = arguments.batch * CLASSES
    print(
        f"scores, processor time: {answers / once:.1f} answers/s shared, {answers / each:.1f} "
        f"naive, naive / shared = {each / once:.1f}, largest difference "
        f"{(found['shared'] - found['naive']).abs().max():.1e} nats"
    )


if __name__ == "__main__":
    main()
