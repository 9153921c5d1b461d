"""Modifiers: Lightning callbacks that change how a model trains. One file each; `base` holds what they share."""
