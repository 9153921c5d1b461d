"""The composed configuration of Hydra as plain values."""

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from winnow.errors import UserError, first_line


def plain_values(composed: Any) -> dict[str, Any]:
    """The composed configuration as plain values, without Hydra's own section.

    Raises:
        UserError: for a value that is missing, or refers to nothing.
    """
    config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} must be given: add {error.full_key}=VALUE to the command.") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'the configuration'}: {first_line(error)}.") from error
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
