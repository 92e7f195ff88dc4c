"""The cure: a frozen encoder, a small connector and a language model with LoRA, trained jointly."""
