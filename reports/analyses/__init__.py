"""The sections about what further analyses found: diagnosis, drift, slices, where."""
