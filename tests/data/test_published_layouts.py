"""The files of GLUE, SQuAD and CoNLL-2003 in their published layouts are read with a few settings.

The files are written from the real data of ``../shared``, which are Parquet files; without these the tests are skipped.
"""

import json
from collections import Counter
from itertools import chain, groupby

import pyarrow.parquet as pq
import pytest

from tests.test_real import DATA
from winnow.data.reader import Layout
from winnow.data.splits import load_splits
from winnow.deployment.input_files import read_rows
from winnow.deployment.rows import RowFormat, checked_rows
from winnow.tasks.task import build_task

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="there are no real data in ../shared/data"),
]

YES_NO = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")
INFERENCE = ("entailment", "neutral", "contradiction")
MNLI_HEADER = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
    "sentence1\tsentence2\tlabel1"
)
QUESTIONS = [  # QQP has no real data here
    {"first": 'How do I say "no"?', "second": "How do I refuse?", "label": 1},
    {"first": '"What is 1/0?', "second": "Why is the sky blue?\u2028", "label": 0},
    {"first": "NA", "second": "null", "label": 0},
    {"first": "What is a \\t?", "second": '5" or 6"?', "label": 1},
]

# header, and the cells of a row from its number, its texts and its label as the published files write it
LAYOUTS = {
    "cola": (None, lambda i, text, label: ["gj04", label, "*" if label == "0" else "", *text]),
    "sst2": ("sentence\tlabel", lambda i, text, label: [*text, label]),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        lambda i, texts, label: [label, f"{702876 + i}", f"{702977 + i}", *texts],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        lambda i, texts, label: [f"{i}", f"{2 * i}", f"{2 * i + 1}", *texts, label],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        lambda i, texts, label: [f"{i}", "news", "MSRvid", "2012test", f"{i:04}", "none", "none", *texts, label],
    ),
    "mnli": (
        f"{MNLI_HEADER}\tgold_label",
        lambda i, texts, label: [f"{i}", f"{31193 + i}", f"{i}n", "travel", *parses(texts), *texts, label, label],
    ),
    "mnli_dev": (
        f"{MNLI_HEADER}\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
        lambda i, texts, label: [f"{i}", f"{i}", f"{i}n", "slate", *parses(texts), *texts, *[label] * 5, label],
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", lambda i, texts, label: [f"{i}", *texts, label]),
    "rte": ("index\tsentence1\tsentence2\tlabel", lambda i, texts, label: [f"{i}", *texts, label]),
    "wnli": ("index\tsentence1\tsentence2\tlabel", lambda i, texts, label: [f"{i}", *texts, label]),
}  # fmt: skip
TEST_HEADERS = {  # test splits have no labels; that of CoLA has a header
    "cola": "index\tsentence",
    "sst2": "index\tsentence",
    "mrpc": "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "qqp": "id\tquestion1\tquestion2",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
    "qnli": "index\tquestion\tsentence",
    "rte": "index\tsentence1\tsentence2",
    "wnli": "index\tsentence1\tsentence2",
}
LABELS = {"mnli": INFERENCE, "qnli": ENTAILMENT, "rte": ENTAILMENT}
SETTINGS = {
    "cola": ["task.data.header=false", "task.data.text_columns=[3]", "task.data.label_column=1"],
    "mrpc": ["task.data.text_columns=['#1 String','#2 String']", "task.data.label_column=Quality"],
    "qqp": ["task.data.label_column=is_duplicate"],
    "stsb": ["task.data.label_column=score"],
    "mnli": ["task.data.text_columns=[sentence1,sentence2]", "task.data.label_column=gold_label"],
}
# rows of the published splits, and how often the labels with the ids 0 and 1 occur in the validation split
PUBLISHED = {
    "cola": ({"train": 8551, "validation": 1043}, [322, 721]),
    "sst2": ({"train": 67349, "validation": 872}, [428, 444]),
    "mrpc": ({"train": 3668, "validation": 408}, [129, 279]),
    "stsb": ({"train": 5749, "validation": 1500}, None),
    "rte": ({"train": 2490, "validation": 277}, [146, 131]),
    "wnli": ({"train": 635, "validation": 71}, [40, 31]),
}
FILES = {"validation": "dev", "validation_matched": "dev_matched", "validation_mismatched": "dev_mismatched"}


def parses(texts):
    """Both kinds of parse trees of both sentences."""
    return [f"( {text} )" for text in texts] + [f'(ROOT (S (NP "{text}")))' for text in texts]


def stored(folder):
    """The rows of each Parquet file of a data set, by split."""
    return {path.name.split("-")[0]: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}


def glue_rows(task):
    """The texts of each row and its label as the published files write it, by split."""
    splits = {"train": QUESTIONS, "validation": QUESTIONS[:2]} if task == "qqp" else stored(DATA / "glue" / task)
    return {
        split: [(texts_of(row), written_label(task, row["label"])) for row in rows] for split, rows in splits.items()
    }


def texts_of(row):
    return [cell for name, cell in row.items() if name not in ("label", "idx")]


def written_label(task, label):
    return f"{label:.3f}" if task == "stsb" else LABELS.get(task, YES_NO)[label]


def write_glue(folder, task, splits):
    folder.mkdir()
    for split, rows in splits.items():
        header, cells = LAYOUTS["mnli_dev" if "matched" in split else task]
        lines = [] if header is None else [header]
        lines += ["\t".join(cells(i, texts, label)) for i, (texts, label) in enumerate(rows)]
        (folder / f"{FILES.get(split, split)}.tsv").write_text("\n".join(lines) + "\n")
    if header := TEST_HEADERS.get(task):
        (folder / "test.tsv").write_text(f"{header}\n{header}s\n")


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"])
def test_the_files_of_glue_have_their_rows_texts_and_labels(tmp_path, configured, task):
    expected = glue_rows(task)
    write_glue(tmp_path / "GLUE", task, expected)
    files = [f"task.data.path={tmp_path}/GLUE"]
    if task == "cola":  # only its test.tsv has a header
        files = [
            f"task.data.files.train={tmp_path}/GLUE/train.tsv",
            f"task.data.files.validation={tmp_path}/GLUE/dev.tsv",
        ]
    config = configured(f"task={task}", *files, *SETTINGS.get(task, []))
    built = build_task(config.task)
    prepared = built.prepare(load_splits(config.task.data))
    assert set(prepared) == set(expected)
    for split, rows in expected.items():
        assert len(prepared[split]) == len(rows)
        texts = [prepared[split][field][:] for field in built.input_fields]
        assert list(map(list, zip(*texts, strict=True))) == [texts for texts, _ in rows]
        labels = prepared[split]["labels"][:]
        assert [written_label(task, label) if task == "stsb" else built.labels[label] for label in labels] == [
            label for _, label in rows
        ]
    rows, labels = PUBLISHED.get(task, ({}, None))
    assert {split: len(prepared[split]) for split in rows} == rows
    if rows:
        assert config.task.data.published.examples == rows["train"]
    if labels:
        counts = Counter(prepared["validation"]["labels"][:])
        assert sorted(counts.values()) == sorted(labels)


@pytest.mark.parametrize("task", ["cola", "mrpc", "stsb", "qnli"])
def test_predict_reads_the_texts_of_a_file_of_glue(tmp_path, configured, task):
    expected = glue_rows(task)
    write_glue(tmp_path / "GLUE", task, expected)
    config = configured(f"task={task}", *SETTINGS.get(task, []))
    built = build_task(config.task)
    rows = read_rows(f"{tmp_path}/GLUE/dev.tsv", Layout("", header=config.task.data.header), built.input_fields)
    found = [list(row.texts.values()) for row in checked_rows(rows, RowFormat.of(built))]
    assert found == [texts for texts, _ in expected["validation"]]


def squad_document(rows, *, second):
    """The JSON of SQuAD v1.1 or, with ``second``, of v2.0."""
    articles = []
    for title, questions in groupby(rows, lambda row: row["title"]):
        paragraphs = [
            {"context": context, "qas": [written_question(row, second=second) for row in inner]}
            for context, inner in groupby(questions, lambda row: row["context"])
        ]
        articles.append({"title": title, "paragraphs": paragraphs})
    return {"data": articles, "version": "v2.0" if second else "1.1"}


def written_question(row, *, second):
    answers = [
        {"answer_start": start, "text": text}
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    ]
    question = {"answers": answers, "question": row["question"], "id": row["id"]}
    if second and not answers:
        question["plausible_answers"] = [{"answer_start": 0, "text": row["context"][:5]}]
    return {**question, "is_impossible": not answers} if second else question


@pytest.mark.parametrize("task", ["squad", "squad_v2"])
def test_the_json_of_squad_has_its_questions_answers_and_ids(tmp_path, configured, task):
    expected = stored(DATA / task)
    for split, rows in expected.items():
        (tmp_path / f"{split}-v.json").write_text(json.dumps(squad_document(rows, second=task == "squad_v2")))
    files = [f"task.data.files.{split}={tmp_path}/{split}-v.json" for split in expected]
    config = configured(f"task={task}", *files)
    prepared = build_task(config.task).prepare(load_splits(config.task.data))
    for split, rows in expected.items():
        fields = ["id", "question", "context", "answers"]
        assert prepared[split].select_columns(fields).to_list() == [
            {name: row[name] for name in fields} for row in rows
        ]


def write_conll(path, sentences, names):
    """Words in the four columns of CoNLL-2003; parts of speech and chunks are made up."""
    with path.open("w") as file:
        print("-DOCSTART- -X- -X- O\n", file=file)
        for row in sentences:
            for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
                print(word, "NNP", "B-NP", names[tag], file=file)
            print(file=file)


def test_the_four_columns_of_conll_2003_have_their_words_and_tags(tmp_path, configured):
    expected = stored(DATA / "wnut_17")
    train = next((DATA / "wnut_17").glob("train*.parquet"))
    features = json.loads(pq.read_schema(train).metadata[b"huggingface"])["info"]["features"]
    names = features["ner_tags"]["feature"]["names"]
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        write_conll(tmp_path / f"{name}.txt", expected[split], names)
    config = configured("task=conll2003", f"task.data.path={tmp_path}")
    task = build_task(config.task)
    prepared = task.prepare(load_splits(config.task.data))
    assert {split: len(rows) for split, rows in prepared.items()} == {"train": 3394, "validation": 1009, "test": 1287}
    for split, rows in expected.items():
        assert prepared[split]["words"][:] == [row["tokens"] for row in rows]
        tags = [[task.labels[tag] for tag in sentence] for sentence in prepared[split]["labels"][:]]
        assert tags == [[names[tag] for tag in row["ner_tags"]] for row in rows]
        assert Counter(chain(*tags)) == Counter(names[tag] for row in rows for tag in row["ner_tags"])
