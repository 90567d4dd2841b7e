"""The page of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gcl.core.errors import ConfigError, OutputError, unknown
from gcl.core.files import atomic_write
from gcl.report.figures import RUN_COLORS
from gcl.report.pictures import check_matplotlib
from gcl.report.projection import ProjectionName
from gcl.run.report_pictures import color_key, communities_of, curves_of, pictures_of, projection_words
from gcl.run.report_tables import beside_paper, cost_of, differences_of, facts_of, scores_of, subtitle_of
from gcl.run.shown_run import read_run, root_of, short_names

TEMPLATE = Path(__file__).resolve().parent.parent / "report" / "page.html"
MOST_NODES = 3000  # that are projected


def write_report(
    runs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    projection: ProjectionName = "tsne",
    max_nodes: int = MOST_NODES,
    data_root: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes one self-contained HTML page: scores with floors, curves, pictures, communities, cost, configuration.

    Labels and communities are those of the dataset, where it is here; without it the page has the rest.

    Args:
        runs: folders that ``gcl train`` or ``gcl reproduce`` wrote; several are shown side by side.
        out: the page; by default ``report.html`` in the first folder.
        projection: how embeddings are drawn in the plane: ``tsne``, ``pca``, or ``none``.
        max_nodes: nodes that are drawn, a sample that is the same for every run of a graph.
        data_root: where named datasets lie; by default where they lay when the run was started.
        overwrite: replace ``out`` where it is there already.

    Returns:
        The path of the page.

    Raises:
        ConfigError: no run, a folder that holds none, or an option out of range.
        CheckpointError: a run that is not finished.
        OutputError: ``out`` exists and ``overwrite`` is ``False``.
        MissingDependencyError: matplotlib is not installed.
    """
    if not runs:
        raise ConfigError("a report needs a run folder at least")
    if projection not in ("tsne", "pca", "none"):
        raise ConfigError(unknown("projection", str(projection), ("tsne", "pca", "none")))
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int) or max_nodes < 2:
        raise ConfigError(f"max_nodes must be a whole number from 2, got {max_nodes!r}")
    check_matplotlib()
    roots = [root_of(path) for path in runs]
    names = short_names(roots)
    target = Path(out) if out is not None else roots[0] / "report.html"
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file, such as {target / 'report.html'}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another --out, or give --overwrite")
    notes: list[str] = []
    shown = [read_run(root, name, data_root, notes) for root, name in zip(roots, names, strict=True)]
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    curves = [{"name": name, "svg": Markup(svg)} for name, svg in curves_of(shown)]
    strengths, communities = communities_of(shown)
    paper, paper_notes = beside_paper(shown)
    text = page.render(
        title=" and ".join(dict.fromkeys(each.title for each in shown)),
        subtitle=subtitle_of(shown),
        notes=list(dict.fromkeys(notes)),
        scores=scores_of(shown),
        paper=paper,
        paper_notes=paper_notes,
        curves=curves,
        run_key=color_key([each.name for each in shown], RUN_COLORS) if len(shown) > 1 else [],
        pictures=[] if projection == "none" else pictures_of(shown, communities, projection, max_nodes),
        projection=projection_words(shown, projection, max_nodes),
        strengths=[{**each, "svg": Markup(each["svg"])} for each in strengths],
        cost=cost_of(shown),
        differences=differences_of(shown),
        runs=[facts_of(each) for each in shown],
    )
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target
