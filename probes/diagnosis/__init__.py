"""Which kind of loss: rotated, re-mapped, no longer linear, buried in noise, or gone."""
