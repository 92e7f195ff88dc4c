"""Two runs side by side: settings, scores, and a gate for continuous integration."""
