"""Maths only: numbers and tensors in and out; no Lightning, no Hydra, no files."""
