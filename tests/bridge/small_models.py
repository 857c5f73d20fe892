"""Small models of other codes, trained here on forces of the embedded Tersoff potential for cubic boron nitride.

They are good for nothing but tests: ``python tests/bridge/small_models.py mace FOLDER`` writes one.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from hpcthermo.calculator import Calculator

LATTICE = 3.6155
CUTOFF = 3.0


def boron_nitride(repeat, displacement, seed):
    """Cubic BN with every atom moved, in a cell a little out of shape."""
    atoms = bulk("BN", "zincblende", a=LATTICE, cubic=True).repeat(repeat)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.01, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, displacement, (len(atoms), 3))
    return atoms


def training_set(n=8):
    frames = []
    for seed in range(n):
        atoms = boron_nitride((2, 1, 1), 0.08, seed)
        atoms.calc = Calculator("tersoff_bnc")
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        frames.append((atoms, energy, forces))
    return frames


def train_mace(folder):
    """Two layers of messages; a few steps of Adam on forces."""
    import torch
    from mace import data, modules  # before e3nn, whose own files it lets torch load
    from mace.tools import AtomicNumberTable, torch_geometric

    from e3nn import o3  # isort: skip

    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    table = AtomicNumberTable([5, 7])
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block,
        interaction_cls_first=block, num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("8x0e + 8x1o"),
        MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.array([-6.0, -7.0]), avg_num_neighbors=16.0,
        atomic_numbers=[5, 7], correlation=2, gate=torch.nn.functional.silu, atomic_inter_scale=1.0,
        atomic_inter_shift=0.0)
    graphs = []
    for atoms, _, forces in training_set():
        graph = data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=CUTOFF)
        graph["forces"] = torch.tensor(forces)
        graphs.append(graph)
    batch = torch_geometric.Batch.from_data_list(graphs).to_dict()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((model(batch, training=True)["forces"] - batch["forces"]) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0], losses
    torch.save(model, folder / "small.model")
    return folder / "small.model"


def train_gap(folder):
    """Pairs and SOAP by gap_fit, which the package brings."""
    frames = []
    for atoms, energy, forces in training_set():
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(labelled, energy=energy, forces=forces)
        labelled.info["label_energy"], labelled.arrays["label_force"] = energy, forces
        labelled.calc = None
        frames.append(labelled)
    from ase.io import write

    write(folder / "train.xyz", frames, format="extxyz")
    pairs = f"distance_2b cutoff={CUTOFF} covariance_type=ard_se delta=1.0 theta_uniform=0.7 n_sparse=8 " \
            "sparse_method=uniform add_species=T"
    soap = f"soap l_max=3 n_max=4 cutoff={CUTOFF} cutoff_transition_width=0.8 atom_sigma=0.5 delta=0.5 zeta=2 " \
           "covariance_type=dot_product n_sparse=15 sparse_method=cur_points add_species=T"
    subprocess.run([Path(sys.executable).parent / "gap_fit", "at_file=train.xyz", f"gap={{{pairs} : {soap}}}",
                    "e0={B:-6.0:N:-7.0}", "default_sigma={0.01 0.2 0.0 0.0}", "energy_parameter_name=label_energy",
                    "force_parameter_name=label_force", "do_copy_at_file=F", "sparse_separate_file=F",
                    "gp_file=small.xml"], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return folder / "small.xml"


def train_deepmd(folder):
    """DeepPot-SE (se_e2_a) by ``dp train``, TensorFlow backend."""
    frames = training_set()
    data = folder / "data"
    (data / "set.000").mkdir(parents=True, exist_ok=True)
    symbols = frames[0][0].get_chemical_symbols()
    (data / "type.raw").write_text("\n".join(str("BN".index(s)) for s in symbols))
    (data / "type_map.raw").write_text("B\nN\n")
    for name, values in {"coord": [a.positions.ravel() for a, _, _ in frames],
                         "box": [a.cell.array.ravel() for a, _, _ in frames],
                         "energy": [e for _, e, _ in frames], "force": [f.ravel() for _, _, f in frames]}.items():
        np.save(data / "set.000" / f"{name}.npy", np.array(values))
    settings = {
        "model": {"type_map": ["B", "N"],
                  "descriptor": {"type": "se_e2_a", "sel": [30, 30], "rcut_smth": 2.0, "rcut": CUTOFF,
                                 "neuron": [6, 12], "axis_neuron": 4, "precision": "float64", "seed": 1},
                  "fitting_net": {"neuron": [16, 16], "precision": "float64", "seed": 1}},
        "learning_rate": {"type": "exp", "start_lr": 0.01, "stop_lr": 1e-4, "decay_steps": 50},
        "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
        "training": {"training_data": {"systems": [str(data)], "batch_size": 4}, "numb_steps": 200, "disp_freq": 100,
                     "save_freq": 200, "seed": 1},
    }
    (folder / "input.json").write_text(json.dumps(settings))
    dp = Path(sys.executable).parent / "dp"
    for arguments in (["train", "--skip-neighbor-stat", "input.json"], ["freeze", "-o", "small.pb"]):
        done = subprocess.run([dp, "--tf", *arguments], cwd=folder, check=False, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder / "small.pb"


TRAINERS = {"mace": train_mace, "gap": train_gap, "deepmd": train_deepmd}


def model_file(style):
    """Path of a small model, trained when it is first asked for; ranks call it one after another."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"hpcthermo-small-models-{version}" / style
    note = folder / "path"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # in its own process: training leaves settings behind (default precision, threads)
        subprocess.run([sys.executable, __file__, style, str(folder)], check=True, timeout=600)
    return Path(note.read_text())


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    (target / "path").write_text(str(TRAINERS[sys.argv[1]](target)))
