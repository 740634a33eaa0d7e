"""`report/index.html`: one self-contained file, with its numbers as CSV and its figures as SVG and
PNG next to it.

It reads the run directory only, has no time of day, and its ids are hashes: the same run gives the
same bytes. The page is renamed into place last, so all files that it links to exist.
"""

from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from phinas.experiment.csv_text import escape_cell
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.versions import version
from phinas.reports.csv_export import CSV_TABLES
from phinas.reports.figure_export import render_inline_svg, render_png, render_svg, report_style
from phinas.reports.figures import FIGURES
from phinas.reports.palette import DARK_COLORS, LIGHT_COLORS
from phinas.reports.redaction import redact
from phinas.reports.run_data import RunData
from phinas.reports.run_reader import read_run_data
from phinas.reports.sentences import provenance
from phinas.reports.sentences.baseline import explain_choice
from phinas.reports.sentences.coefficients import explain_coefficients
from phinas.reports.sentences.conclusions import make_conclusion_paragraphs
from phinas.reports.sentences.family import describe_missing_curve
from phinas.reports.sentences.headlines import make_headlines
from phinas.reports.sentences.learning_rates import describe_learning_rates
from phinas.reports.sentences.proxy_check import describe_proxy_check
from phinas.reports.sentences.rendering import render
from phinas.reports.tables import REPORT_TABLES
from phinas.scaling_search.validation.skip_reason import describe_skip


@dataclass(frozen=True, slots=True)
class RenderedFigure:
    """A figure as SVG elements for a wide and a narrow page, with its caption."""

    wide: Markup
    compact: Markup
    caption: str


def write_report(run: RunDir, *, redacted: bool = False) -> Path:
    """Write the report of a run, whatever stages it has finished.

    Args:
        run: The run directory.
        redacted: Leave out paths, file names of images, and names of the user and the machine. The
            report is then in a directory of its own.

    Returns:
        The path of the page.

    Raises:
        InputError: It is not a run directory, or a file is damaged.
        StorageError: The record of trials is damaged.
    """
    run_data, folder = read_run_data(run), run.report
    if redacted:
        run_data, folder = redact(run_data, run), run.redacted_report
    for name, make_dataframe in CSV_TABLES.items():
        write_atomic(
            folder / f"{name}.csv",
            _as_csv_text(make_dataframe(run_data)),
        )
    figures = _write_figures(run_data, folder)
    page = folder / run.report_page.name
    write_atomic(page, render_page(run_data, figures))
    return page


def _as_csv_text(dataframe: pd.DataFrame) -> str:
    """A table as a file, without formulas; `phinas.load` returns its text unchanged."""
    texts = {
        str(name): column.map(escape_cell, na_action="ignore")
        for name, column in dataframe.items()
        if not pd.api.types.is_numeric_dtype(column)
    }
    return dataframe.assign(**texts).to_csv(index=False, lineterminator="\n")


def _write_figures(run_data: RunData, directory: Path) -> dict[str, RenderedFigure]:
    """Write the figures that have data, and remove the files of those that have none."""
    rendered = {}
    with report_style():
        for name, entry in FIGURES.items():
            wide = entry.draw(run_data, compact=False)
            compact = entry.draw(run_data, compact=True)
            if wide is None or compact is None:
                for suffix in ("svg", "png"):
                    (directory / f"{name}.{suffix}").unlink(missing_ok=True)
                continue
            write_atomic(directory / f"{name}.svg", render_svg(wide))
            write_atomic(directory / f"{name}.png", render_png(wide))
            rendered[name] = RenderedFigure(
                render_inline_svg(wide, name=f"{name}-wide"),
                render_inline_svg(compact, name=f"{name}-compact"),
                wide.caption,
            )
    return rendered


def render_page(run_data: RunData, figures: dict[str, RenderedFigure]) -> str:
    """The page. Everything that comes from the run is escaped; only our own SVG is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phinas.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _format_code
    baseline, coefficients = run_data.baseline, run_data.coefficients
    return environment.get_template("page.html").render(
        title=run_data.config.name or provenance.make_default_title(run_data),
        version=version(),
        light=LIGHT_COLORS,
        dark=DARK_COLORS,
        conclusions=[" ".join(paragraph) for paragraph in make_conclusion_paragraphs(run_data)],
        headlines=make_headlines(run_data),
        warnings=provenance.list_warnings(run_data),
        figures=figures,
        figure_entries=FIGURES,
        tables={name: entry.make(run_data) for name, entry in REPORT_TABLES.items()},
        table_entries=REPORT_TABLES,
        missing_sections=_make_missing_section_messages(run_data),
        explanations={
            "baseline": " ".join(explain_choice(baseline)) if baseline else "",
            "coefficients": " ".join(explain_coefficients(coefficients)) if coefficients else "",
        },
        proxy_check=_describe_proxy_check(run_data),
        learning_rates={
            stage: " ".join(describe_learning_rates(check))
            for stage, check in run_data.learning_rates.items()
        },
        members_not_validated=_list_members_not_validated(run_data),
        no_prediction_reason=describe_missing_curve(run_data),
        machine_rows=provenance.make_machine_rows(run_data),
        scores_note=provenance.describe_scores(run_data),
        data_rows=provenance.make_data_rows(run_data),
        notes=provenance.list_notes(run_data),
        artifacts=provenance.make_artifact_rows(run_data),
        score_source=provenance.describe_score_source(run_data),
    )


def _describe_proxy_check(run_data: RunData) -> str:
    """How reliably the trainings of the search rank networks; "" where they were not checked."""
    if run_data.proxy_check is None:
        return ""
    trains_networks = run_data.search_trains_networks
    return " ".join(describe_proxy_check(run_data.proxy_check, trains_networks=trains_networks))


def _format_code(text: str) -> Markup:
    """Text with `phinas scale DIR` in backquotes, as code."""
    parts = text.split("`")
    escaped_parts = [
        Markup("<code>{}</code>").format(part) if index % 2 else Markup.escape(part)
        for index, part in enumerate(parts)
    ]
    return Markup().join(escaped_parts)


def _make_missing_section_messages(run_data: RunData) -> dict[str, str]:
    """For each section without data, how to make them."""
    is_user_supplied = run_data.has_user_baseline
    messages = {}
    if not run_data.trials:
        messages["search"] = render("notes", "no_search", is_user_supplied=is_user_supplied)
    if run_data.baseline is None:
        messages["baseline"] = render("notes", "no_baseline", is_user_supplied=is_user_supplied)
    return messages | (
        _make_missing_training_messages(run_data)
        if run_data.has_images
        else _make_no_image_messages(run_data)
    )


def _make_no_image_messages(run_data: RunData) -> dict[str, str]:
    sections = ["family"] if run_data.coefficients else ["family", "scaling"]
    return dict.fromkeys(sections, render("notes", "no_images"))


def _make_missing_training_messages(run_data: RunData) -> dict[str, str]:
    messages = {}
    if run_data.coefficients is None:
        num_trainings = sum(row.is_complete for row in run_data.trial_records["scaling"])
        messages["scaling"] = render("notes", "no_coefficients", num_trainings=num_trainings)
    if not run_data.members:
        messages["family"] = render("notes", "no_family")
    elif not run_data.tested_members:
        messages["family"] = render("notes", "no_validation")
    return messages


def _list_members_not_validated(run_data: RunData) -> list[tuple[str, str]]:
    """Name and reason of the members without a score, where others have one."""
    if not run_data.tested_members:
        return []
    return [
        (
            row.label,
            describe_skip(row.record.skip)
            if row.record and row.record.skip
            else render("notes", "not_validated"),
        )
        for row in run_data.members
        if row.record is None or row.record.result is None
    ]
