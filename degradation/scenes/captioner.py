"""The smallest vision-language model: a vision tower, a connector and a causal language model.

The connector merges 2 x 2 neighbouring patch tokens into one, as Qwen2-VL does (arXiv 2409.12191,
section 2.1), and maps them to the width of the language model with a two-layer MLP. The language
model reads the visual tokens, then the caption.

For the pre side a second head says of every word whether it is true of the picture, from the mean
patch token (Joulin et al. 2016, arXiv 1511.02251). Captions alone, one short one a picture, leave
gaze and facial expression unlearned within the budget of the recipe.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from degradation.encoders.vit import Vit

__all__ = ["Captioner", "WordNamer", "caption_loss", "language_model", "present"]


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


def present(words: Int[Tensor, "n words"], n_words: int) -> Float[Tensor, "n v"]:
    """Which words of the vocabulary occur in each row: 1 or 0."""
    return torch.zeros(len(words), n_words).scatter_(1, words, 1.0)


class WordNamer(nn.Module):
    """Says of every word from the mean patch token whether it is true of the picture."""

    def __init__(self, width: int, n_words: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_words))

    def loss(
        self, patches: Float[Tensor, "b t d"], truth: Float[Tensor, "b v"]
    ) -> Float[Tensor, ""]:
        """Binary cross-entropy in nats, summed over words, averaged over pictures."""
        logits = self.head(patches.mean(1)).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
        return loss / len(truth)


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
