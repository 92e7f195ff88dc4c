"""Qwen2-VL with adapters, asked the same questions in the same words as SocialFusion.

It reads [picture, boxes in words, ..., prompt], every frame with its boxes, and answers in words,
scored by the same length-normalised likelihoods. There is no chat around it: prompt and answer are
those of SocialFusion, word for word. Where somebody looks it answers as a point in words; the map
that the metrics want is then the one that stands for a point in the literature.
"""

import os

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2VLForConditionalGeneration,
)

from degradation.errors import ConfigError, WeightsError
from probes.gaze_metrics import LITERATURE_GRID, gaussian_maps
from socialfusion.drawing import draw_adapters, named_generator
from socialfusion.frozen import combined, frozen_digests
from socialfusion.lora import lora_config, with_adapters
from socialfusion.questions import Question, absent, check_asked
from socialfusion.scoring import Tree, attention_mask, likelihoods, positions
from socialfusion.vlm.batch import PictureBatch
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.grounding import box_text, point_text, read_point
from socialfusion.vlm.loading import load_qwen
from socialfusion.vlm.sequences import Part, Sequences, line_up
from socialfusion.wording import Wording, word_question

__all__ = ["Vlm", "build_vlm"]

_VISION = ".visual."
_SURE = 1e-6
"""Heights of a map of a point are kept this far from 0 and 1, so that their logits are finite."""


def build_vlm(config: VlmConfig, *, seed: int) -> "Vlm":
    """A model that is ready to be trained: Qwen2-VL loaded, adapters drawn.

    Args:
        config: What it is made of. The model's own copy also has the digest.
        seed: Decides the adapters.

    Raises:
        ConfigError: It is no Qwen2-VL, or a question cannot be asked of it.
        WeightsError: It cannot be had, or is not the one of the configuration.
    """
    base, tokenizer = load_qwen(config.model, dtype=config.dtype)
    digest = combined(frozen_digests(base))
    if config.digest not in ("", digest):
        raise WeightsError(
            f"Expected {config.model} with digest {config.digest[:12]}, found {digest[:12]}. Give "
            "the weights that the model was trained on."
        )
    model = Vlm(config.model_copy(update={"digest": digest}), base, tokenizer)
    model.initialise(seed=seed)
    return model


class Vlm(nn.Module):
    """The model; make one with `build_vlm` or `socialfusion.vlm.saving.load_vlm`.

    Args:
        config: What it is made of.
        base: Qwen2-VL, whose modules get adapters in place.
        tokenizer: Its own.
    """

    def __init__(
        self,
        config: VlmConfig,
        base: Qwen2VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.questions: dict[str, Question] = {one.label: one for one in config.asked()}
        self.wordings: dict[str, Wording] = {
            label: word_question(one, tokenizer, limit=config.answer_limit)
            for label, one in self.questions.items()
        }
        self._trees = {
            label: Tree(wording) for label, wording in self.wordings.items() if wording.answers
        }
        pad = tokenizer.pad_token_id
        self.pad = tokenizer.eos_token_id if pad is None else pad
        targets = config.lora_targets
        self.language_model = with_adapters(
            base,
            lora_config(
                base,
                targets if isinstance(targets, str) else list(targets),
                rank=config.lora_rank,
                alpha=config.lora_alpha,
                dropout=config.lora_dropout,
            ),
        )
        if config.train_vision:
            # In float32, since steps are far smaller than what bfloat16 can tell apart.
            base.model.visual.float().requires_grad_(True)

    @property
    def base(self) -> Qwen2VLForConditionalGeneration:
        """Qwen2-VL as transformers made it, adapters in its layers."""
        return self.language_model.get_base_model()

    # ------------------------------------------------------------------ what is trained

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name, in the order of the modules."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def language_digests(self) -> dict[str, str]:
        """`frozen_digests` of all that is frozen, the vision tower included where it is."""
        digests = frozen_digests(self.base)
        if not self.config.train_vision:
            return digests
        return {name: one for name, one in digests.items() if _VISION not in f".{name}"}

    def initialise(self, *, seed: int) -> None:
        """Draw the adapters, which start without effect."""
        generator = named_generator(seed, "socialfusion/vlm/lora")
        draw_adapters(self.language_model, generator=generator)

    # ------------------------------------------------------------------ what it computes

    def forward(self, batch: PictureBatch) -> Float32[Tensor, " b"]:
        """The loss of each sample: cross-entropy of its answer and end, mean over tokens, in nats.

        For gaze the answer is the mean of the annotated points, in words.

        Raises:
            ConfigError: The model was not made for this question, or labels or points are absent.
        """
        wording = self._wording(batch.question)
        if batch.question.kind == "gaze":
            ids, length = self._point_answers(batch)
        elif batch.labels is None:
            raise absent("labels", batch.question)
        else:
            ids = wording.table(self.pad)[batch.labels.cpu()]
            length = wording.lengths()[batch.labels.cpu()]
        ids, length = ids.to(batch.patches.device), length.to(batch.patches.device)
        count = ids.shape[1]
        step = torch.arange(count, device=ids.device)
        hidden = self._hidden(batch, ids[:, :-1], step[:-1])
        logits = self.base.lm_head(hidden).float()
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
        return (losses * (step < length[:, None])).sum(1) / length

    def scores(self, batch: PictureBatch) -> Float32[Tensor, "b c"]:
        """Log-probability of each class, from the length-normalised likelihoods of its answers.

        Raises:
            ConfigError: The question is answered by a point, or is not the model's.
        """
        self._wording(batch.question)
        tree = self._trees.get(batch.question.label)
        if tree is None:
            raise ConfigError(f"{batch.question.label} is answered by a point: ask for heatmaps.")
        device = batch.patches.device
        ids = tree.ids.to(device).expand(len(batch), -1)
        steps = positions(0, tree.spans, device=device)[0]
        hidden = self._hidden(batch, ids, steps, spans=tree.spans)
        return likelihoods(self.base.lm_head(hidden), tree).log_softmax(1)

    def heatmaps(self, batch: PictureBatch) -> Float32[Tensor, "b 64 64"]:
        """Logits of the map that stands for the generated point, a Gaussian around it.

        As the row of one human in GazeFollow's tables is made: its AUC is that of a point, not of
        a distribution. Where the answer is no point, the centre of the picture stands for it.
        """
        points = self.points(batch).nan_to_num(0.5)
        maps = torch.from_numpy(gaussian_maps(points.numpy())).view(-1, *LITERATURE_GRID)
        return torch.logit(maps, eps=_SURE).to(batch.patches.device)

    def points(self, batch: PictureBatch) -> Float64[Tensor, "b 2"]:
        """Where somebody looks by the model's own words, normalised xy; NaN for no point.

        Raises:
            ConfigError: The question is answered in words, or is not the model's.
        """
        if batch.question.kind != "gaze":
            raise ConfigError(f"{batch.question.label} is answered in words: ask for scores.")
        found = [read_point(text) for text in self.generate_answers(batch)]
        none = (float("nan"), float("nan"))
        return torch.tensor([one or none for one in found], dtype=torch.float64)

    @torch.no_grad()
    def generate(self, batch: PictureBatch, **options: object) -> Int64[Tensor, "b a"]:
        """Tokens that the model answers with, greedily unless options say otherwise.

        Args:
            batch: What is asked; labels are not looked at.
            options: Of transformers' `GenerationConfig`.
        """
        read = self._read(batch).to(batch.patches.device)
        chosen = {"max_new_tokens": self.config.answer_limit, "do_sample": False, **options}
        settings = GenerationConfig(
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.pad,
            **chosen,
        )
        whole = self.base.generate(
            input_ids=read.ids,
            attention_mask=read.present.long(),
            mm_token_type_ids=(read.ids == self.base.config.image_token_id).int(),
            pixel_values=batch.patches,
            image_grid_thw=batch.grids.to(batch.patches.device),
            generation_config=settings,
        )
        return whole[:, read.ids.shape[1] :]

    def generate_answers(self, batch: PictureBatch) -> list[str]:
        """What the model answers in its own words, without the end."""
        self._wording(batch.question)
        texts = self.tokenizer.batch_decode(self.generate(batch), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _hidden(
        self,
        batch: PictureBatch,
        answer: Int64[Tensor, "b a"],
        steps: Int64[Tensor, " a"],
        *,
        spans: list[int] | None = None,
    ) -> Float[Tensor, "b _ d"]:
        """Outputs at the last position of the beginning and at every token of the answers.

        Args:
            batch: What is asked.
            answer: Tokens behind the beginning.
            steps: Which token of its answer each is.
            spans: Tokens of each answer, where they are several that must not see each other.
        """
        device = batch.patches.device
        read = self._read(batch).to(device)
        p = read.ids.shape[1]
        places = (read.following[:, None] + steps).expand(3, -1, -1)
        present = nn.functional.pad(read.present, (0, answer.shape[1]), value=True)
        mask = None
        if spans is not None:
            mask = self._tree_mask(p, spans, present)
        elif not present.all():
            mask = present.long()
        hidden = self.base.model(
            input_ids=torch.cat([read.ids, answer], dim=1),
            position_ids=torch.cat([read.places, places], dim=2),
            attention_mask=mask,
            pixel_values=batch.patches,
            image_grid_thw=batch.grids.to(device),
            use_cache=False,
        ).last_hidden_state
        return hidden[:, p - 1 :]

    def _tree_mask(self, prefix: int, spans: list[int], present: Bool[Tensor, "b s"]) -> Tensor:
        """Which position may look at which, shape (b, 1, s, s)."""
        seen = attention_mask(prefix, spans, both_ways=False, device=present.device)
        # What fills up sees itself alone: attention over nothing has no value.
        itself = torch.eye(len(seen), dtype=torch.bool, device=seen.device)
        seen = ((seen & present[:, None, :]) | itself)[:, None]
        if self.base.config._attn_implementation == "sdpa":
            return seen
        dtype = self.base.lm_head.weight.dtype  # the others add their mask
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)

    # ------------------------------------------------------------------ what it is asked

    def _wording(self, question: Question) -> Wording:
        check_asked(question, self.questions)
        return self.wordings[question.label]

    def _read(self, batch: PictureBatch) -> Sequences:
        """What every answer starts from: pictures with their boxes, and the prompt."""
        question, config = batch.question, self.base.config
        prompt = self._wording(question).prompt
        merge = config.vision_config.spatial_merge_size
        sides = iter((batch.grids[:, 1:] // merge).tolist())
        samples: list[list[Part]] = []
        for frames in batch.boxes.tolist():
            parts: list[Part] = []
            for boxes in frames:
                rows, columns = next(sides)
                parts += [[config.vision_start_token_id], ("picture", rows, columns)]
                parts.append([config.vision_end_token_id])
                if self.config.boxes:
                    named = zip(question.roles, boxes, strict=True)
                    parts.append(self._tokens("".join(box_text(role, box) for role, box in named)))
            samples.append([*parts, prompt])
        return line_up(samples, picture=config.image_token_id, pad=self.pad)

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _point_answers(self, batch: PictureBatch) -> tuple[Int64[Tensor, "b a"], Tensor]:
        """The right points in words, filled up on the right, and their lengths."""
        if batch.points is None:
            raise absent("points", batch.question)
        means = batch.points.double().nanmean(dim=1).cpu()
        if means.isnan().any():
            raise absent("a point in every sample", batch.question)
        rows = [
            [*self._tokens(point_text(one)), self.tokenizer.eos_token_id] for one in means.tolist()
        ]
        longest = max(map(len, rows))
        filled = [[*row, *[self.pad] * (longest - len(row))] for row in rows]
        return torch.tensor(filled), torch.tensor([len(row) for row in rows])

    # ------------------------------------------------------------------ on disk

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write all that was trained, and nothing that is frozen; see `socialfusion.vlm.saving`."""
        from socialfusion.vlm.saving import save_vlm

        save_vlm(self, folder)
