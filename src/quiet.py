"""Silence for what libraries say of themselves; errors and our own words stay."""

import logging
import warnings


def quiet_libraries() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric", "torchmetrics"):
        warnings.filterwarnings("ignore", module=name)
