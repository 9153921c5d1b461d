"""A report as one HTML page that needs nothing else: no network, no script."""

import itertools
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from winnow.reports.cells import Cell, Results
from winnow.reports.findings import findings
from winnow.reports.page_pictures import MOST_CURVES, curve_figures, heat_figure, pareto_figures
from winnow.reports.tables import NOT_MEASURED, OURS, Entry, Table, is_published_only, tables

_STYLE = Path(__file__).with_name("page.css")
_MOST_TASKS = 6  # that get pictures
_COMMANDS = 3  # that are not folded
_HEADING = "recipe"  # the column that stays where it is while the others move
_NO_RESULT = ("failed", "missing")


def page(results: Results) -> str:
    """The whole report: what it says, tables, pictures, what failed, what was left out, how it was made."""
    tasks = [list(cells) for _, cells in itertools.groupby(results.cells, lambda cell: cell.task)]
    curves = max(2, MOST_CURVES // max(1, min(len(tasks), _MOST_TASKS)))
    sections = [
        _section(number if len(tasks) > 1 else 0, cells, table, curves if number <= _MOST_TASKS else 0)
        for number, (cells, table) in enumerate(zip(tasks, tables(results), strict=True), 1)
    ]
    title = _title(tasks, results)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(title)}</h1>\n{_summary(results)}{_contents(tasks)}</header>\n<main>",
            *sections,
            f"</main>\n<footer>\n{_failures(results.cells)}{_left_out(results)}{_commands(results)}</footer>",
            "</body>\n</html>\n",
        ]
    )


def _title(tasks: Sequence[Sequence[Cell]], results: Results) -> str:
    if len(tasks) == 1:
        return tables(results)[0].title
    return f"Results: {', '.join(cells[0].task for cells in tasks) or 'none'}"


def _summary(results: Results) -> str:
    """How much there is, and of when."""
    cells = results.cells
    counts = {
        "finished": sum(len(cell.rows) for cell in cells),
        "failed": sum(len(cell.failed) for cell in cells),
        "missing": sum(len(cell.missing) for cell in cells),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count or what == "finished"]
    times = [row["written"] for cell in cells for row in cell.rows]
    when = f", the last on {datetime.fromtimestamp(max(times)):%Y-%m-%d at %H:%M}" if times else ""
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in results.notes)
    lines = sum(not is_published_only(cell) for cell in cells)
    return f'<p class="quiet">configurations: {lines}; runs: {", ".join(said)}{when}.</p>\n{notes}'


def _contents(tasks: Sequence[Sequence[Cell]]) -> str:
    links = (f'<a href="#task-{i}">{escape(cells[0].task)}</a>' for i, cells in enumerate(tasks, 1))
    return f'<nav aria-label="Tasks">{" ".join(links)}</nav>\n' if len(tasks) > 1 else ""


def _section(number: int, cells: Sequence[Cell], table: Table, curves: int) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(cells))
    heading = f"<h2>{escape(table.title)}</h2>" if number else ""  # of one task it is the title of the page
    parts = [heading, f"<ul>{said}</ul>", _table(table)]
    if curves:
        parts += [pareto_figures(cells), heat_figure(cells), curve_figures(cells, curves)]
    else:
        parts.append(f'<p class="quiet">Pictures are drawn of the first {_MOST_TASKS} tasks alone.</p>')
    return "\n".join([f'<section id="task-{number}">', *filter(None, parts), "</section>"])


def _table(table: Table) -> str:
    kinds = ["word" if i < table.words else "" for i in range(len(table.columns))]
    kinds[table.columns.index(_HEADING)] += " key"
    head = "".join(
        _tag("th", escape(name), kind, 'scope="col"') for name, kind in zip(table.columns, kinds, strict=True)
    )
    body = "\n".join(_line(table, line, kinds) for line in table.lines)
    caption = (
        "Means over seeds ± one sample standard deviation; n: over so many of them alone. The best of a column is "
        "bold, among lines that lack no seed and have as many as most. Recovery is the share of the dense run's score "
        "that is kept."
    )
    return (
        f'<p class="quiet">{caption}</p>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="Table of {escape(table.title)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table></div>"
    )


def _line(table: Table, line: Sequence[Entry], kinds: Sequence[str]) -> str:
    entries = "".join(map(_entry, table.columns, line, kinds))
    theirs = "source" in table.columns and line[table.columns.index("source")].text != OURS
    return _tag("tr", entries, "published" if theirs else "")


def _entry(column: str, entry: Entry, kind: str) -> str:
    text = f"<strong>{escape(entry.text)}</strong>" if entry.best else escape(entry.text)
    if column == _HEADING:
        return _tag("th", text, kind, 'scope="row"')
    if entry.text == NOT_MEASURED:
        return _tag("td", text, f"{kind} gap".strip(), 'aria-label="not measured"')
    bad = (column == "seeds" or not kind) and any(word in entry.text for word in _NO_RESULT)
    return _tag("td", text, " ".join(filter(None, [kind, "bad" if bad else ""])))


def _tag(name: str, content: str, kind: str, *attributes: str) -> str:
    said = " ".join([name, *attributes, *([f'class="{kind}"'] if kind else [])])
    return f"<{said}>{content}</{name}>"


def _failures(cells: Sequence[Cell]) -> str:
    said = [
        f"<b>{escape(cell.task)}, {escape(cell.label)}, seed {each['seed']}</b>: {escape(str(each['error']))}"
        for cell in cells
        for each in cell.failed
    ]
    return _list("Failed", said)


def _left_out(results: Results) -> str:
    return _list("Left out", [escape(sentence) for sentence in results.left_out])


def _commands(results: Results) -> str:
    """Those by which the runs were made, each once; of a sweep its own, first, not those of its jobs."""
    rows = {row["folder"]: row.get("command") for cell in results.cells for row in cell.rows}
    sweeps = {command: runs & rows.keys() for command, runs in results.commands.items() if command}
    planned = set().union(*sweeps.values())
    said = [*filter(sweeps.get, sweeps), *(command for run, command in rows.items() if run not in planned)]
    listed = [f"<pre>{escape(command)}</pre>\n" for command in dict.fromkeys(str(each) for each in said if each)]
    shown, folded = "".join(listed[:_COMMANDS]), "".join(listed[_COMMANDS:])
    if folded:
        shown += f"<details><summary>{len(listed) - _COMMANDS} more commands</summary>\n{folded}</details>\n"
    return f"<h2>To make it again</h2>\n{shown}" if shown else ""


def _list(title: str, entries: Sequence[str]) -> str:
    items = "".join(f"<li>{entry}</li>\n" for entry in entries)
    return f"<h2>{title}</h2>\n<ul>\n{items}</ul>\n" if entries else ""
