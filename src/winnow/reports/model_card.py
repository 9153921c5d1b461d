"""The model card of a run, README.md of model/ and deployment/, with front matter as the hub reads it.

It names no place on this machine, and text of users' files is escaped. The text is in model_card.jinja.
"""

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from winnow.config.run import RunConfig, saved_config
from winnow.deployment.engines import FOUR_BITS
from winnow.deployment.folder import SPARSE_GRAPH, VERIFICATION
from winnow.deployment.speedup import speedup_text
from winnow.engine.library import LIBRARY
from winnow.errors import UserError, visible
from winnow.files.atomic import write_atomically
from winnow.files.checksums import CARD
from winnow.files.hub_cards import card_metadata, hub_name
from winnow.files.json_text import read_json
from winnow.files.run_files import read_result
from winnow.machine import machine_lines
from winnow.reports.engine_comparison import latencies
from winnow.reports.export_summary import verified_figures
from winnow.reports.markdown import escaped, table_lines
from winnow.reports.published_settings import PLACE, published_command, published_recipe
from winnow.reports.references import recovery
from winnow.reports.run_summary import figures
from winnow.runs.run_folder import dense_reference

_TEMPLATE = Path(__file__).with_name("model_card.jinja")
_PIPELINES = {  # the end of the name of a class of transformers -> the pipeline tag of the hub
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
}
_METRICS = {"pearson": "pearsonr"}  # where the hub has another name
_LICENSE = re.compile(r"(?!other$|unknown$)[a-z0-9][a-z0-9.+-]*")


def write_cards(run: Path) -> None:
    """Write the card of a finished run into ``model/`` and, once it is exported, into ``deployment/``."""
    row, config = read_result(run), saved_config(run)
    dense = None
    with suppress(UserError):  # the data of the run are gone
        dense = dense_reference(run, config)
    facts = _text(run, row, config, dense and dense[1])
    write_atomically(run / "model" / CARD, _card(row, config, facts, in_deployment=False))
    if "may_overflow" in row.get("deployment", {}):  # cards of earlier versions are in the list of checksums
        write_atomically(run / "deployment" / CARD, _card(row, config, facts, in_deployment=True))


def _card(row: Mapping[str, Any], config: RunConfig, facts: Mapping[str, Any], in_deployment: bool) -> str:
    metadata = _metadata(row, config, facts, library="onnx" if in_deployment else "transformers")
    card = ModelCard.from_template(metadata, str(_TEMPLATE), **facts, in_deployment=in_deployment)
    card.text = re.sub(r"\n{3,}", "\n\n", card.text).rstrip() + "\n"
    return str(card)


def _metadata(row: Mapping[str, Any], config: RunConfig, facts: Mapping[str, Any], library: str) -> ModelCardData:
    data, pipeline = hub_name(config.task.data.path, "dataset"), _PIPELINES.get(facts["head"])
    results = [
        EvalResult(
            task_type=pipeline or "other",
            dataset_type=data or row["task"],
            dataset_name=row["task"],
            dataset_config=config.task.data.subset if data else None,
            dataset_split=split,
            metric_type=_metric(name, config.task.metrics),
            metric_name=name,
            metric_value=value,
        )
        for split, section in (("validation", row["metrics"]), ("test", row["test_metrics"]))
        for name, value in section.items()
        if value is not None
    ]
    return ModelCardData(
        base_model=facts["base_model"],
        datasets=[data] if data else None,
        license=facts["license"],
        library_name=library,
        pipeline_tag=pipeline,
        tags=["winnow", *_tags(row)],
        metrics=[_metric(name, config.task.metrics) for name in config.task.metrics],
        model_name=f"{row['recipe']}-{row['task']}" if results else None,
        eval_results=results or None,
    )


def _metric(name: str, metrics: Sequence[str]) -> str:
    """The hub's name of a metric of the task, also of one on a further split, such as accuracy_mismatched."""
    known = [each for each in metrics if name == each or name.startswith(f"{each}_")]
    longest = max(known, key=len, default=name)
    return _METRICS.get(longest, longest)


def _tags(row: Mapping[str, Any]) -> Iterator[str]:
    named = {"pruned": "pruning", "distilled": "knowledge-distillation", "quantized": "quantization"}
    yield from (tag for fact, tag in named.items() if row.get(fact))
    yield from ["onnx", row["deployment"]["precision"]] if "deployment" in row else []


def _text(run: Path, row: Mapping[str, Any], config: RunConfig, dense: Mapping[str, Any] | None) -> dict[str, Any]:
    """What fills model_card.jinja; text that is not ours is escaped."""
    model = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    architecture = str((model.get("architectures") or [""])[0])
    head = next((end for end in _PIPELINES if architecture.endswith(end)), "")
    base_model, license_ = _base(config)
    main = next(iter(row["metrics"]), "")
    kept = recovery(main, row["metrics"].get(main), dense["metrics"].get(main)) if dense else None
    command = published_command(row["command"])
    return {
        "base_model": base_model,
        "license": license_,
        "title": escaped(f"{row['recipe']}{f' of {base_model}' if base_model else ''} on {row['task']}"),
        "summary": " ".join(escaped(visible(sentence)) for sentence in _sentences(row, architecture)),
        "figures": _table(figures(row, dense)),
        "main_metric": escaped(main),
        "recovery": f"{100 * kept:.1f} %" if kept is not None else "",
        "head": head,
        "auto_model": f"AutoModel{head}",
        "model_inputs": _tokenized(config),
        "restored": _restored(row),
        "is_teacher": row["recipe"] == "dense" and "recipe=dense" not in row["command"],
        "seed": row["seed"],
        "command": command,
        "placeholders": PLACE in command,
        "recipe": published_recipe(config.recipe.plain()),
        **_deployed(run, row, config),
    }


def _base(config: RunConfig) -> tuple[str | None, str | None]:
    """The model of the hub that the model was made of, and its license; None for what is not known here."""
    if config.model.config is not None:  # built from scratch
        return None, None
    metadata = {name: value for name, value in card_metadata(config.model.name).items() if isinstance(value, str)}
    # the card of a run says which model of the hub the run started from
    name = hub_name(config.model.name, "model") or hub_name(metadata.get("base_model"), "model")
    license_ = metadata.get("license", "")
    return name, license_ if _LICENSE.fullmatch(license_) else None


def _sentences(row: Mapping[str, Any], architecture: str) -> Iterator[str]:
    layers = f" with {row['layers']} layers" if "layers" in row else ""
    yield f"{architecture or 'A model'}{layers}, made on {row['task']} by the recipe {row['recipe']} of Winnow."
    if row.get("structure"):
        yield f"Heads and neurons were removed for a speedup of {row['structure']['target_speedup']:g}."
    if row.get("pruned"):
        yield f"{100 * row['sparsity']:.2f} % of the linear weights of its encoder are zero."
    if row.get("distilled"):
        known = {"dense": "the dense model of the same task", "self": "itself before the training"}
        yield f"It learned from {known.get(row['teacher'], 'another model')}."
    if row.get("quantized"):
        yield "It is quantised to integers."
    if constant := row.get("constant_prediction"):
        yield f"Caution: it predicts '{constant}' for every input of the validation data."


def _restored(row: Mapping[str, Any]) -> str:
    known = {
        "structure": "with zeros in place of the heads and neurons that were removed",
        "quantized": "with weights on the grid of the integers, and without rounding activations",
    }
    return " and ".join(text for fact, text in known.items() if row.get(fact))


def _tokenized(config: RunConfig, batch_size: int | None = None, sequence_length: int | None = None) -> str:
    """The arguments of a tokenizer in example code, for a model or a graph of a fixed shape."""
    texts = '["A text."]' + (f" * {batch_size}" if batch_size else "")
    padding = f'"max_length", max_length={sequence_length}' if sequence_length else "True"
    return ", ".join([*[texts] * len(config.task.data.text_columns), f"padding={padding}", "truncation=True"])


def _deployed(run: Path, row: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """The figures of the deployment, and what runs it; nothing for an export of an earlier version."""
    facts = row.get("deployment", {})
    if "may_overflow" not in facts:
        return {}
    report, compared = read_json(run / "deployment" / VERIFICATION), facts.get("latency")
    found = {name: facts[name] for name in ("precision", "packs_embeddings", "may_overflow")}
    found |= {"verified": _table(verified_figures(row, report)), "inputs": f"{report['samples']['inputs']:,}"}
    found |= {"four_bits": {engine: ".".join(map(str, oldest)) for engine, oldest in FOUR_BITS.items()}}
    if "sparse" in facts:
        names = {"sparse_graph": SPARSE_GRAPH, "library": LIBRARY}
        found |= names | {"sparse": True, "platform": f"{platform.system()} on {platform.machine()}"}
    if "speedup" in facts:
        found["speedup"] = escaped(speedup_text(facts["speedup"]))
    if compared:
        machine = escaped("; ".join(machine_lines(compared["machine"]).splitlines()))
        found |= {"latencies": _table(latencies(compared)), "length": compared["length"], "machine": machine}
    return found | {"graph_inputs": _tokenized(config, report["batch_size"], report["sequence_length"])}


def _table(lines: list[list[str]]) -> str:
    return "\n".join(table_lines([[*map(escaped, line)] for line in lines]))
