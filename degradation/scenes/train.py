"""The recipe of the pair `tiny`: what its two sides were trained on, and how.

1. `pre`: a random vision tower learns from short captions that between them name everything in the
   picture, and from which words are true of it.
   The planted pairs are fitted to it.
2. A small language model learns long captions, with and without the social words, as text alone.
3. `post`: the `pre` tower is trained on, unfrozen, with a fresh connector and that language model
   on short captions that never name anything social. The towers along the way are kept.

Steps 1 and 3 use the same pictures, optimiser, peak learning rate and schedule. Nothing was tuned
to make the social tasks fall.
"""

import functools
import itertools
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from degradation.cache import pooled_name
from degradation.encode import encode as encode_batch
from degradation.encoders.frozen import channels, normalise
from degradation.encoders.planted import fit_planted
from degradation.encoders.tiny import load_tiny, save_tiny
from degradation.encoders.vit import Vit, VitConfig
from degradation.pixels import to_rgb
from degradation.scenes.batch_norm import folded, with_batch_norm
from degradation.scenes.captioner import (
    Captioner,
    WordNamer,
    caption_loss,
    language_model,
    present,
)
from degradation.scenes.captions import brief, caption, everything
from degradation.scenes.corpus import Corpus, encode, render_corpus, shifted, word_tokenizer
from degradation.tasks.scenes import scenes_task
from degradation.views import square

__all__ = ["Recipe", "train_tiny"]

log = logging.getLogger(__name__)

PAD = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights of the pair `tiny`."""

    seed: int = 0
    pictures: dict[str, int] = field(
        default_factory=lambda: {
            "expression": 10000,
            "gesture": 10000,
            "gaze": 10000,
            "relation": 4000,
            "looking": 8000,
            "objects": 8000,
        }
    )
    held_out: int = 100
    """Pictures per framing behind the validation loss."""
    epochs_pre: float = 7.0
    epochs_text: float = 1.0
    epochs_post: float = 1.5
    facts_pre: tuple[int, ...] = (0, 0, 1, 1, 2)
    """Facts in a caption beside what the framing is about, by epoch: captions grow longer."""
    facts_post: tuple[int, ...] = (2,)
    kept: tuple[float, ...] = (0.1, 0.25, 0.5)
    """Shares of the post training after which a tower is kept."""
    words_weight: float = 0.2
    """Of the loss of naming words, beside that of captions."""
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: float = 0.03
    """Share of the steps over which the learning rate rises; it falls by a cosine afterwards."""
    shift: int = 3
    """Pictures are moved by up to this many pixels each way, edges repeated."""
    size: int = 64
    patch: int = 8
    stem: tuple[tuple[int, int, int], ...] = (
        (24, 3, 2),
        (48, 3, 2),
        (48, 3, 1),
        (96, 3, 2),
        (96, 3, 1),
        (96, 3, 1),
        (96, 3, 1),
    )
    width: int = 96
    depth: int = 3
    heads: int = 3
    text_width: int = 96
    text_depth: int = 2
    threads: int = 1
    """More than one wait for each other at this size; use other cores for something else."""

    def shrunk(self, factor: int) -> "Recipe":
        """The same recipe on a fraction of the pictures, to try it out."""
        fewer = {framing: max(1, n // factor) for framing, n in self.pictures.items()}
        return replace(self, pictures=fewer, held_out=max(1, self.held_out // factor))


def train_tiny(out: Path, recipe: Recipe) -> None:
    """Train the pair from scratch and write its weights, language model and record to `out`.

    Writes `pre`, `post` and the kept towers as float16 safetensors with `config.json`, the folder
    `language-model/` (transformers format, with its tokenizer) and `training.json`: the recipe,
    versions, wall time and loss curves.
    """
    torch.set_num_threads(recipe.threads)
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    draw = {"seed": recipe.seed, "size": recipe.size, "processes": recipe.threads}
    corpus = render_corpus(recipe.pictures, "pretrain", **draw)
    held_out = render_corpus(
        dict.fromkeys(recipe.pictures, recipe.held_out), "pretrain-val", **draw
    )
    log.info("rendered %d pictures in %.0f s", len(corpus.scenes), time.perf_counter() - start)
    tokenizer = word_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # transformers' init knows no generators; forked, not global
        tower = Vit(_config(recipe)).initialise(
            generator=torch.Generator().manual_seed(recipe.seed)
        )
        with_batch_norm(tower)
        text = _text(recipe, tokenizer)
        reader = Captioner(tower, _text(recipe, tokenizer))
        curves = {}

        def save_now_and_then(step: int, steps: int) -> None:
            if step % 500 == 0 or step == steps:
                save_tiny(folded(tower), out, "pre")

        curves["pre"] = _train_captioner(
            reader,
            corpus,
            held_out,
            tokenizer,
            recipe,
            social=True,
            epochs=recipe.epochs_pre,
            keep=save_now_and_then,
        )
        _fit_planted(out)
        curves["text"] = _train_text(text, corpus, tokenizer, recipe)
        _save_language_model(text, tokenizer, out / "language-model")

        def keep(step: int, steps: int) -> None:
            if step in {round(share * steps) for share in recipe.kept}:
                save_tiny(folded(tower), out, f"step-{step:06d}")

        curves["post"] = _train_captioner(
            Captioner(tower, text),
            corpus,
            held_out,
            tokenizer,
            recipe,
            social=False,
            epochs=recipe.epochs_post,
            keep=keep,
        )
        save_tiny(folded(tower), out, "post")
    record = {
        "recipe": asdict(recipe),
        "seconds": round(time.perf_counter() - start),
        "machine": f"{platform.machine()}, {recipe.threads} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")},
        "curves": curves,
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def _fit_planted(folder: Path) -> None:
    """Fit the planted pairs' operations to the saved pre side: its faces in the scenes task."""
    encoder = load_tiny("pre", folder)
    task = scenes_task("scenes-expression")
    rows = task.read("train")
    blocks = range(encoder.info.n_blocks)
    parts = []
    for start in range(0, len(rows), 100):
        batch = rows.take(np.arange(start, min(start + 100, len(rows))))
        pixels = [
            square(to_rgb(task.open(name)), encoder.info.size) for name in batch.pictures[:, 0]
        ]
        features = encode_batch(
            encoder,
            np.stack(pixels)[:, None],
            batch,
            blocks=blocks,
            token_blocks=(),
            device="cpu",
            compute_dtype=torch.float32,
        )
        parts.append(features[pooled_name("face")])
    pooled = np.concatenate(parts)
    labels = rows.labels["expression"]
    fit_planted({block: pooled[:, block] for block in blocks}, labels, folder)


def _config(recipe: Recipe) -> VitConfig:
    return VitConfig(
        size=recipe.size,
        patch=recipe.patch,
        width=recipe.width,
        depth=recipe.depth,
        heads=recipe.heads,
        mlp=4 * recipe.width,
        activation="gelu",
        cls=False,
        pre_norm=False,
        patch_bias=True,
        norm_eps=1e-6,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        stem=recipe.stem,
    )


def _text(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return language_model(len(tokenizer), width=recipe.text_width, depth=recipe.text_depth, pad=PAD)


def _train_captioner(
    model: Captioner,
    corpus: Corpus,
    held_out: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    *,
    social: bool,
    epochs: float,
    keep: Callable[[int, int], None] = lambda step, steps: None,
) -> list[dict[str, int | float]]:
    """Train on freshly worded captions; returns the loss curve, a point every 50 steps.

    `loss` is what is minimised, `held_out_loss` the captions' share of it.
    """
    rng = np.random.default_rng([recipe.seed, social])
    steps = round(epochs * len(corpus.scenes) / recipe.batch)
    namer = None
    if social:
        namer = WordNamer(model.tower.config.width, len(tokenizer))
        truth = present(
            encode(tokenizer, corpus.captions(everything, social=True, rng=rng)), len(tokenizer)
        )
    trained = nn.ModuleList([model] if namer is None else [model, namer])
    optimiser, schedule = _optimiser(trained, recipe, steps)
    check = encode(tokenizer, held_out.captions(brief, social=social, rng=np.random.default_rng(0)))
    config = model.tower.config
    mean, std = channels(config.mean), channels(config.std)
    curve, losses = [], []
    batches = _batches(corpus, tokenizer, recipe, social=social, rng=rng)
    name = "pre" if social else "post"
    for step in (bar := tqdm(range(1, steps + 1), desc=name, mininterval=5)):
        index, pixels, words = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            patches = model.see(normalise(pixels, mean, std))
            loss = caption_loss(model(patches, words), words[:, 1:], PAD)
            if namer is not None:
                loss = loss + recipe.words_weight * namer.loss(patches, truth[index])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        keep(step, steps)
        if step % 50 == 0 or step == steps:
            point = {"step": step, "loss": float(np.mean(losses))}
            if step % 500 == 0 or step == steps:
                point["held_out_loss"] = _held_out_loss(model, held_out, check)
                log.info("%s %s", name, point)
            curve.append({key: round(value, 4) for key, value in point.items()})
            bar.set_postfix(loss=f"{point['loss']:.3f}")
            losses = []
    return curve


def _train_text(
    text: LlamaForCausalLM, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> list[dict[str, int | float]]:
    """Train the language model on captions alone, half of them with the social words."""
    rng = np.random.default_rng([recipe.seed, 2])
    steps = round(recipe.epochs_text * len(corpus.scenes) / recipe.batch)
    optimiser, schedule = _optimiser(text, recipe, steps)
    curve, losses, step = [], [], 0
    with tqdm(total=steps, desc="text", mininterval=5) as bar:
        while step < steps:
            texts = [
                text
                for social in (True, False)
                for text in corpus.captions(caption, social=social, rng=rng)
            ]
            words = encode(tokenizer, texts)
            order = rng.permutation(len(words))
            for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
                batch = words[order[start : start + recipe.batch]]
                logits = text(input_ids=batch[:, :-1], use_cache=False).logits
                loss = caption_loss(logits, batch[:, 1:], PAD)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(loss.item())
                step += 1
                bar.update()
                if step % 50 == 0:
                    curve.append({"step": step, "loss": round(float(np.mean(losses)), 4)})
                    losses = []
                if step == steps:
                    break
    return curve


def _optimiser(
    model: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW with a linear warm-up and a cosine to zero; no decay on biases, norms, positions."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    rising = max(1, round(recipe.warm_up * steps))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rising) / (steps - rising))))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _batches(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    *,
    social: bool,
    rng: np.random.Generator,
) -> Iterator[tuple[Int64[np.ndarray, " b"], UInt8[Tensor, "b 3 s s"], Int64[Tensor, "b words"]]]:
    """Endless shuffled batches: indices, shifted pictures, and captions worded anew each epoch."""
    facts = recipe.facts_pre if social else recipe.facts_post
    for epoch in itertools.count():
        wording = functools.partial(brief, others=facts[min(epoch, len(facts) - 1)])
        words = encode(tokenizer, corpus.captions(wording, social=social, rng=rng))
        order = rng.permutation(len(words))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            index = order[start : start + recipe.batch]
            pixels = np.stack([shifted(corpus.pixels[i], recipe.shift, rng) for i in index])
            batch = words[index]
            longest = int((batch != PAD).sum(1).max())
            yield index, torch.from_numpy(pixels).permute(0, 3, 1, 2), batch[:, :longest]


@torch.no_grad()
def _held_out_loss(model: Captioner, held_out: Corpus, words: Tensor) -> float:
    """Mean caption loss on pictures of subjects never trained on, in nats a word."""
    model.eval()
    config = model.tower.config
    mean, std = channels(config.mean), channels(config.std)
    losses = []
    for start in range(0, len(words), 100):
        pixels = torch.from_numpy(held_out.pixels[start : start + 100]).permute(0, 3, 1, 2)
        batch = words[start : start + 100]
        patches = model.see(normalise(pixels, mean, std))
        losses.append(float(caption_loss(model(patches, batch), batch[:, 1:], PAD)))
    model.train()
    return float(np.mean(losses))


def _save_language_model(
    text: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    text.to(torch.float16).save_pretrained(folder)
    text.to(torch.float32)
    tokenizer.save_pretrained(folder)
