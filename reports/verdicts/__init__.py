"""The sections about probes: verdicts, scores, robustness, published numbers."""
