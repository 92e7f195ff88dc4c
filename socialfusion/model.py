"""SocialFusion: a frozen encoder's tokens, a connector, and a language model with adapters.

The language model reads [beginning, visual tokens, prompt] and answers in words, or with a map of
where somebody looks. Everything but connector, vectors of boxes, gaze head and adapters is frozen.
The encoder is no part of the model: its tokens come in, from the cache or computed on the way.
"""

import copy
import os
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from degradation.errors import ConfigError, WeightsError
from socialfusion.batch import Batch
from socialfusion.boxes import BoxVectors
from socialfusion.config import SocialFusionConfig
from socialfusion.connector import connector
from socialfusion.drawing import draw_adapters, initialise_linear, named_generator
from socialfusion.frozen import combined, frozen_digests
from socialfusion.heatmap import GazeHead, heatmap_loss, target_maps
from socialfusion.language import Language, load_language
from socialfusion.lora import lora_config, with_adapters
from socialfusion.questions import Question, absent, check_asked
from socialfusion.scoring import Tree, attention_mask, likelihoods, positions
from socialfusion.wording import Wording, word_question

__all__ = ["SocialFusion", "build"]

TRAINED = ("connector.", "boxes.", "heatmap.", "language_model.")


def build(config: SocialFusionConfig, *, seed: int) -> "SocialFusion":
    """A model that is ready to be trained: frozen parts loaded, the rest drawn.

    Args:
        config: What it is made of. The model's own copy also has the digest and the configuration
            of the language model.
        seed: Decides the weights that are drawn, each part by its own name.

    Raises:
        ConfigError: A question cannot be asked of this language model, or a value is out of range.
        WeightsError: The language model cannot be had, or is not the one of the configuration.
    """
    language = load_language(config.language_model, dtype=config.language_model_dtype)
    digest = combined(frozen_digests(language.model))
    if config.language_model_digest not in ("", digest):
        raise WeightsError(
            f"Expected the language model {config.language_model} with digest "
            f"{config.language_model_digest[:12]}, found {digest[:12]}. Give the weights that the "
            "model was trained on."
        )
    config = copy.deepcopy(config)
    config.language_model_digest = digest
    known = language.model.config.to_dict()
    config.language_model_config = {k: v for k, v in known.items() if k[0] != "_"}
    model = SocialFusion(config, language)
    model.initialise(seed=seed)
    return model


class SocialFusion(PreTrainedModel):
    """The model; make one with `build` or `from_pretrained`.

    Args:
        config: What it is made of.
        language: The frozen language model, whose modules get adapters in place; loaded by the
            name in the configuration if None.
    """

    config_class = SocialFusionConfig
    main_input_name = "batch"
    base_model_prefix = ""
    _supports_sdpa = True

    def __init__(self, config: SocialFusionConfig, language: Language | None = None) -> None:
        super().__init__(config)
        language = language or load_language(
            config.language_model, dtype=config.language_model_dtype
        )
        self.tokenizer, self.pad = language.tokenizer, language.pad
        questions = config.asked()
        if not questions:
            raise ConfigError("Expected at least one question in the configuration, found none.")
        self.questions: dict[str, Question] = {one.label: one for one in questions}
        self.wordings: dict[str, Wording] = {
            label: word_question(one, self.tokenizer, limit=config.answer_limit)
            for label, one in self.questions.items()
        }
        self._trees = {
            label: Tree(wording) for label, wording in self.wordings.items() if wording.answers
        }
        _check_lengths(config, language, self.questions, self.wordings)
        wide = language.model.get_input_embeddings().embedding_dim
        self.connector = connector(
            config.token_width, config.connector_width, wide, depth=config.connector_depth
        )
        # Parts that no question needs are not there, so that what is trained is what is used.
        roles = config.roles() if config.box_masks else ()
        self.boxes = BoxVectors(roles, config.token_width) if roles else None
        gaze = any(one.kind == "gaze" for one in questions)
        h, w = config.grid
        self.heatmap = (
            GazeHead(wide, config.heatmap_width, (h, w), config.heatmap_size) if gaze else None
        )
        self.language_model = with_adapters(
            language.model,
            lora_config(
                language.model,
                config.lora_targets,
                rank=config.lora_rank,
                alpha=config.lora_alpha,
                dropout=config.lora_dropout,
            ),
        )
        self._check_trained()

    # ------------------------------------------------------------------ what is trained

    @property
    def causal(self) -> PreTrainedModel:
        """The language model as transformers made it, adapters in its layers."""
        return self.language_model.get_base_model()

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name, in the order of the modules."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def language_digests(self) -> dict[str, str]:
        """`frozen_digests` of the language model, without its adapters."""
        return frozen_digests(self.causal)

    def initialise(self, *, seed: int) -> None:
        """Draw all that is trained; adapters start without effect."""
        initialise_linear(self.connector, generator=_generator(seed, "connector"))
        if self.boxes is not None:
            self.boxes.initialise(generator=_generator(seed, "boxes"))
        if self.heatmap is not None:
            self.heatmap.initialise(generator=_generator(seed, "heatmap"))
        draw_adapters(self.language_model, generator=_generator(seed, "lora"))

    def _check_trained(self) -> None:
        """Refuse to train anything but connector, boxes, heatmap and adapters."""
        for name in self.trained_parameters():
            if not name.startswith(TRAINED) or (
                name.startswith("language_model.") and ".lora_" not in name
            ):
                raise WeightsError(
                    f"Expected only connector, boxes, heatmap and adapters to be trained, found "
                    f"{name}. Report this: no option should make it so."
                )

    # ------------------------------------------------------------------ what it computes

    def forward(self, batch: Batch) -> Float32[Tensor, " b"]:
        """The loss of each sample, in nats.

        For classes the cross-entropy of the right answer and its end, averaged over its tokens;
        for gaze the binary cross-entropy of the map, averaged over its cells, times lambda.

        Raises:
            ConfigError: The model was not made for this question, or labels or points are absent.
        """
        wording = self._wording(batch.question)
        if batch.question.kind == "gaze":
            if batch.points is None:
                raise absent("points", batch.question)
            logits = self.heatmaps(batch)
            target = target_maps(batch.points.float(), self.config.heatmap_size)
            return self.config.heatmap_weight * heatmap_loss(logits, target)
        if batch.labels is None:
            raise absent("labels", batch.question)
        device = batch.tokens.device
        ids = wording.table(self.pad).to(device)[batch.labels]
        length = wording.lengths().to(device)[batch.labels]
        logits = self._logits(self._prefix(batch), [ids[:, :-1]])
        losses = nn.functional.cross_entropy(logits.float().transpose(1, 2), ids, reduction="none")
        counts = torch.arange(ids.shape[1], device=device) < length[:, None]
        return (losses * counts).sum(1) / length

    def scores(self, batch: Batch) -> Float32[Tensor, "b c"]:
        """Log-probability of each class, from the length-normalised likelihoods of its answers.

        Raises:
            ConfigError: The question is answered by a map, or is not the model's.
        """
        wording = self._wording(batch.question)
        if not wording.answers:
            raise ConfigError(f"{batch.question.label} is answered by a map: ask for heatmaps.")
        tree = self._trees[batch.question.label]
        prefix = self._prefix(batch)
        ids = tree.ids.to(prefix.device).expand(len(prefix), -1)
        logits = self._logits(prefix, list(ids.split(tree.spans, dim=1)))
        return likelihoods(logits, tree).log_softmax(1)

    def heatmaps(self, batch: Batch) -> Float[Tensor, "b s s"]:
        """Logits of the map of where somebody looks; `heatmap_probabilities` makes it sum to 1.

        Raises:
            ConfigError: The question is answered in words, or is not the model's.
        """
        self._wording(batch.question)
        if batch.question.kind != "gaze" or self.heatmap is None:
            raise ConfigError(f"{batch.question.label} is answered in words: ask for scores.")
        prefix, start = self._prefix(batch), len(self._wording(batch.question).before)
        hidden = self.causal.get_decoder()(
            inputs_embeds=prefix, use_cache=False, **self._seen(prefix, [])
        ).last_hidden_state
        visual = hidden[:, start : start + batch.tokens.shape[1]]
        return self.heatmap(visual.to(self.heatmap.project.weight.dtype))

    @torch.no_grad()
    def generate(self, batch: Batch, **options: Any) -> Int64[Tensor, "b a"]:
        """Tokens that the language model answers with, greedily unless options say otherwise.

        Args:
            batch: What is asked; labels are not looked at.
            options: Of transformers' `GenerationConfig`.
        """
        prefix = self._prefix(batch)
        chosen = {"max_new_tokens": self.config.answer_limit, "do_sample": False, **options}
        settings = GenerationConfig(
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.pad,
            **chosen,
        )
        ahead = {}
        if self.config.attention == "prefix":
            # The beginning is computed here, where its mask can be given; its last token is left
            # to `generate`, which sees the same from there.
            seen = self.causal(
                inputs_embeds=prefix, use_cache=True, logits_to_keep=1, **self._seen(prefix, [])
            )
            # November 2026: its name in transformers 5.17, and since.
            name = "cache" if "cache" in seen else "past_key_values"
            ahead[name] = seen[name]
            ahead[name].crop(-1)
        return self.causal.generate(
            inputs_embeds=prefix,
            attention_mask=torch.ones(prefix.shape[:2], dtype=torch.int64, device=prefix.device),
            generation_config=settings,
            **ahead,
        )

    def generate_answers(self, batch: Batch) -> list[str]:
        """What the language model answers in its own words, without the end."""
        self._wording(batch.question)
        texts = self.tokenizer.batch_decode(self.generate(batch), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _wording(self, question: Question) -> Wording:
        check_asked(question, self.questions)
        return self.wordings[question.label]

    def _prefix(self, batch: Batch) -> Float[Tensor, "b p d"]:
        """What every answer starts from: beginning, visual tokens and prompt, as embeddings."""
        wording = self._wording(batch.question)
        expected = batch.question.frames * self.config.grid[0] * self.config.grid[1]
        if batch.tokens.shape[1:] != (expected, self.config.token_width):
            raise ConfigError(
                f"Expected {expected} visual tokens of width {self.config.token_width} for "
                f"{batch.question.label}, found {tuple(batch.tokens.shape[1:])}. Give the tokens "
                f"of block {self.config.block} of {self.config.encoder}."
            )
        tokens = batch.tokens.to(self.connector[0].weight.dtype) / self.config.token_scale
        if self.boxes is not None:
            tokens = self.boxes(tokens, batch.masks, batch.question.roles)
        visual = self.connector(tokens)
        embed = self.causal.get_input_embeddings()
        before, prompt = (
            embed(torch.tensor([ids], dtype=torch.int64, device=visual.device))
            for ids in (wording.before, wording.prompt)
        )
        b = len(visual)
        parts = [before.expand(b, -1, -1), visual.to(prompt.dtype), prompt.expand(b, -1, -1)]
        return torch.cat(parts, dim=1)

    def _logits(
        self, prefix: Float[Tensor, "b p d"], answers: list[Int64[Tensor, "b _"]]
    ) -> Float[Tensor, "b a words"]:
        """Logits at the last position of the beginning and at every token of the answers."""
        spans = [answer.shape[1] for answer in answers]
        read = self.causal.get_input_embeddings()(torch.cat(answers, dim=1))
        return self.causal(
            inputs_embeds=torch.cat([prefix, read.to(prefix.dtype)], dim=1),
            use_cache=False,
            logits_to_keep=1 + sum(spans),
            **self._seen(prefix, spans),
        ).logits

    def _seen(self, prefix: Float[Tensor, "b p d"], spans: list[int]) -> dict[str, Tensor]:
        """Mask and positions for the language model; nothing where plain causal ones do."""
        both_ways = self.config.attention == "prefix"
        if len(spans) < 2 and not both_ways:
            return {}
        device, p = prefix.device, prefix.shape[1]
        seen = attention_mask(p, spans, both_ways=both_ways, device=device)[None, None]
        if self.causal.config._attn_implementation != "sdpa":  # the others add their mask
            least = torch.finfo(prefix.dtype).min
            seen = torch.zeros_like(seen, dtype=prefix.dtype).masked_fill(~seen, least)
        return {"attention_mask": seen, "position_ids": positions(p, spans, device=device)}

    # ------------------------------------------------------------------ on disk

    def save_pretrained(self, save_directory: str | os.PathLike[str], **_: Any) -> None:
        """Write all that was trained, and nothing that is frozen; see `socialfusion.saving`."""
        from socialfusion.saving import save

        save(self, save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        language_model: str | None = None,
    ) -> "SocialFusion":
        """The model that `save_pretrained` wrote, in evaluation mode; see `socialfusion.saving`."""
        from socialfusion.saving import load

        return load(pretrained_model_name_or_path, language_model=language_model)


def _generator(seed: int, name: str) -> torch.Generator:
    return named_generator(seed, f"socialfusion/{name}")


def _check_lengths(
    config: SocialFusionConfig,
    language: Language,
    questions: dict[str, Question],
    wordings: dict[str, Wording],
) -> None:
    """Check that the longest sequence fits into the language model.

    Raises:
        ConfigError: It has too few learned positions, or sees only a window of them.
    """
    text = language.model.config.get_text_config()
    cells = config.grid[0] * config.grid[1]
    longest = max(
        len(wording.before) + questions[label].frames * cells + len(wording.prompt)
        + sum(map(len, wording.answers))
        for label, wording in wordings.items()
    )  # fmt: skip
    rotary = getattr(text, "rope_parameters", None) is not None
    room = None if rotary else getattr(text, "max_position_embeddings", None)
    window = getattr(text, "sliding_window", None)
    for most, what in ((room, "positions"), (window, "positions in its window")):
        if most is not None and longest > most:
            raise ConfigError(
                f"Expected room for {longest} tokens, but the language model {language.name} has "
                f"{most} {what}. Take another, an encoder with a smaller grid, or fewer frames."
            )
