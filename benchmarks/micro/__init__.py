"""Micro benchmarks: CPU time of single functions of the data path, in us per call.

    python -m benchmarks.micro [--only head|find|handler] [--seconds S]

Each function meets the three kinds of traffic of the whole-process benchmarks (`macro/traffic.py`).
"""
