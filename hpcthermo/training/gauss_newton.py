"""The Gauss-Newton matrix of the loss as the inverse of L-BFGS's first Hessian.

    M = 2 (J^T J + l2 + mu (diag + 1e-4 mean diag)),    J = d(error)/d(theta) times the root of its weight in the loss

Where errors are small M is close to the Hessian. Of a structure's forces a random part of the rows is taken, with
weights that make J^T J right on average; energies and virials all. A row costs one backward pass of its structure.

| symbol | field          |                                                                  |
|--------|----------------|------------------------------------------------------------------|
| mu     | damping        | relative to the diagonal; also what a sample of rows leaves open |
| l2     | loss.l2        | regularisation                                                   |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky
from scipy.linalg.blas import strsv

from hpcthermo.training.loss import Loss
from hpcthermo.transport.bte.linear_algebra import one_thread

_TINY = 1e-200
#: rows that are in memory at the same time
_ROWS_TOGETHER = 2048
_GOLDEN_RATIO = 0.6180339887498949
#: of a core in the time of one atom's gradient; AVX2, float32
_OPERATIONS_OF_GRADIENT, _NUMBERS_OF_GRADIENT = 1e5, 5e3
#: range of rows_per_parameter, and what may be spent on more than the fewest
_ROWS_PER_PARAMETER, _EPOCHS_OF_ROWS = (1.0, 3.0), 60.0


@dataclass(frozen=True)
class GaussNewtonSettings:
    """How the matrix is made.

    Attributes
    ----------
    damping : float
        mu.
    rows_per_parameter : float or None
        Rows of forces in all, divided by the number of parameters; at most all of them. None: 1 to 3, by what a matrix
        costs beside an iteration.
    """

    damping: float = 5e-3
    rows_per_parameter: float | None = None


def rows_per_parameter(loss: Loss, settings: GaussNewtonSettings) -> float:
    """As stated; or as many, from 1 to 3, as make a matrix cost `_EPOCHS_OF_ROWS` gradients at most."""
    if settings.rows_per_parameter is not None:
        return settings.rows_per_parameter
    fewest, most = (cost_in_epochs(loss, rows) for rows in _ROWS_PER_PARAMETER)
    low, high = _ROWS_PER_PARAMETER
    return float(np.clip(low + (high - low) * (_EPOCHS_OF_ROWS - fewest) / max(most - fewest, 1e-9), low, high))


def cost_in_epochs(loss: Loss, per_parameter: float) -> float:
    """Time of a matrix, in iterations of L-BFGS, by counting operations; so runs can be repeated.

    A row of a structure costs half a gradient of it; besides R rows of n columns R n^2 operations and n^3/3 for the
    factor. An iteration is a gradient of the whole set and a product with M^-1, which reads n^2 numbers. In the time of
    an atom's gradient a core does `_OPERATIONS_OF_GRADIENT`, or reads `_NUMBERS_OF_GRADIENT`.
    """
    sizes, known = loss.structures.sizes, loss.terms.structures > 0.0
    n, n_atoms = loss.form.n_parameters, int(sizes.sum())
    components = 3 * int(sizes[known[:, 1]].sum())
    rows = min(components, per_parameter * n) + known[:, 0].sum() + 6 * known[:, 2].sum()
    atoms = (rows / max(components, 1) * 3 * (sizes[known[:, 1]] ** 2).sum()) if components else rows * sizes.mean()
    matrix = 0.5 * atoms + (rows * n**2 + n**3 / 3) / _OPERATIONS_OF_GRADIENT
    return float(matrix / (n_atoms + n**2 / _NUMBERS_OF_GRADIENT))


class GaussNewton:
    """M^-1 at one theta, for vectors.

    Parameters
    ----------
    loss : Loss
    theta : (n_parameters,) float64
    settings : GaussNewtonSettings
    seed : int
        Of the choice of rows.
    """

    def __init__(self, loss: Loss, theta: np.ndarray, settings: GaussNewtonSettings, seed: int) -> None:
        self._settings = settings
        self._order = np.append(loss.form.kernel_places()[0], loss.form.bias_place)
        self._gram = gram_matrix(loss, theta, settings, seed)
        self.regularise(loss.l2)

    def regularise(self, l2: float) -> None:
        """Factorise M with this l2."""
        diagonal = self._gram.diagonal().astype(np.float64)
        damping = self._settings.damping
        while True:
            added = l2 + damping * (diagonal + 1e-4 * diagonal.mean())
            # a diagonal of 1 keeps what float32 rounds small; nothing may depend on a number, and l2 be 0
            scale = 1.0 / np.sqrt(np.maximum(2.0 * (diagonal + added), _TINY))
            matrix = 2.0 * scale[:, None] * self._gram * scale
            matrix[np.diag_indices_from(matrix)] = 1.0
            try:
                with one_thread():
                    factor = cholesky(matrix, lower=False, overwrite_a=True, check_finite=False)
            except LinAlgError:
                damping *= 10.0  # the matrix is a float32 sum, whose smallest eigenvalues may be rounded below 0
                continue
            break
        self._factor, self._scale = np.asfortranarray(factor, dtype=np.float32), scale

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """M^-1 v, (n_parameters,) float64."""
        scaled = (self._scale * vector[self._order]).astype(np.float32)
        with one_thread():
            half = strsv(self._factor, scaled, trans=1, overwrite_x=True)
            whole = strsv(self._factor, half, overwrite_x=True)
        result = np.empty_like(vector)
        result[self._order] = self._scale * whole
        return result


def gram_matrix(loss: Loss, theta: np.ndarray, settings: GaussNewtonSettings, seed: int) -> np.ndarray:
    """J^T J in the order of the kernels with b1 last, (n, n) float32."""
    partition = loss.set.partition
    # neighbouring parts belong to one rank: parts that are far apart come together
    order = np.argsort(np.arange(partition.n_parts) * _GOLDEN_RATIO % 1.0, kind="stable")
    sizes, of_forces = loss.structures.sizes, loss.terms.structures[:, 1] > 0.0
    share = min(1.0, rows_per_parameter(loss, settings) * loss.form.n_parameters / max(1, 3 * sizes[of_forces].sum()))
    groups: list[dict[int, tuple[np.ndarray, np.ndarray]]] = [{}]
    for part in order.tolist():
        requests = _requests(loss, range(*partition.parts[part : part + 2]), share, seed)
        rows = sum(len(weights) for _, weights in groups[-1].values())
        if rows and rows + len(requests[1]) > _ROWS_TOGETHER:
            groups.append({})
        groups[-1][part] = requests
    return loss.set.gram(theta, loss.scaler, groups)


def _requests(loss: Loss, structures: range, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some structures as the kernel takes them, with a share of the forces, and the roots of their weights."""
    sizes, first_atoms = loss.structures.sizes, loss.structures.first_atoms
    known = np.maximum(loss.terms.structures, 0.0)
    requests: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for s in structures:
        a, b, c = known[s]
        n = 3 * int(sizes[s])
        what = [np.zeros(int(a > 0.0), dtype=np.int64)]
        root = [np.full(len(what[0]), np.sqrt(a))]
        if b > 0.0:
            count = max(1, round(share * n))
            chosen = np.sort(np.random.default_rng([seed, s]).choice(n, count, replace=False))
            tau = loss.terms.atoms[first_atoms[s] + chosen // 3]
            what.append(1 + chosen)
            root.append(np.sqrt(b * tau * n / count))
        if c > 0.0:
            what.append(-1 - np.arange(6))
            root.append(np.full(6, np.sqrt(c)))
        rows = np.concatenate(what)
        requests.append(np.stack([np.full(len(rows), s), rows], axis=1))
        weights.append(np.concatenate(root))
    return np.concatenate(requests).astype(np.int32), np.concatenate(weights).astype(np.float32)
