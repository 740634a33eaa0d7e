"""`report/index.html`: one file that opens anywhere, with its numbers as CSV and its figures as SVG
and PNG beside it.

It reads the run directory and nothing else, says no time of day, and draws by hashing: the same run
gives the same bytes. The page is renamed into place last, so whoever opens it finds all that it
points at.
"""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from phinas.experiment.manifest import version
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.reports import provenance
from phinas.reports.csv_export import TABLES
from phinas.reports.figure_export import as_png, as_svg, inlined, styled
from phinas.reports.figures import FIGURES
from phinas.reports.formatting import GREEK, amount, percent, quantity, span
from phinas.reports.palette import DARK, LIGHT
from phinas.reports.run_data import Records, read_records
from phinas.reports.tables import EXHIBITS
from phinas.reports.verdict import paragraphs, told_apart


def write_report(run: RunDir) -> Path:
    """Write the report of `run` from what it holds, however far it came; the path of the page.

    Raises InputError where it is no run, StorageError where its record is damaged.
    """
    records = read_records(run)
    for name, table in TABLES.items():
        write_atomic(
            run.report / f"{name}.csv", table(records).to_csv(index=False, lineterminator="\n")
        )
    figures = _write_figures(records, run.report)
    write_atomic(run.report_page, render(records, figures))
    return run.report_page


def _write_figures(records: Records, directory: Path) -> dict[str, dict[str, Any]]:
    """The figures that there are data for: files, and what the page shows. Files of figures that
    are no more are removed.
    """
    shown = {}
    with styled():
        for name, draw in FIGURES.items():
            wide, narrow = draw(records, narrow=False), draw(records, narrow=True)
            if wide is None or narrow is None:
                for suffix in ("svg", "png"):
                    (directory / f"{name}.{suffix}").unlink(missing_ok=True)
                continue
            write_atomic(directory / f"{name}.svg", as_svg(wide))
            write_atomic(directory / f"{name}.png", as_png(wide))
            forms = {
                "wide": inlined(wide, name=f"{name}-wide"),
                "narrow": inlined(narrow, name=f"{name}-narrow"),
            }
            shown[name] = forms | {"caption": wide.caption, "name": name}
    return shown


def render(records: Records, figures: dict[str, dict[str, Any]]) -> str:
    """The page. Everything that comes from the run is escaped; only our own SVG is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template("page.html").render(
        title=records.config.name,
        version=version(),
        light=LIGHT,
        dark=DARK,
        verdict=[" ".join(paragraph) for paragraph in paragraphs(records)],
        headlines=_headlines(records),
        warnings=provenance.warnings(records),
        figures=figures,
        exhibits={name: show(records) for name, show in EXHIBITS.items()},
        missing=_missing(records),
        why={"baseline": _why(records.baseline), "coefficients": _why(records.coefficients)},
        not_validated=_not_validated(records),
        not_predicted=str(records.validation.get("why_no_curve") or "")
        if records.unknown and records.validated
        else "",
        machine=provenance.machine_facts(records),
        about_accuracies=provenance.about_accuracies(records),
        data=provenance.data_facts(records),
        notes=provenance.notes(records),
        artefacts=provenance.artefacts(records),
        source=provenance.source(records),
    )


def _code(text: str) -> Markup:
    """Text with `phinas scale DIR` in backquotes, as code."""
    parts = text.split("`")
    marked = [
        Markup("<code>{}</code>").format(part) if place % 2 else Markup.escape(part)
        for place, part in enumerate(parts)
    ]
    return Markup().join(marked)


def _why(facts: dict[str, Any] | None) -> str:
    return str(facts.get("why", "")) if facts else ""


def _meaning(records: Records) -> str:
    """Of the coefficients: how far they are told from others."""
    found = records.searched_coefficients
    if found is None:
        return "given, not searched"
    ranges = ", ".join(f"{GREEK[name]}\u00a0{span(*found['ranges'][name])}" for name in GREEK)
    sure = {
        "all": "told from all others",
        "some": "partly told apart",
        "none": "can't be told apart",
    }[told_apart(found)]
    return f"{sure}: {ranges}"


def _missing(records: Records) -> dict[str, str]:
    """For each section without data, the sentence that says how to make them."""
    told = {}
    if not records.trials:
        given = "The baseline was given, so there was no search." if records.given else ""
        told["search"] = given or "No trial has been measured yet; `phinas resume DIR` makes them."
    if records.baseline is None:
        chosen = (
            "No baseline has been chosen yet; `phinas resume DIR` trains the finalists and chooses."
        )
        told["baseline"] = (
            "The given baseline has not been read yet; `phinas scale DIR` does it."
            if records.given
            else chosen
        )
    if not records.imaged:
        elsewhere = "`phinas scale --baseline DIR/search/baseline.yaml --data IMAGES --out NEW`"
        untrained = f"Nothing is trained in a run without images; {elsewhere} does it."
        return (
            told | {"family": untrained} | ({} if records.coefficients else {"scaling": untrained})
        )
    if records.coefficients is None:
        under_way = sum(row.done for row in records.rows["scaling"])
        so_far = f" ({under_way} of its trainings are recorded)" if under_way else ""
        told["scaling"] = (
            f"The baseline has not been scaled yet{so_far}; `phinas scale DIR` does it."
        )
    if not records.members:
        told["family"] = "There is no family yet; `phinas scale DIR` makes one."
    elif not records.validated:
        told["family"] = (
            "No member has been trained yet, so there is no accuracy to show; `phinas validate "
            "DIR` trains them."
        )
    return told


def _not_validated(records: Records) -> list[tuple[str, str]]:
    """Name and reason of the members without an accuracy, where others have one."""
    if not records.validated:
        return []
    rest = [row for row in records.members if not row.get("validated")]
    return [
        (row["name"].upper(), row.get("why_not") or "`phinas validate DIR` trains it")
        for row in rest
    ]


def _headlines(records: Records) -> list[tuple[str, str, str]]:
    """At most three: what it is, the number, what it means."""
    told = []
    facts, chosen, found, trained = (
        records.baseline,
        records.chosen_finalist,
        records.coefficients,
        records.validated,
    )
    if facts is not None:
        accuracy = (
            percent(sum(chosen["accuracies"]) / len(chosen["accuracies"]))
            if chosen
            else facts["spec_id"]
        )
        of = (
            ("validation accuracy" if records.trained else "accuracy")
            if chosen
            else "given, not searched"
        )
        size = f"{quantity(facts['flops'])} FLOPs, {quantity(facts['params'])} parameters"
        timed = f", {amount('latency', facts['latency_ms'])}" if facts.get("latency_ms") else ""
        told.append(("Baseline", accuracy, f"{of}, {size}{timed}"))
    if found is not None:
        value = " \N{MIDDLE DOT} ".join(f"{found[name]:.2f}" for name in GREEK)
        told.append((" \N{MIDDLE DOT} ".join(GREEK.values()), value, _meaning(records)))
    if trained:
        first, last = trained[0], trained[-1]
        names = (
            first["name"].upper()
            if first is last
            else f"{first['name'].upper()} to {last['name'].upper()}"
        )
        value = percent(first["accuracy"]) + (
            "" if first is last else f" \N{RIGHTWARDS ARROW} {percent(last['accuracy'])}"
        )
        cost = (
            f"at {last['ratio']:.1f} times B0's FLOPs"
            if last["ratio"] > 1
            else f"{quantity(last['flops'])} FLOPs"
        )
        told.append((names, value, f"test accuracy, {cost}"))
    return told
