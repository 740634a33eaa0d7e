"""The conclusions at the top of the page: the results of a run, and what they leave open."""

from phinas.reports.run_data import RunData
from phinas.reports.sentences.baseline import describe_baseline
from phinas.reports.sentences.coefficients import (
    describe_coefficients,
    describe_paper_coefficients,
)
from phinas.reports.sentences.controls import (
    describe_compound_verdict,
    describe_domain_coefficients,
    describe_identical_controls,
)
from phinas.reports.sentences.family import describe_family


def make_conclusion_paragraphs(run_data: RunData) -> list[list[str]]:
    """Lists of sentences: baseline, coefficients, family, and its comparison with other scaling
    methods. None is empty.
    """
    paragraphs = [
        describe_baseline(run_data),
        [*describe_coefficients(run_data), *describe_paper_coefficients(run_data)],
        describe_family(run_data),
        [
            *describe_compound_verdict(run_data),
            *describe_domain_coefficients(run_data),
            *describe_identical_controls(run_data),
        ],
    ]
    return [paragraph for paragraph in paragraphs if paragraph]
