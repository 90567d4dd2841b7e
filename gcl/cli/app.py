"""The command ``gcl``. It parses, calls the layers below and prints; torch is imported by the work, not by the help."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn, TextIO

import typer

from gcl.cli import certify, cluster, data, doctor, embed, evaluate, methods, recommend, report, reproduce, train
from gcl.core.errors import GCLError
from gcl.core.version import __version__

app = typer.Typer(
    name="gcl",
    help="Graph contrastive learning: train, evaluate, cluster, embed, recommend, certify.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.add_typer(evaluate.app, name="evaluate")
app.command("cluster")(cluster.cluster)
app.command("embed")(embed.embed)
app.command("recommend")(recommend.recommend)
app.command("certify")(certify.certify)
app.command("report")(report.report)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(data.app, name="data")
app.command("methods")(methods.methods)
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gcl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Runs the command; errors are one sentence on standard error."""
    # Large tensors on large pages, where the system has them: half the time of a sparse product. Read by torch once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    warnings.showwarning = _say_warning
    try:
        code = app(standalone_mode=False)
    except GCLError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # `gcl ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:  # the parser's own errors have no public base class in every version of Typer
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        if hasattr(error, "format_message"):
            _fail(f"{error.format_message().rstrip('.')}; see {_help_of(sys.argv[1:])}", getattr(error, "exit_code", 2))
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _help_of(words: Sequence[str]) -> str:
    """The command whose help says more."""
    commands = {"train", "evaluate", "cluster", "embed", "recommend", "certify", "report", "reproduce", "data"}
    return f"gcl {words[0]} --help" if words and words[0] in commands else "gcl --help"


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line on standard error for what concerns the user; the line of code for what does not."""
    text = (
        f"gcl: {message}\n" if category is UserWarning else warnings.formatwarning(message, category, filename, lineno)
    )
    (file or sys.stderr).write(text)


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"gcl: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(code)
