"""Recipes of SparseML, read and translated into native ones."""
