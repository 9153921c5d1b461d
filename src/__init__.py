"""Entry points of the repository: ``python -m src.train`` and its siblings; the package is `winnow`."""
