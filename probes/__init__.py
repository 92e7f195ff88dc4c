"""The measurement: linear probes, gaze readouts, statistics and result records."""
