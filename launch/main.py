"""Trains, evaluates and draws from a method: `python launch/main.py --config=configs/gebm.py`.

`--help` shows the flags, `--list` the configs and their presets. A mistake on the command line
is one line on stderr and exit code 2, numbers that are no longer finite exit with 1, and a
signal exits with 128 plus its number after the state has been saved.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from launch import flags, memory


def print_listing() -> None:
    """The configs that come with gmkit, with their presets."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("config", no_wrap=True), "what", "presets", box=None)
    for name, line, presets in flags.listing():
        table.add_row(name, line, ", ".join(presets))
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""

    def fail(message: object, code: int) -> int:
        print(f"gmkit: {' '.join(str(message).split())}", file=sys.stderr)
        return code

    try:
        command = flags.parse(sys.argv[1:] if argv is None else argv)
        if command.action == "help":
            print(command.text)
            return 0
        if command.action == "list":
            print_listing()
            return 0
    except flags.UsageError as error:
        return fail(error, 2)

    # Only now the heavy imports: a mistyped flag is answered at once.
    from gmkit import training
    from launch import run

    try:
        run.run(command)
    except flags.UsageError as error:
        return fail(error, 2)
    except training.NonFiniteError as error:
        return fail(error, 1)
    except training.Interrupted as error:
        return fail(f"{error} (--workdir={command.workdir})", error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted", 128 + signal.SIGINT)
    return 0


if __name__ == "__main__":
    # Of the process, so not where `main` is called as a function.
    memory.keep_freed_memory()
    sys.exit(main())
