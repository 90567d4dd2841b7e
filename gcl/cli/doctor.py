"""``gcl doctor``."""

from __future__ import annotations

import os

import typer

from gcl.cli.common import AsJson, DataRoot, print_json

NEEDED = ("torch", "torch-geometric", "numpy", "scipy", "scikit-learn", "networkx", "matplotlib")
OPTIONAL = {
    "networkit": "communities by networkx instead, many times slower: pip install networkit",
    "torch-scatter": "torch's own reductions are used: pip install --no-build-isolation torch-gcl[scatter]",
    "ogb": "not needed, `gcl data prepare` reads OGB's files itself: pip install torch-gcl[ogb]",
    "triton": "GPU kernels: pip install torch-gcl[gpu]",
    "pyarrow": "parquet files: pip install pyarrow",
}


def doctor(data_root: DataRoot = None, json: AsJson = False) -> None:
    """Show versions, the machine, which optional packages are missing, and where data is looked for."""
    from gcl.data.catalog import list_datasets
    from gcl.report.environment import describe_environment, package_versions

    versions, environment = package_versions(), describe_environment()
    datasets = list_datasets(data_root=data_root)
    found = [entry["name"] for entry in datasets if entry["available"] != "missing"]
    missing = [name for name in NEEDED if versions[name] is None]
    record = {
        **environment,
        "missing": missing,
        "optional_missing": [name for name in OPTIONAL if versions[name] is None],
        "datasets_found": len(found),
        "datasets_known": len(datasets),
    }
    if json:
        print_json(record)
    else:
        for key in ("python", "platform", "processor", "cores", "threads", "gpu", "commit"):
            typer.echo(f"{key:<12} {environment[key]}")
        for name, version in versions.items():
            if version:
                typer.echo(f"{name:<20} {version}")
        for name, remedy in OPTIONAL.items():
            if versions[name] is None:
                typer.echo(f"{name:<20} not installed; {remedy}")
        typer.echo(f"datasets     {len(found)} of {len(datasets)} here; the others need --data-root or GCL_DATA")
        if note := busy(environment["cores"], environment["threads"]):
            typer.echo(note)
        typer.echo("all needed packages are there" if not missing else f"missing: {', '.join(missing)}")
    if missing:
        raise typer.Exit(1)


def busy(cores: int | None, threads: int) -> str:
    """What to do where other programs want the cores, too; empty where they do not, or where that is not known.

    Threads of one step wait for each other, so that one of them that gets no core holds up all: five seeds of CSGCL
    took 28 s on two free cores, over 20 minutes on two taken ones, and 2 minutes there with one thread.
    """
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none, and it cannot always be had
        return ""
    if cores is None or threads < 2 or load <= cores - 0.5:
        return ""
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores); with {threads} threads training may take many times "
        "as long: set OMP_NUM_THREADS=1"
    )
