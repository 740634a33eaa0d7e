"""The reference page of all configuration keys, docs/configuration.md, generated from the schema.

python -m phinas.options.reference > docs/configuration.md
"""

import sys
from collections.abc import Iterable, Mapping

from phinas.experiment.schema.config import Config
from phinas.experiment.schema.fields import Section
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.option_info import OptionInfo, list_options
from phinas.experiment.schema.recipe import Recipe
from phinas.experiment.schema.run import DataSection, HardwareSection
from phinas.options.names import NAME_TABLES, expand_names

_INTRODUCTION = """\
# Configuration

Every key of a configuration file, generated from the schema by
`python -m phinas.options.reference > docs/configuration.md`.

A configuration is one YAML file: `phinas run config.yaml --out runs/x`. Any key can be set on the
command line with `--set KEY=VALUE`, such as `--set search.trials=50`. Frequent keys also have an
option, which `phinas COMMAND --help` lists with its key. Options override the file, and `--set`
overrides both. A value with the suffix k, M or G is a multiple of 1e3, 1e6 or 1e9.

"On resume" says whether a resumed run may have another value. A *fixed* key decides recorded
results. A key that *may grow* adds work and changes no result. A key that *may change* affects only
how later work is executed. The keys of a stage that has no results yet can change in any case.
"""
_TABLE_HEAD = """\
| key | meaning | values | unit | default | on resume |
|---|---|---|---|---|---|
"""
_NAME_TITLES = {
    "sources": "Data sources",
    "spaces": "Search spaces",
    "strategies": "Search strategies",
    "evaluators": "Evaluators",
    "pruners": "Pruners",
    "recipes": "Recipes",
    "presets": "Presets",
}


def reference_page() -> str:
    """The page in Markdown."""
    options = list_options(Config)
    parts = [_INTRODUCTION]
    parts.append(_section("The whole run", Config, _direct_keys(options, "")))
    for name, section_type in _sections(options):
        parts.append(_section(f"`{name}`", section_type, _direct_keys(options, f"{name}.")))
    parts.append(
        _section(
            "Recipes: `search.recipe`, `search.finalist_recipe`, `scaling.recipe`, "
            "`validation.recipe`",
            Recipe,
            list_options(Recipe).values(),
            note="The defaults below are those of the recipe `proxy`.",
        )
    )
    shared = {*HardwareSection.model_fields, "data", "recipe"}
    fit_options = list_options(FitSection)
    parts.append(
        _section(
            "`phinas fit`",
            FitSection,
            [
                info
                for info in _direct_keys(fit_options, "")
                if info.key not in shared or info.key == "recipe"
            ],
            note="`phinas fit` also has the keys of `data` and `recipe`, with these prefixes, and "
            f"{', '.join(f'`{name}`' for name in HardwareSection.model_fields)} without a prefix. "
            "They are those described above.",
        )
    )
    parts += [_names(title, NAME_TABLES[name]()) for name, title in _NAME_TITLES.items()]
    return "\n".join(parts)


def _sections(options: Mapping[str, OptionInfo]) -> Iterable[tuple[str, type[Section]]]:
    """The sections of a configuration."""
    for name, info in options.items():
        if info.is_section:
            default = info.default
            yield name, type(default) if isinstance(default, Section) else DataSection


def _direct_keys(options: Mapping[str, OptionInfo], prefix: str) -> list[OptionInfo]:
    """The keys of one section without those of the sections in it."""
    return [
        info
        for key, info in options.items()
        if key.startswith(prefix) and "." not in key[len(prefix) :] and not info.is_section
    ]


def _section(
    title: str, section_type: type[Section], options: Iterable[OptionInfo], *, note: str = ""
) -> str:
    summary = " ".join((section_type.__doc__ or "").split("\n\n")[0].split())
    text = f"## {title}\n\n{summary}\n\n" + (f"{note}\n\n" if note else "")
    return text + _TABLE_HEAD + "".join(map(_row, options))


def _row(info: OptionInfo) -> str:
    cells = (
        f"`{info.key}`",
        info.meaning,
        expand_names(info.values),
        info.unit,
        info.default_text or "required",
        info.on_resume,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _names(title: str, summaries: Mapping[str, str]) -> str:
    rows = "".join(
        f"| `{name}` | {' '.join(text.split()).replace('|', chr(92) + '|')} |\n"
        for name, text in summaries.items()
    )
    return f"## {title}\n\n| name | meaning |\n|---|---|\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
