"""Groups of commands: the list of their summaries, and suggestions for unknown names."""

from typing import Any

import click

from phinas.space.closest_name import suggest_name

# What other tools call a command.
_OTHER_COMMAND_NAMES = {
    "train": "fit",
    "finetune": "fit",
    "fine-tune": "fit",
    "evaluate": "validate",
    "eval": "validate",
    "test": "validate",
    "infer": "predict",
    "inference": "predict",
    "classify": "predict",
    "benchmark": "latency",
    "profile": "latency",
    "summary": "describe",
    "info": "describe",
    "show": "describe",
    "convert": "export",
    "data": "audit",
    "continue": "resume",
    "estimate": "plan",
    "optimize": "search",
    "ls": "list",
}


class CommandGroup(click.Group):
    """A group of commands that suggests the closest name, and lists the summaries in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=1000))
                    for name, command in commands
                    if command is not None
                ]
            )

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            meant = _OTHER_COMMAND_NAMES.get(args[0].lower(), args[0])
            hint = suggest_name(meant, names) or f"commands: {', '.join(names)}"
            raise click.UsageError(f"{args[0]!r}: unknown command; {hint}", ctx)
        return super().resolve_command(ctx, args)
