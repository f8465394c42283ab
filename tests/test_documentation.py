"""What README, guide and help say: every command is documented, and every documented command and option exists."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import kb
from kb.cli import cli

ROOT = Path(__file__).resolve().parents[1]
NAMED = {"ids": lambda page: str(page.relative_to(ROOT))}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(group: Any, name: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Every command below a group by its words, such as `ingest notes`; typer has its own copy of click's types."""
    found: dict[str, Any] = {}
    for word, command in group.commands.items():
        full = f"{name} {word}".strip()
        found |= commands(command, full) if hasattr(command, "commands") else {full: command}
    return found


COMMANDS = commands(typer.main.get_command(cli))


def lines(page: Path) -> Iterator[list[str]]:
    """The words after `kb` of every line in an indented block that calls it."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if match := re.match(r" {4}(?:\S*/)?kb (?:--home \S+ )?(?P<words>[a-z].*)", line):
            yield shlex.split(match["words"].partition("  ")[0].partition(" #")[0].replace("…", "").replace("'", ""))


def command_of(words: list[str]) -> str:
    """The command that the words begin with. Fails if there is none."""
    for name in (" ".join(words[:2]), words[0]):
        if name in COMMANDS:
            return name
    pytest.fail(f"kb {' '.join(words)}: there is no such command")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_tells_of_every_command_and_option(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    assert command.help.split()[0][0].isupper()
    for parameter in command.params:
        assert parameter.name == "help" or getattr(parameter, "help", ""), f"kb {name}: {parameter.name} has no help"


def test_every_command_has_its_method() -> None:
    methods = {name for name, _ in inspect.getmembers(kb.KnowledgeBase, inspect.isfunction)}
    # Two servers, which stand on the methods.
    assert {name for name in COMMANDS if name.replace(" ", "_") not in methods} == {"app", "mcp"}


@pytest.mark.parametrize("page", PAGES, **NAMED)
def test_documented_commands_and_options_exist(page: Path) -> None:
    for words in lines(page):
        command = COMMANDS[command_of(words)]
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        for word in words:
            if re.fullmatch(r"--[a-z][a-z-]*|-[a-z]", word):
                assert word in known, f"{page.name}: kb {' '.join(words)}"


def test_every_command_is_in_the_guide() -> None:
    documented = {command_of(words) for page in PAGES for words in lines(page)}
    assert set(COMMANDS) - documented == set()


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
