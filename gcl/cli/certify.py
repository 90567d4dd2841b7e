"""``gcl certify``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcl.cli.common import AsJson, DataRoot, interruptible, print_json
from gcl.core.errors import ConfigError
from gcl.core.files import atomic_write, check_writable

if TYPE_CHECKING:
    from rich.console import Console

    from gcl.evaluate.compactness import Compactness

COLUMNS = ("id", "degree", "budget", "value", "lower", "upper", "margin", "certified", "refuted")


def certify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str | None, typer.Argument(help="Another graph with the same features [the run's own].")] = None,
    drop_prob: Annotated[float, typer.Option(help="Edges that every node may lose, as a share of its degree.")] = 0.3,
    deletion: Annotated[
        Literal["arcs", "edges"], typer.Option(help="Arcs go one by one, or edges with both their arcs.")
    ] = "arcs",
    coverage: Annotated[
        float | None, typer.Option(help="Budgets that random dropping keeps with this probability [rounded mean].")
    ] = None,
    keep_neighbor: Annotated[
        bool | None, typer.Option(help="No node loses its last neighbour [so, but not with --coverage].")
    ] = None,
    paths: Annotated[
        bool | None, typer.Option(help="Follow paths of two arcs, tighter [where that takes no longer than minutes].")
    ] = None,
    samples: Annotated[int, typer.Option(help="Admissible graphs to try for the upper bound.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the sampled graphs, from 0.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write every node's bounds, a new .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them, a new .png, .svg or .pdf file.")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Prove how close every node stays to itself when edges are deleted, and try to break it.

    `gcl certify runs/first --drop-prob 0.2 --out certificates.csv --plot certificates.png`
    """
    if out is not None and out.suffix != ".csv":
        raise ConfigError(f"--out {out} must end in .csv")
    for path in (out, plot):
        if path is not None:
            check_writable(path)
    from gcl.report.compactness_plot import plot_compactness
    from gcl.report.pictures import check_plot

    if plot is not None:
        check_plot(plot)
    from gcl.run.certify import certify as run_certificates
    from gcl.run.open_run import open_run
    from gcl.run.run_data import load_for_run

    opened = open_run(run)
    dataset = load_for_run(opened.settings, data, data_root=data_root, where=str(run))
    with interruptible():
        result = run_certificates(
            opened,
            dataset,
            drop_prob=drop_prob,
            deletion=deletion,
            keep_neighbor=keep_neighbor,
            coverage=coverage,
            num_samples=samples,
            paths=paths,
            seed=seed,
        )
    ids = dataset.node_ids or [str(index) for index in range(result.value.numel())]
    files = {name: str(path) for name, path in (("out", out), ("plot", plot)) if path is not None}
    from gcl.report.table import report_console

    console = report_console()
    which = {"run": str(opened.directory.path), "seeds_of_run": len(opened.seeds)}
    if not json:
        _print(console, result, dataset.y, dataset.name)
        if len(opened.seeds) > 1:
            console.print(
                f"note: of the {len(opened.seeds)} seeds in {run} this is {opened.directory.path.name}; give the "
                "folder of another for its own",
                soft_wrap=True,
            )
    if out is not None:
        _write(out, result, ids, dataset.y)
    if plot is not None:
        plot_compactness(result, plot, y=dataset.y, title=f"{dataset.name}: {_protocol(result)}")
    if json:
        print_json({**result.to_json(dataset.y), "dataset": dataset.name, **which, "sample_seed": seed, **files})
        return
    for name, written in files.items():
        console.print(f"{'every node' if name == 'out' else 'picture'}: {written}", soft_wrap=True)


def _protocol(result: Compactness) -> str:
    protocol = result.protocol
    budget = f"rint({protocol['drop_prob']} degree)"
    if protocol["coverage"] is not None:
        budget = f"the {protocol['coverage']} quantile of Binomial(degree, {protocol['drop_prob']})"
    what = "incoming arcs" if protocol["deletion"] == "arcs" else "edges"
    keeps = ", never the last" if protocol["keep_neighbor"] else ""
    return f"every node may lose {budget} {what}{keeps}"


def _print(console: Console, result: Compactness, y: Any, name: str) -> None:
    from rich.table import Table

    console.print(f"compactness on [bold]{name}[/bold]: {_protocol(result)}", soft_wrap=True)
    table = Table("nodes", *(("number", "may lose", "certified", "open", "refuted", "value", "lower", "upper")))
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {"all": result.summary()} | {f"degree {key}": group for key, group in result.by_degree().items()}
    if y is not None:
        rows |= {f"class {key}": group for key, group in result.by_class(y).items()}
    for key, group in rows.items():
        shares = [f"{100 * group[state]:.1f}" for state in ("certified", "open", "refuted")]
        means = [f"{group[mean]:.3f}" for mean in ("value", "lower", "upper")]
        table.add_row(key, f"{int(group['nodes']):,}", f"{group['budget']:.2f}", *shares, *means)
    console.print(table)
    console.print(
        "certified: proved positive on every admissible graph (percent of nodes); refuted: an admissible graph was "
        f"found where it is negative; open: neither. Means of the value on the graph as it is and of both bounds; the "
        f"upper one is the worst of {result.protocol['num_samples']} graphs tried.",
        soft_wrap=True,
    )
    if result.protocol["num_layers"] == 2 and not result.protocol["paths"]:
        console.print(
            "note: paths of two arcs were not followed; --paths makes the lower bounds tighter", soft_wrap=True
        )
    unclear = int(result.unclear.sum())
    if unclear:
        console.print(
            f"note: the value of {unclear:,} nodes is 0 up to rounding, as where embeddings have collapsed; they count "
            "as open",
            soft_wrap=True,
        )


def _write(path: Path, result: Compactness, ids: list[str], y: Any) -> None:
    columns = [ids, result.degree.tolist(), result.budget.tolist()]
    numbers = (result.value, result.lower, result.upper, result.margin)
    columns += [[repr(number) for number in part.tolist()] for part in numbers]
    columns += [part.int().tolist() for part in (result.certified, result.refuted)]
    names = list(COLUMNS)
    if y is not None:
        columns.append(y.tolist())
        names.append("label")
    with (
        atomic_write(path, overwrite=False) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))
