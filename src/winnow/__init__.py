"""Winnow: prune, distil, quantise and export transformer encoders in one run."""
