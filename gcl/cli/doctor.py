"""``gcl doctor``."""

from __future__ import annotations

import typer

from gcl.cli.common import AsJson, DataRoot, print_json

NEEDED = ("torch", "torch-geometric", "numpy", "scipy", "scikit-learn", "networkx")
OPTIONAL = {
    "networkit": "communities by networkx instead, many times slower: pip install networkit",
    "torch-scatter": "torch's own reductions are used: pip install --no-build-isolation torch-gcl[scatter]",
    "ogb": "OGB datasets: pip install torch-gcl[ogb]",
    "matplotlib": "plots: pip install torch-gcl[plot]",
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
        typer.echo("all needed packages are there" if not missing else f"missing: {', '.join(missing)}")
    if missing:
        raise typer.Exit(1)
