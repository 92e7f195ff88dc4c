"""For whom and where in the picture: slices of the rows, and probes on single tokens."""
