"""Benchmarks: `macro` measures whole processes side by side, `micro` single functions (README.md)."""
