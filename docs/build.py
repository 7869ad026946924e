"""Writes the output of ``graphlearn COMMAND --help`` into docs/commands/COMMAND.md.    python docs/build.py"""

from __future__ import annotations

import re
from pathlib import Path

from graphlearn.cli.app import COMMANDS, load_command

PAGES = Path(__file__).parent / "commands"
BLOCK = re.compile(r"(<!-- help -->\n).*?(<!-- /help -->\n)", re.DOTALL)


def help_text(name: str) -> str:
    """What ``graphlearn NAME --help`` prints on a terminal of 100 columns."""
    command = load_command(name)
    context = command.make_context(f"graphlearn {name}", [], resilient_parsing=True, terminal_width=100)
    return command.get_help(context)


def with_help(page: str, name: str) -> str:
    """``page`` with its block of options as the command has them now."""
    lines = "\n".join(line.rstrip() for line in help_text(name).splitlines())
    page, found = BLOCK.subn(lambda match: f"{match[1]}```\n{lines}\n```\n{match[2]}", page)
    if found != 1:
        raise ValueError(
            f"docs/commands/{name}.md must have one '<!-- help -->' … '<!-- /help -->' block, found {found}."
        )
    return page


def main() -> None:
    for name in COMMANDS:
        path = PAGES / f"{name}.md"
        path.write_text(with_help(path.read_text(), name))


if __name__ == "__main__":
    main()
