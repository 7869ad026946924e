"""The pages of docs/commands against the commands themselves."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from graphlearn.cli.app import COMMANDS, load_command

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_on_the_page_are_those_of_the_command(build, name):
    page = (DOCS / "commands" / f"{name}.md").read_text()
    assert page == build.with_help(page, name), "run: make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_starts_with_the_commands_own_line(name):
    lines = (DOCS / "commands" / f"{name}.md").read_text().splitlines()
    assert lines[:3] == [f"# graphlearn {name}", "", COMMANDS[name]]


def test_there_is_one_page_for_each_command_and_no_other():
    assert {path.stem for path in (DOCS / "commands").glob("*.md")} == set(COMMANDS)


def test_a_page_without_its_block_is_refused(build):
    with pytest.raises(ValueError, match=r"docs/commands/demo.md must have one '<!-- help -->' .* block, found 0"):
        build.with_help("# graphlearn demo\n", "demo")


def shown_commands() -> list[tuple[str, str]]:
    """Each command line in the prose of the documentation, with its page."""
    found = []
    for path in [README, *sorted((DOCS / "commands").glob("*.md"))]:
        text = re.sub(r"<!-- (help|output) -->.*?<!-- /\1 -->", "", path.read_text(), flags=re.DOTALL)
        text = text.replace("\\\n", " ")
        found += [(path.name, line) for line in re.findall(r"^(?:\$ )?(graphlearn .*)$", text, re.MULTILINE)]
    return found


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_every_command_line_in_the_documentation_parses(page, line):
    name, *words = shlex.split(line, comments=True)[1:]
    if name not in COMMANDS:
        assert name.startswith("-"), f"{page}: no command '{name}'"
        return
    command = load_command(name)
    words = words[: words.index("|")] if "|" in words else words
    words = words[: words.index(">")] if ">" in words else words
    command.make_context(name, [word for word in words if word != "--debug"])  # raises on a wrong option or argument
