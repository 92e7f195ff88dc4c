"""The baseline: Qwen2-VL itself, fine-tuned on the same questions, words and scores."""
