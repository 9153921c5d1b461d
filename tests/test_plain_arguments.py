import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded

NASTY = [
    "it's a, (good) film = yes",
    'she said "no", [twice] {and} \\ left',
    "${oc.env:HOME} ${text} $HOME",
    "a\nb\tc",
    "null", "true", "1e5", "007", "", " ", "???", "~x", "--help", "-", "@file", "text=text", "50 %25 off",
    "caf\u00e9 \u2028 \U0001f600",
    "\udce9",
]  # fmt: skip


def through_hydra(*arguments):
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        composed = compose("predict", overrides=encoded(["deployment=d", *arguments], ["text", "file"]))
    GlobalHydra.instance().clear()
    return decoded(OmegaConf.to_container(composed, resolve=True), ["text", "file"])


@pytest.mark.parametrize("text", NASTY)
def test_a_text_passes_through_hydra_unchanged(text):
    assert through_hydra(f"text={text}")["text"] == text


@given(st.text())
def test_any_text_survives_encoding(text):
    (argument,) = encoded([f"text={text}"], ["text"])
    name, _, value = argument.partition("=")
    assert decoded({name: value.strip("'")}, ["text"]) == {"text": text}
    assert not set(argument) & set(',"[](){}$\\ \n:')


def test_other_arguments_are_parsed_by_hydra():
    assert encoded(["top_k=3", "--help", "keep=[a,b]", "text"], ["text"]) == ["top_k=3", "--help", "keep=[a,b]", "text"]
    assert through_hydra("keep=[a,b]", "top_k=3")["keep"] == ["a", "b"]


def test_a_setting_that_was_not_given_is_unchanged():
    assert decoded({"text": None, "top_k": 3}, ["text"]) == {"text": None, "top_k": 3}
