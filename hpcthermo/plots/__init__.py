"""Figures of a results folder, each as PNG and PDF; the only package that imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpcthermo.plots.active_learning import learning_drawings
from hpcthermo.plots.bte import bte_drawings, convergence_drawings
from hpcthermo.plots.dataset import DATASET_FIGURE, draw_dataset
from hpcthermo.plots.model_checks import check_drawings
from hpcthermo.plots.nemd import nemd_drawings
from hpcthermo.plots.phonons import phonon_drawings
from hpcthermo.plots.series import stage_drawings
from hpcthermo.plots.statics import GRIDS, binding_drawings, elastic_drawings, moire_drawings, sliding_drawings
from hpcthermo.plots.structure import STRUCTURE_FIGURE, draw_structure
from hpcthermo.plots.style import STYLE, Drawings
from hpcthermo.plots.training import training_drawings
from hpcthermo.results import RESULTS_FILE, Results, read_results

__all__ = ["DATASET_FIGURE", "STRUCTURE_FIGURE", "draw_dataset", "draw_figures", "draw_structure"]

_DOTS_PER_INCH = 200
#: kind of job -> its drawings
_KINDS: dict[str, Callable[[Results], Drawings]] = {
    "nemd": nemd_drawings, "elastic": elastic_drawings, "binding_curve": binding_drawings,
    "sliding_surface": sliding_drawings, "moire_map": moire_drawings,
    "fc": phonon_drawings, "phonon": phonon_drawings, "bte": bte_drawings, "bte_convergence": convergence_drawings,
    "train": lambda results: {**training_drawings(results), **check_drawings(results)}, "model_checks": check_drawings,
    "active_learning": lambda results: {**learning_drawings(results), **check_drawings(results)},
}


def draw_figures(folder: Path) -> list[Path]:
    """Draw all figures that the results of a folder allow.

    Returns
    -------
    list of Path
        PNG files; a PDF of the same name lies beside each of those drawn here; what the run drew comes last.

    Raises
    ------
    InputError
        Without a readable results file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    results = read_results(folder / RESULTS_FILE)
    with mpl.rc_context(STYLE):
        drawings = {**_KINDS.get(results.kind, lambda _: {})(results), **stage_drawings(results)}
        paths = []
        for name, draw in drawings.items():
            rows, columns, size = GRIDS.get(name, (1, 1, None))
            figure = Figure(figsize=size, dpi=_DOTS_PER_INCH)
            draw(figure.subplots(rows, columns))
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it has done its work, for both files
            paths.append(folder / f"{name}.png")
            # savefig would draw each file twice
            with paths[-1].open("wb") as stream:
                FigureCanvasAgg(figure).print_png(stream)
            with (folder / f"{name}.pdf").open("wb") as stream:
                FigureCanvasPdf(figure).print_pdf(stream)
    drawn_by_the_run = (folder / name for name in (STRUCTURE_FIGURE, DATASET_FIGURE))
    return [*paths, *(path for path in drawn_by_the_run if path.exists())]
