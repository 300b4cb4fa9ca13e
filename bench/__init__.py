"""Measurements: ratios of one run, side by side. `python -m bench` prints them and writes docs/benchmarks.md."""
