"""What the benchmarks of SocialFusion share: models with random weights, batches, and a step."""

import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from socialfusion.batch import Batch
from socialfusion.config import SocialFusionConfig
from socialfusion.language import TINY, Language, load_tokenizer
from socialfusion.mixing import Draw
from socialfusion.model import SocialFusion
from socialfusion.place import Place
from socialfusion.questions import Question
from socialfusion.records import FusionSettings
from socialfusion.stepping import Stepper, optimiser_of

GRID, CLASSES = 24, 34
SHAPES = {
    # Of Llama 3.2 1B and CLIP ViT-L/14-336, and of the shipped parts.
    "real": {"hidden": 2048, "layers": 16, "heads": 32, "kv": 8, "mlp": 8192, "words": 128_256,
             "encoder": 1024, "connector": 4096, "grid": 24},
    # For a CPU: the connector has 2.6 % of the parameters of the blocks, in the real model 3.0 %.
    "small": {"hidden": 512, "layers": 6, "heads": 8, "kv": 2, "mlp": 2048, "words": 32_000,
              "encoder": 256, "connector": 512, "grid": 24},
    "toy": {"hidden": 96, "layers": 2, "heads": 4, "kv": 4, "mlp": 192, "words": 200,
            "encoder": 96, "connector": 192, "grid": 8},
}  # fmt: skip


def language(shape, dtype=torch.float32, device="cpu"):
    """A Llama with random weights, and the tokenizer of the shipped language model."""
    size = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=size["words"],
        hidden_size=size["hidden"],
        intermediate_size=size["mlp"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["kv"],
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config).to(dtype)
    return Language(shape, model.requires_grad_(False).eval(), load_tokenizer(TINY))


def question(tokenizer):
    """One with as many answers as HaGRIDv2 has gestures, of one to three words each."""
    special = set(tokenizer.all_special_tokens)
    words = [word for word in sorted(tokenizer.get_vocab()) if word not in special]
    answers = [" ".join(words[3 * i : 3 * i + 1 + i % 3]) for i in range(CLASSES)]
    return Question(
        task="benchmark", name="gesture", kind="classes", prompt="the hand makes the sign",
        answers=tuple(answers), roles=("hand",), frames=1, metrics=("accuracy",), social=True,
    )  # fmt: skip


def fusion(shape, *, rank, dtype=torch.float32, device="cpu"):
    """A SocialFusion of a shape, and its question."""
    size, own = SHAPES[shape], language(shape, dtype, device)
    asked = question(own.tokenizer)
    config = SocialFusionConfig(
        encoder="random", grid=[size["grid"]] * 2, token_width=size["encoder"],
        questions=[asked.as_json()], language_model=shape, connector_width=size["connector"],
        lora_rank=rank,
    )  # fmt: skip
    model = SocialFusion(config, own)
    model.initialise(seed=0)
    return model.to(device), asked


def batch_of(model, asked, b):
    """Random tokens in float16, as they come from the cache."""
    draw = torch.Generator().manual_seed(0)
    v = model.config.grid[0] * model.config.grid[1]
    return Batch(
        asked,
        torch.randn(b, v, model.config.token_width, generator=draw).half(),
        torch.rand(b, v, 1, generator=draw) < 0.1,
        torch.arange(b) % CLASSES,
    )


def stepper(model, device, dtype):
    """What `sdiag train-socialfusion` takes its steps with, and the draw of a step."""
    settings = FusionSettings(encoder="random", tasks=("benchmark",), language_model="x", steps=1)
    parameters = model.trained_parameters()
    place = Place(torch.device(device), dtype)
    accelerator = Accelerator(cpu=torch.device(device).type == "cpu")
    optimiser = optimiser_of(parameters, settings)
    return Stepper(model, parameters, optimiser, settings, place, accelerator, None)


def step(own, asked, batch):
    """One step of training, from a batch on the host to new weights."""
    draw = Draw(asked.label, batch.labels.numpy(), 0, 1.0)
    own.take(0, [draw], [batch], rate=1e-6, halt=False)
