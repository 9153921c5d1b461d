from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import winnow.config.resolve  # noqa: F401 -- registers the resolvers of the configuration
from winnow.commands.hydra_errors import _settings
from winnow.commands.synonyms import SYNONYMS, synonym
from winnow.files.conf_folder import CONF

WIDE = ["teacher=checkpoint", "recipe=layers6_prune80", "+modifier@recipe.structure=structure"]


def composed_settings(word, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [*_settings(OmegaConf.to_container(compose(word, list(overrides), return_hydra_config=True)))]


def test_every_hint_is_a_setting_or_an_option_of_some_command():
    commands = [composed_settings("train", *WIDE), composed_settings("train", "task=demo_questions")]
    commands += [composed_settings(word) for word in ("export", "predict", "report")]
    known = set().union(*commands)
    hints = {written for each in SYNONYMS.values() for written in each}
    assert {written for written in hints if written.partition("=")[0] not in known} == set()
    assert synonym("model", commands[3]) == "deployment"
    assert synonym("max_length", commands[1]) == "task.max_seq_length"
    assert synonym("seed", known) is None
