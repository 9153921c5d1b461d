"""Deployed models: the folder that export writes, the engines that run it, and pipelines from text to answers."""
