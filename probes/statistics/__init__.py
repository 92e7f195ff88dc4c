"""Intervals, tests, verdicts and sample sizes for paired, clustered outcomes."""
