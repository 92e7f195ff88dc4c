"""The smallest vision-language model: a vision tower, a connector and a causal language model.

The connector merges 2 x 2 neighbouring patch tokens into one, as Qwen2-VL does (arXiv 2409.12191,
section 2.1), and maps them to the width of the language model with a two-layer MLP. The language
model reads the visual tokens, then the caption.

For the pre side a second head names the caption's words from the mean patch token, weighted by
their rarity (SuperClass, arXiv 2411.03313): a tower of its kind learns from both, as CoCa's does
from captions and a contrast (arXiv 2205.01917).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from degradation.encoders.vit import Vit

__all__ = ["Captioner", "WordNamer", "caption_loss", "language_model", "rarity"]


def language_model(n_words: int, *, width: int, depth: int, pad: int) -> LlamaForCausalLM:
    """A small Llama with random weights, tied embeddings and room for 128 positions."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_words,
            hidden_size=width,
            intermediate_size=8 * width // 3,
            num_hidden_layers=depth,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=pad,
            bos_token_id=pad + 1,
            eos_token_id=pad + 2,
        )
    )


def caption_loss(
    logits: Float[Tensor, "b words v"], words: Int[Tensor, "b words"], pad: int
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over all words that are not padding."""
    return nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), words.flatten(), ignore_index=pad
    )


def rarity(words: Int[Tensor, "n words"], n_words: int, *, special: int) -> Float[Tensor, " v"]:
    """Inverse document frequency of every word over n captions, log(n / (1 + captions with it)).

    Never negative, and 0 for the first `special` tokens, which are no words.
    """
    present = torch.zeros(len(words), n_words).scatter_(1, words, 1.0)
    weights = torch.log(len(words) / (1 + present.sum(0))).clamp(min=0)
    weights[:special] = 0
    return weights


class WordNamer(nn.Module):
    """Names the words of the caption, in no order, from the mean patch token."""

    def __init__(self, width: int, weights: Float[Tensor, " v"]) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(weights)))

    def loss(
        self, patches: Float[Tensor, "b t d"], words: Int[Tensor, "b words"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy in nats against the caption's words, weighted by rarity to sum 1."""
        target = torch.zeros(len(words), len(self.weights)).scatter_(1, words, 1.0) * self.weights
        target = target / target.sum(1, keepdim=True)
        logits = self.head(patches.mean(1)).float()
        return nn.functional.cross_entropy(logits, target)


class Captioner(nn.Module):
    """A vision tower that feeds a language model, trained end to end."""

    def __init__(self, tower: Vit, text: LlamaForCausalLM) -> None:
        super().__init__()
        self.tower = tower
        self.text = text
        width = text.config.hidden_size
        self.connector = nn.Sequential(
            nn.Linear(4 * tower.config.width, width), nn.GELU(), nn.Linear(width, width)
        )

    def see(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t d"]:
        """Patch tokens after the last block of the tower."""
        last = self.tower.config.depth - 1
        return self.tower(pixels, [last])[last].patches

    def forward(
        self, patches: Float[Tensor, "b t d"], words: Int[Tensor, "b words"]
    ) -> Float[Tensor, "b words-1 v"]:
        """Logits of every word but the first, given the picture and the words before it."""
        visual = self.connector(_merge(patches))
        embedded = self.text.get_input_embeddings()(words[:, :-1])
        inputs = torch.cat([visual, embedded.to(visual.dtype)], dim=1)
        hidden = self.text.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return self.text.lm_head(hidden[:, visual.shape[1] :])


def _merge(patches: Float[Tensor, "b t d"]) -> Float[Tensor, "b t/4 4*d"]:
    """Concatenate the four tokens of each 2 x 2 window of the grid."""
    b, t, d = patches.shape
    side = int(t**0.5)
    windows = patches.view(b, side // 2, 2, side // 2, 2, d).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(b, t // 4, 4 * d)
