"""Benchmarks: each figure as a ratio to a peer that was measured in the same run. Not part of the tests."""
