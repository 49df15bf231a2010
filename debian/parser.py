"""Every command of `vedette` in one parser, for the tools that write the manual page and the shell completion."""  # noqa: INP001

import argparse

from vedette.cli import COMMANDS, parser_of

FILES = {"bash": "_shtab_compgen_files"}
"""What shtab calls a file name. An argument with fixed choices has these, any other one can be a file."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command, with a subparser for each of its commands."""
    whole = argparse.ArgumentParser(prog="vedette", description="Watch a camera and publish detections over MQTT.")
    whole.add_argument("--version", action="version", version="", help="print the version")
    groups = {"": whole.add_subparsers(title="commands")}
    for name, (_, summary) in COMMANDS.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            members = ", ".join(each.partition(" ")[2] for each in COMMANDS if each.startswith(f"{group} "))
            groups[group] = groups[""].add_parser(group, help=members).add_subparsers(title="commands")
        own = parser_of(name)[0]
        for action in own._actions:
            if action.choices is None and action.nargs != 0:
                action.complete = FILES     # type: ignore[attr-defined]
        groups[group].add_parser(last, parents=[own], add_help=False, help=summary, description=own.description,
                                 epilog=own.epilog, formatter_class=own.formatter_class)
    return whole
