"""Figures and report of a NEMD run and of an equilibrium run with known content."""

import html.parser
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lumped_stack import lumped_record

from hpcthermo.report import finish_results
from hpcthermo.results import Quantity, Results, write_results
from hpcthermo.transport.record import record_quantities

RUN = {"atoms": 1800, "steps": 1000, "ranks": 2, "device": "cpu", "atom_steps_per_second": 1e6,
       "versions": {"hpcthermo": "0.1.0"}, "finished": "2026-01-01T00:00:00Z"}


FIGURES = ("temperature_profile", "bath_energies", "conductance_convergence", "temperature", "energies", "pressure")


@pytest.fixture(scope="module")
def nemd_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nemd")
    quantities = record_quantities(lumped_record(1)) | series(50)
    write_results(folder / "results.h5", Results("nemd", {"title": "Stack <b>&", "kind": "nemd"}, RUN, quantities))
    finish_results(folder)
    return folder


def series(samples: int) -> dict[str, Quantity]:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(samples)
    columns = {
        "time": (np.arange(samples) * 0.05, "ps"), "stage": ((np.arange(samples) >= samples // 5).astype(int), "1"),
        "temperature": (300.0 + noise, "K"), "kinetic_energy": (10.0 + 0.1 * noise, "eV"),
        "potential_energy": (-50.0 - 0.1 * noise, "eV"), "conserved": (np.full(samples, -40.0), "eV"),
        "pressure": (rng.standard_normal((samples, 6)), "GPa"),
        "cell": (np.tile(np.eye(3).ravel() * 10.0, (samples, 1)), "A"),
    }
    return {f"series/{name}": Quantity(values, unit) for name, (values, unit) in columns.items()}


class Page(html.parser.HTMLParser):
    """Collects what a browser would load, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.loads, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_nemd_run_ends_in_figures_summary_and_report(nemd_folder):
    names = set(os.listdir(nemd_folder))
    for figure in FIGURES:
        assert {f"{figure}.png", f"{figure}.pdf"} <= names
    summary = json.loads((nemd_folder / "summary.json").read_text())
    assert summary["results"]["interfacial_thermal_conductance"]["unit"] == "MW m^-2 K^-1"
    assert set(summary["checks"]["steady_state"]) == {"passed", "detail"}
    assert summary["run"]["atom_steps_per_second"] == 1e6


def test_the_report_is_complete_and_needs_no_network(nemd_folder):
    page = Page()
    page.feed((nemd_folder / "report.html").read_text())
    assert page.open == []
    assert len(page.loads) == 6
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert "Stack <b>&" in page.text
    superscripted = "MW m\u207b\u00b2 K\u207b\u00b9"
    for words in ("interfacial thermal conductance", "±", superscripted, "steady state", "hpcthermo 0.1.0"):
        assert words in page.text
    places = [page.text.index(heading) for heading in ("Summary", "Checks", "Figures", "Inputs")]
    assert places == sorted(places)


def test_figures_can_be_drawn_again_and_are_pictures(nemd_folder, plain_figures):
    from hpcthermo.plots import draw_figures

    paths = draw_figures(nemd_folder)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in paths)


@pytest.mark.usefixtures("plain_figures")
def test_an_equilibrium_run(tmp_path):
    write_results(tmp_path / "results.h5", Results("md", {"kind": "md"}, RUN, series(200)))
    finish_results(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    temperature = summary["results"]["temperature"]
    assert temperature["value"] == pytest.approx(300.0, abs=5 * temperature["error"])
    assert summary["results"]["volume"]["value"] == pytest.approx(1000.0)
    assert summary["checks"]["conserved_quantity"]["passed"]


def test_a_minimisation(tmp_path):
    content = {"energy": (-100.0, "eV"), "largest_force": (2e-3, "eV/A"), "tolerance": (1e-3, "eV/A"),
               "steps": (7, "1")}
    quantities = {f"minimize/{name}": Quantity(np.array(value), unit) for name, (value, unit) in content.items()}
    write_results(tmp_path / "results.h5", Results("minimize", {"kind": "minimize"}, RUN, quantities))
    assert "FAILED: largest force 0.002" in finish_results(tmp_path)
