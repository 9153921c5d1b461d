"""Recipes of SparseML: read, translated into native recipes, converted into native files."""
