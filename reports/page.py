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
from phinas.reports.conclusions import make_conclusion_paragraphs, summarize_wins
from phinas.reports.csv_export import CSV_TABLES
from phinas.reports.figure_export import render_inline_svg, render_png, render_svg, report_style
from phinas.reports.figures import FIGURES
from phinas.reports.formatting import (
    GREEK_LETTERS,
    format_cost,
    format_count,
    format_interval,
    format_percent,
)
from phinas.reports.palette import DARK_COLORS, LIGHT_COLORS
from phinas.reports.run_data import RunData, read_run_data
from phinas.reports.tables import REPORT_TABLES


def write_report(run: RunDir) -> Path:
    """Write the report of `run` from what it holds, however far it came; the path of the page.

    Raises InputError where it is no run, StorageError where its record is damaged.
    """
    run_data = read_run_data(run)
    for name, make_dataframe in CSV_TABLES.items():
        write_atomic(
            run.report / f"{name}.csv",
            make_dataframe(run_data).to_csv(index=False, lineterminator="\n"),
        )
    figures = _write_figures(run_data, run.report)
    write_atomic(run.report_page, render_page(run_data, figures))
    return run.report_page


def _write_figures(run_data: RunData, directory: Path) -> dict[str, dict[str, Any]]:
    """The figures that there are data for: files, and what the page shows. Files of figures that
    are no more are removed.
    """
    rendered = {}
    with report_style():
        for name, draw_figure in FIGURES.items():
            wide, compact = (
                draw_figure(run_data, compact=False),
                draw_figure(run_data, compact=True),
            )
            if wide is None or compact is None:
                for suffix in ("svg", "png"):
                    (directory / f"{name}.{suffix}").unlink(missing_ok=True)
                continue
            write_atomic(directory / f"{name}.svg", render_svg(wide))
            write_atomic(directory / f"{name}.png", render_png(wide))
            layouts = {
                "wide": render_inline_svg(wide, name=f"{name}-wide"),
                "compact": render_inline_svg(compact, name=f"{name}-compact"),
            }
            rendered[name] = layouts | {"caption": wide.caption, "name": name}
    return rendered


def render_page(run_data: RunData, figures: dict[str, dict[str, Any]]) -> str:
    """The page. Everything that comes from the run is escaped; only our own SVG is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phinas.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _format_code
    return environment.get_template("page.html").render(
        title=run_data.config.name,
        version=version(),
        light=LIGHT_COLORS,
        dark=DARK_COLORS,
        conclusions=[" ".join(paragraph) for paragraph in make_conclusion_paragraphs(run_data)],
        headlines=_make_headlines(run_data),
        warnings=provenance.list_warnings(run_data),
        figures=figures,
        tables={name: make_table(run_data) for name, make_table in REPORT_TABLES.items()},
        missing_sections=_make_missing_section_messages(run_data),
        explanations={
            "baseline": _get_explanation(run_data.baseline),
            "coefficients": _get_explanation(run_data.coefficients),
        },
        members_not_validated=_list_members_not_validated(run_data),
        no_prediction_reason=str(run_data.validation.get("missing_curve_reason") or "")
        if run_data.members_without_accuracy and run_data.validated_members
        else "",
        machine_rows=provenance.make_machine_rows(run_data),
        accuracies_note=provenance.describe_accuracies(run_data),
        data_rows=provenance.make_data_rows(run_data),
        notes=provenance.list_notes(run_data),
        artifacts=provenance.make_artifact_rows(run_data),
        accuracy_source=provenance.describe_accuracy_source(run_data),
    )


def _format_code(text: str) -> Markup:
    """Text with `phinas scale DIR` in backquotes, as code."""
    parts = text.split("`")
    escaped_parts = [
        Markup("<code>{}</code>").format(part) if index % 2 else Markup.escape(part)
        for index, part in enumerate(parts)
    ]
    return Markup().join(escaped_parts)


def _get_explanation(result: dict[str, Any] | None) -> str:
    return str(result.get("explanation", "")) if result else ""


def _describe_coefficient_ranges(run_data: RunData) -> str:
    """Of the coefficients: how far they are told from others."""
    coefficients = run_data.searched_coefficients
    if coefficients is None:
        return "given, not searched"
    ranges = ", ".join(
        f"{GREEK_LETTERS[name]}\u00a0{format_interval(*coefficients['ranges'][name])}"
        for name in GREEK_LETTERS
    )
    significance = {
        "all": "told from all others",
        "some": "partly told apart",
        "none": "can't be told apart",
    }[summarize_wins(coefficients)]
    return f"{significance}: {ranges}"


def _make_missing_section_messages(run_data: RunData) -> dict[str, str]:
    """For each section without data, the sentence that says how to make them."""
    messages = {}
    if not run_data.trials:
        no_search_message = (
            "The baseline was given, so there was no search." if run_data.has_user_baseline else ""
        )
        messages["search"] = (
            no_search_message or "No trial has been measured yet; `phinas resume DIR` makes them."
        )
    if run_data.baseline is None:
        no_baseline_message = (
            "No baseline has been chosen yet; `phinas resume DIR` trains the finalists and chooses."
        )
        messages["baseline"] = (
            "The given baseline has not been read yet; `phinas scale DIR` does it."
            if run_data.has_user_baseline
            else no_baseline_message
        )
    if not run_data.has_images:
        scale_command = "`phinas scale --baseline DIR/search/baseline.yaml --data IMAGES --out NEW`"
        no_images_message = f"Nothing is trained in a run without images; {scale_command} does it."
        return (
            messages
            | {"family": no_images_message}
            | ({} if run_data.coefficients else {"scaling": no_images_message})
        )
    if run_data.coefficients is None:
        num_trainings = sum(row.is_complete for row in run_data.trial_records["scaling"])
        progress_note = f" ({num_trainings} of its trainings are recorded)" if num_trainings else ""
        messages["scaling"] = (
            f"The baseline has not been scaled yet{progress_note}; `phinas scale DIR` does it."
        )
    if not run_data.members:
        messages["family"] = "There is no family yet; `phinas scale DIR` makes one."
    elif not run_data.validated_members:
        messages["family"] = (
            "No member has been trained yet, so there is no accuracy to show; `phinas validate "
            "DIR` trains them."
        )
    return messages


def _list_members_not_validated(run_data: RunData) -> list[tuple[str, str]]:
    """Name and reason of the members without an accuracy, where others have one."""
    if not run_data.validated_members:
        return []
    members = [row for row in run_data.members if not row.get("validated")]
    return [
        (row["name"].upper(), row.get("skip_reason") or "`phinas validate DIR` trains it")
        for row in members
    ]


def _make_headlines(run_data: RunData) -> list[tuple[str, str, str]]:
    """At most three: what it is, the number, what it means."""
    headlines = []
    baseline, finalist, coefficients, members = (
        run_data.baseline,
        run_data.chosen_finalist,
        run_data.coefficients,
        run_data.validated_members,
    )
    if baseline is not None:
        accuracy = (
            format_percent(sum(finalist["accuracies"]) / len(finalist["accuracies"]))
            if finalist
            else baseline["spec_id"]
        )
        accuracy_kind = (
            ("validation accuracy" if run_data.search_trains_networks else "accuracy")
            if finalist
            else "given, not searched"
        )
        size = (
            f"{format_count(baseline['flops'])} FLOPs, {format_count(baseline['params'])} "
            "parameters"
        )
        latency_text = (
            f", {format_cost('latency', baseline['latency_ms'])}"
            if baseline.get("latency_ms")
            else ""
        )
        headlines.append(("Baseline", accuracy, f"{accuracy_kind}, {size}{latency_text}"))
    if coefficients is not None:
        value = " \N{MIDDLE DOT} ".join(f"{coefficients[name]:.2f}" for name in GREEK_LETTERS)
        headlines.append(
            (
                " \N{MIDDLE DOT} ".join(GREEK_LETTERS.values()),
                value,
                _describe_coefficient_ranges(run_data),
            )
        )
    if members:
        first, last = members[0], members[-1]
        names = (
            first["name"].upper()
            if first is last
            else f"{first['name'].upper()} to {last['name'].upper()}"
        )
        value = format_percent(first["accuracy"]) + (
            "" if first is last else f" \N{RIGHTWARDS ARROW} {format_percent(last['accuracy'])}"
        )
        cost = (
            f"at {last['ratio']:.1f} times B0's FLOPs"
            if last["ratio"] > 1
            else f"{format_count(last['flops'])} FLOPs"
        )
        headlines.append((names, value, f"test accuracy, {cost}"))
    return headlines
