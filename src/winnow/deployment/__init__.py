"""Deployed models: the folder that export writes, the engines that run it, text in and answers out."""
