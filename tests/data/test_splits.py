import json
import os
import shutil
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from tests.toys import typed_data
from winnow.data.places import PLACE
from winnow.data.splits import arrange_splits, load_splits
from winnow.errors import UserError

ROWS = [("the plot was bad", "sad"), ("good, really", "glad"), ("so so", "meh"), ("fine", "glad")]


def rows_of(count):
    return [(f"text number {i}", "even" if i % 2 == 0 else "odd") for i in range(count)]


def read(**section):
    """What a run with this task.data section trains and is measured on."""
    data = typed_data(**section)
    return arrange_splits(load_splits(data), data)


def write(path, rows, columns=("text", "label")):
    """A table in the format that the name of the file says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    if path.suffix == ".parquet":
        Dataset.from_list(table).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(table))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [separator.join(columns)]
        lines += [separator.join(f'"{cell}"' if separator in str(cell) else str(cell) for cell in row) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_a_folder_of_files_named_after_their_splits_is_read(tmp_path, suffix):
    for split in ("train", "validation", "test"):
        write(tmp_path / f"{split}.{suffix}", ROWS)
    splits = read(path=str(tmp_path))
    assert list(splits) == ["train", "validation", "test"]
    for split in splits.values():
        assert list(zip(split["text"], split["label"], strict=True)) == ROWS


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_files_given_one_by_one_may_have_any_name(tmp_path, suffix):
    files = {
        "train": str(write(tmp_path / f"mine.{suffix}", ROWS)),
        "validation": str(write(tmp_path / f"yours.{suffix}", ROWS[:2])),
        "test": None,
    }
    splits = read(files=files)
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "validation": 2}
    assert splits["train"]["text"][1] == "good, really"


def test_files_of_the_hub_are_joined_into_their_splits(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00002.parquet", ROWS[:3])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", ROWS[3:])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", ROWS)
    splits = read(path=str(tmp_path))
    assert splits["train"]["text"] == [text for text, _ in ROWS]
    assert len(splits["validation"]) == 4


def test_in_a_copy_of_a_hub_data_set_the_folder_of_the_subset_is_read(tmp_path):
    write(tmp_path / "sst2" / "train-00000-of-00001.parquet", ROWS)
    write(tmp_path / "cola" / "train-00000-of-00001.parquet", ROWS[:2])
    splits = load_splits(typed_data(path=str(tmp_path), subset="sst2"))
    assert splits["train"]["text"] == [text for text, _ in ROWS]
    assert load_splits(typed_data(path=str(tmp_path / "sst2"), subset="sst2"))["train"].num_rows == 4


@pytest.mark.parametrize("subset", [None, "rte"])
def test_rows_of_several_data_sets_are_not_mixed(tmp_path, subset):
    for name in ("cola", "sst2"):
        write(tmp_path / name / "train.csv", ROWS)
    with pytest.raises(UserError, match=r"train files are in 2 of its folders; .* such as task.data.path=.*/cola\.$"):
        load_splits(typed_data(path=str(tmp_path), subset=subset))


def test_folders_below_one_with_training_files_are_not_read(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "older" / "train.csv", ROWS[:2])
    write(tmp_path / "outputs" / "run" / "validation.json", ROWS[:2])
    assert {name: len(split) for name, split in read(path=str(tmp_path)).items()} == {"train": 3, "validation": 1}


@pytest.mark.parametrize("name", ["dev", "valid", "val", "eval"])
def test_other_usual_names_of_the_validation_split_are_known(tmp_path, name):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / f"{name}.csv", ROWS[:2])
    splits = read(path=str(tmp_path))
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "validation": 2}


def test_two_validation_splits_have_the_order_of_the_setting(tmp_path):
    for split in ("validation_mismatched", "validation_matched", "train", "test"):
        write(tmp_path / f"{split}-00000-of-00001.parquet", ROWS)
    wanted = ["validation_matched", "validation_mismatched"]
    assert list(read(path=str(tmp_path), validation=wanted)) == ["train", *wanted, "test"]


def test_files_of_other_splits_are_not_read(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "validation.csv", ROWS)
    (tmp_path / "notes.csv").write_bytes(b"\x00\xff")
    assert list(read(path=str(tmp_path))) == ["train", "validation"]


def test_without_a_validation_split_a_part_of_the_training_data_is_held_out(tmp_path):
    write(tmp_path / "train.csv", rows_of(50))
    section = {"path": str(tmp_path), "validation_fraction": 0.2}
    splits = read(**section)
    train, held_out = set(splits["train"]["text"]), set(splits["validation"]["text"])
    assert (len(train), len(held_out)) == (40, 10)
    assert train | held_out == {text for text, _ in rows_of(50)}
    assert read(**section)["validation"]["text"] == splits["validation"]["text"]


def test_the_test_split_is_never_validated_on(tmp_path):
    write(tmp_path / "train.csv", rows_of(50))
    write(tmp_path / "test.csv", ROWS)
    splits = read(path=str(tmp_path))
    assert list(splits) == ["train", "validation", "test"]
    assert len(splits["validation"]) == 5
    assert splits["test"]["text"] == [text for text, _ in ROWS]


def test_a_sample_of_the_rows_is_random_and_the_same_each_time(tmp_path):
    for split in ("train", "validation", "test"):
        write(tmp_path / f"{split}.csv", rows_of(60))
    section = {"path": str(tmp_path), "max_train_samples": 20, "max_eval_samples": 7}
    splits = read(**section)
    assert {name: len(split) for name, split in splits.items()} == {"train": 20, "validation": 7, "test": 7}
    assert splits["train"]["text"] != [text for text, _ in rows_of(20)]
    assert len(set(splits["train"]["text"])) == 20
    assert read(**section)["train"]["text"] == splits["train"]["text"]


def test_a_limit_above_the_number_of_rows_keeps_all_in_order(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "validation.csv", ROWS)
    splits = read(path=str(tmp_path), max_train_samples=1000)
    assert splits["train"]["text"] == [text for text, _ in ROWS]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("word", ["null", "NA", "None", "nan", "N/A", "NULL", "n/a"])
def test_words_that_look_like_missing_values_are_texts_and_labels(tmp_path, suffix, word):
    write(tmp_path / f"train.{suffix}", [(word, "a"), ("text", word), ("other", "b")])
    write(tmp_path / f"validation.{suffix}", [("text", "a")])
    train = read(path=str(tmp_path))["train"]
    assert train["text"][0] == word
    assert train["label"][1] == word


def test_quotes_commas_and_line_breaks_in_a_cell_are_kept(tmp_path):
    (tmp_path / "train.csv").write_text('text,label\n"a, b",x\n"say ""no""\nnow",y\n')
    write(tmp_path / "validation.csv", ROWS)
    assert read(path=str(tmp_path))["train"]["text"] == ["a, b", 'say "no"\nnow']


def test_a_changed_file_is_read_again(tmp_path):
    for text in ("before", "after"):
        write(tmp_path / "train.csv", [(text, "a"), (text, "b")])
        write(tmp_path / "validation.csv", ROWS)
        assert read(path=str(tmp_path))["train"]["text"] == [text, text]


def test_a_table_whose_cache_is_damaged_is_read_again(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\nkept and cut short,0\nb,1\n")
    data = typed_data(path=str(tmp_path))
    kept = Path(load_splits(data)["train"].cache_files[0]["filename"])
    kept.write_bytes(kept.read_bytes()[:100])
    assert load_splits(data)["train"]["text"][:] == ["kept and cut short", "b"]


def test_a_column_that_generated_data_lack_is_refused():
    with pytest.raises(
        UserError, match=r"text_columns: there is no column 'texts' .*; it has text, label\. Did you mean"
    ):
        read(generator="winnow.data.demo.reviews", text_columns=["texts"])


def test_a_generator_of_the_project_is_called():
    splits = read(generator="winnow.data.demo.reviews", max_train_samples=10, max_eval_samples=5)
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 5, "test": 5}


def test_without_data_the_error_names_the_settings_for_them():
    with pytest.raises(UserError, match=r"there is no data.*task\.data\.path=.*task\.data\.files\.train="):
        read()


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    files = {"train": str(tmp_path / "trian.csv"), "validation": None, "test": None}
    with pytest.raises(
        UserError, match=r"files\.train=.*trian\.csv: there is no such file\. Did you mean 'train\.csv'\?"
    ):
        read(files=files)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (Path.mkdir, "is a folder; name a file in it"),
        (lambda path: path.symlink_to(path.parent / "gone.csv"), r"is a link to .*gone\.csv, which does not exist"),
        (os.mkfifo, "is a pipe or a device; write its content to a file first"),
    ],
)
def test_what_is_no_file_is_refused_as_what_it_is(tmp_path, prepare, message):
    prepare(tmp_path / "train.csv")
    with pytest.raises(UserError, match=rf"task\.data\.files\.train=.*train\.csv {message}"):
        read(files={"train": str(tmp_path / "train.csv"), "validation": None, "test": None})


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "train.csv", ROWS)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"train\.csv: there is no permission to read the file"):
        read(files={"train": str(tmp_path / "train.csv"), "validation": None, "test": None})


def test_a_file_as_path_is_refused_with_the_setting_for_files(tmp_path):
    path = write(tmp_path / "train.csv", ROWS)
    with pytest.raises(UserError, match=r"train\.csv is a file; name it with task\.data\.files\.train="):
        read(path=str(path))


def test_a_folder_of_save_to_disk_is_refused_with_the_remedy(tmp_path):
    DatasetDict({"train": Dataset.from_dict({"text": ["a"], "label": ["x"]})}).save_to_disk(tmp_path)
    with pytest.raises(UserError, match=r"was written by save_to_disk; write each split to a file instead"):
        read(path=str(tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"task\.data\.path=.*nowhere: there is no such folder"):
        read(path=str(tmp_path / "nowhere"))


def test_a_folder_without_tables_is_refused_with_the_formats_that_can_be_read(tmp_path):
    (tmp_path / "train.txt").write_text("hello")
    with pytest.raises(UserError, match=r"the folder holds no \.csv, \.tsv, \.json, \.jsonl, .*\.parquet files"):
        read(path=str(tmp_path))


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "train.xlsx").write_text("hello")
    files = {"train": str(tmp_path / "train.xlsx"), "validation": None, "test": None}
    with pytest.raises(UserError, match=r"train\.xlsx: files must end in \.csv"):
        read(files=files)


def test_a_folder_without_a_training_split_is_refused_with_the_splits_it_has(tmp_path):
    write(tmp_path / "banking.csv", ROWS)
    with pytest.raises(UserError, match=r"there is no training split, only banking; .*task\.data\.files\.train=FILE"):
        read(path=str(tmp_path))


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_empty_file_is_named(tmp_path, suffix):
    (tmp_path / f"train.{suffix}").touch()
    write(tmp_path / f"validation.{suffix}", ROWS)
    with pytest.raises(UserError, match=rf"train\.{suffix} is empty: it has 0 bytes"):
        read(path=str(tmp_path))


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n")
    write(tmp_path / "validation.csv", ROWS)
    with pytest.raises(UserError, match=r"train\.csv has no rows"):
        read(path=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", b'text,label\n"never closed,a\nb,c\n'),
        ("train.jsonl", b'{"text": "a", "label": "b"}\n{"text": '),
        ("train.json", b"[1, 2"),
        ("train.parquet", b"PAR1 and then nothing of the sort"),
    ],
)
def test_a_damaged_file_is_named_in_a_message_of_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    write(tmp_path / "validation.csv", ROWS)
    with pytest.raises(UserError, match=rf"/{name}(, | could not be read as Parquet)") as raised:
        read(path=str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_hub_name_without_a_connection_gives_an_error_with_a_remedy():
    with pytest.raises(
        UserError, match=r"task\.data\.path=nobody/nothing is no local folder.*name a local folder"
    ) as raised:
        read(path="nobody/nothing")
    assert "\n" not in str(raised.value)


def test_a_single_row_cannot_be_split(tmp_path):
    write(tmp_path / "train.csv", ROWS[:1])
    with pytest.raises(UserError, match=r"validation"):
        read(path=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label_column": "lable"},
            r"label_column: there is no column 'lable' in the train split; it has text, label\. Did",
        ),
        ({"text_columns": ["text", "other"]}, r"text_columns: there is no column 'other' in the train split"),
        ({"text_columns": ["txt"]}, r"no column 'txt'.*Did you mean 'text'\?"),
    ],
)
def test_a_missing_column_is_refused_with_the_existing_ones(tmp_path, changes, message):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "validation.csv", ROWS)
    with pytest.raises(UserError, match=message):
        read(path=str(tmp_path), **changes)


def test_a_test_split_without_the_texts_is_refused_with_the_settings_that_leave_it_out(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("gj04\t1\t\tIt is good.\n")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tIt is good.\n")
    columns = {"header": False, "text_columns": ["3"], "label_column": "1"}
    with pytest.raises(
        UserError, match=r"no column '3' in the test split; it has 0, 1\. To leave that split out, name"
    ):
        read(path=str(tmp_path), **columns)
    files = {"train": f"{tmp_path}/train.tsv", "validation": f"{tmp_path}/dev.tsv", "test": None}
    assert list(read(files=files, **columns)) == ["train", "validation"]


def test_a_test_split_may_lack_its_labels(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "validation.csv", ROWS)
    write(tmp_path / "test.csv", [("a text",)], columns=("text",))
    assert read(path=str(tmp_path))["test"].column_names == ["text", PLACE]


def test_a_file_changed_under_the_same_name_size_and_time_is_read_again(tmp_path):
    def splits():
        return load_splits(typed_data(path=str(tmp_path)))["train"]["label"][:]

    file = tmp_path / "train.csv"
    for labels in (["a", "b"], ["x", "y"]):
        write(file, [("text", label) for label in labels])
        os.utime(file, (1_500_000_000, 1_500_000_000))
        assert splits() == labels


def test_the_same_content_elsewhere_is_read_once(tmp_path):
    write(tmp_path / "a" / "train.csv", ROWS)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, second = (load_splits(typed_data(path=str(tmp_path / folder)))["train"] for folder in "ab")
    assert first.cache_files == second.cache_files
    assert first._fingerprint == second._fingerprint


def test_a_row_has_the_place_from_which_it_was_read(tmp_path):
    (tmp_path / "train.csv").write_text('text,label\n"of two\nlines",a\n\nb,c\n')
    train = load_splits(typed_data(path=str(tmp_path)))["train"]
    assert train[PLACE][:] == ["train.csv, line 2", "train.csv, line 5"]


def test_unused_columns_are_not_looked_at(tmp_path):
    rows = [{"text": "a", "label": "x", "extra": 1}, {"text": "b", "label": "y", "extra": {"deep": [None, "z"]}}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_splits(typed_data(path=str(tmp_path)))["train"].column_names == ["label", "text", PLACE]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (["a"], r"train\.jsonl, line 2: column 'text' must be a text, got \[\"a\"\]; correct the row"),
        ({"a": 1}, r"train\.jsonl, line 2: column 'text' must be a text, got \{\"a\": \"1\"\}"),
        ("\ud800", r"train\.jsonl, line 2: column 'text' is invalid text: half of a surrogate pair; remove it"),
    ],
)
def test_a_cell_that_is_no_text_is_refused_with_its_row(tmp_path, cell, message):
    rows = [{"text": "a", "label": "x"}, {"text": cell, "label": "y"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        load_splits(typed_data(path=str(tmp_path)))


def test_a_text_among_lists_is_not_read_as_its_characters(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": ["x"]}\n{"text": "b", "label": "yz"}\n')
    with pytest.raises(UserError, match=r"line 2: column 'label' must be a list, as in other rows, got yz"):
        load_splits(typed_data(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["Train.CSV", "TRAIN.csv", "train.Csv"])
def test_names_of_files_may_have_capitals(tmp_path, name):
    write(tmp_path / "train.csv", ROWS).rename(tmp_path / name)
    assert read(path=str(tmp_path))["train"].num_rows == 3
    assert read(files={"train": str(tmp_path / name)})["train"].num_rows == 3


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["train.csv", "train.jsonl"], "train"),
        (["dev.csv", "val.csv", "train.csv"], "validation"),
        (["validation.csv", "val.csv", "train.csv"], "validation"),
        (["train.csv", "train-00000-of-00001.csv"], "train"),
        (["train-00000-of-00001.csv", "train-00000-of-00001.jsonl"], "train"),
        (["train.csv", "test.csv", "test.tsv"], "test"),
    ],
)
def test_two_files_of_one_split_are_refused_with_their_names(tmp_path, names, split):
    for name in names:
        write(tmp_path / name, ROWS)
    with pytest.raises(UserError, match=rf"both are {split} files; remove one .* task\.data\.files\.{split}=FILE") as e:
        read(path=str(tmp_path))
    assert sum(name in str(e.value) for name in names) == 2


def test_a_split_whose_file_is_missing_in_part_is_refused(tmp_path):
    for i in (0, 2):
        write(tmp_path / f"train-0000{i}-of-00003.parquet", ROWS)
    with pytest.raises(
        UserError, match=r"the train split has 3 files, as train-00000-of-00003.parquet says, but only 2"
    ):
        read(path=str(tmp_path))


def test_two_files_of_a_split_that_is_not_used_do_no_harm(tmp_path):
    for name in ("train.csv", "notes.csv", "notes.tsv"):
        write(tmp_path / name, ROWS)
    assert list(read(path=str(tmp_path))) == ["train", "validation"]


def test_validation_files_of_mnli_are_known_by_glue_s_own_names(tmp_path):
    for name in ("train", "dev_matched", "dev_mismatched"):
        write(tmp_path / f"{name}.tsv", ROWS)
    wanted = ["validation_matched", "validation_mismatched"]
    assert list(read(path=str(tmp_path), validation=wanted)) == ["train", *wanted]


def test_a_file_without_header_has_columns_named_by_their_places(tmp_path):
    (tmp_path / "train.tsv").write_text("gj04\t1\t\tOne sentence.\ngj04\t0\t*\tTwo sentence.\n")
    data = typed_data(path=str(tmp_path), header=False, text_columns=[3], label_column=1)
    train = load_splits(data)["train"]
    assert (train["3"][:], train["1"][:]) == (["One sentence.", "Two sentence."], ["1", "0"])


def test_the_separator_of_the_setting_is_used(tmp_path):
    (tmp_path / "train.csv").write_text("text;label\na, b;1\nc;2,5\n")
    train = load_splits(typed_data(path=str(tmp_path), separator=";"))["train"]
    assert (train["text"][:], train["label"][:]) == (["a, b", "c"], ["1", "2,5"])
    with pytest.raises(UserError, match=r"train\.csv, line 1: .*\"task\.data\.separator=';'\""):
        load_splits(typed_data(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "rule"), [("train.csv", "set task.data.header=false"), ("train.conll", "Each line needs")]
)
def test_a_missing_column_is_refused_with_the_rule_for_its_name(tmp_path, name, rule):
    (tmp_path / name).write_text("in\nRome\n")
    with pytest.raises(UserError, match=rf"there is no column 'ner_tags' in the train split; .*\. .*{rule}"):
        load_splits(typed_data(path=str(tmp_path), plain_text="conll", text_columns=["in"], label_column="ner_tags"))


def test_parquet_files_of_a_split_with_other_columns_are_refused(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", [("a", 1)])
    write(tmp_path / "train-00001-of-00002.parquet", [("a", "x")])
    with pytest.raises(
        UserError, match=r"00001-of-00002.parquet: its columns are .*label \(string\), but those of .*int64"
    ):
        load_splits(typed_data(path=str(tmp_path)))
