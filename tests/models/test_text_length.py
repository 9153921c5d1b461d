import pytest
from transformers import BertConfig, RobertaConfig

from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.models.text_length import limit_length

BERT = BertConfig(max_position_embeddings=64)


def limited(config, model, own=10**30):
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = own
    limit_length(tokenizer, config, model)
    return tokenizer.model_max_length


def test_a_default_length_above_the_limit_of_the_model_is_cut_with_a_note(configured, capsys):
    config = configured("task=text_classification", "model=bert_base", "task.data.files.train=x.csv")
    assert limited(config, BERT) == 64
    note = "note: texts are cut to 64 tokens, the most that the model reads, not to task.max_length=128.\n"
    assert capsys.readouterr().err == note


@pytest.mark.parametrize(("task", "setting"), [("sst2", "max_length"), ("squad", "max_seq_length")])
def test_a_length_of_the_command_line_above_the_limit_is_refused(configured, task, setting):
    config = configured(f"task={task}", "model=roberta_base", f"task.{setting}=513")
    with pytest.raises(UserError, match=rf"^task\.{setting}=513: the model reads 512 tokens at most"):
        limited(config, RobertaConfig(max_position_embeddings=514, pad_token_id=1))


def test_a_smaller_limit_of_the_tokenizer_of_a_pretrained_model_is_kept(configured):
    assert limited(configured("task=sst2", "model=bert_base"), BertConfig(), own=256) == 256


def test_the_embedded_tokenizer_has_the_limit_of_the_model_that_is_built(configured, capsys):
    assert limited(configured("task=sst2", "model=tiny"), BertConfig(max_position_embeddings=200), own=128) == 200
    assert capsys.readouterr().err == ""
