"""The inverse of a regularised Hessian, in whichever form is smaller.

    H = Xᵀ C X + Q + ridge I        (C diagonal, curvatures of the rows; Q optional)

- `dense`, d x d: H^-1 = FᵀF with F the inverse of H's Cholesky factor;
- `low rank`, where there are fewer rows than half the features and no Q (Woodbury):
  H^-1 = I/ridge - FᵀF with F [n, d].

It preconditions the solver, gives leverages for leaving prompts out, and is the posterior.

Along a path of penalties, where there are no more rows than features, nothing as large as [n, d] is
made for each of them (`RowsInverse`): K = X Xᵀ stays the same, and

    H^-1 = (I - Xᵀ S A^-1 S X) / ridge        with S = C^½, A = S K S + ridge I [n, n].
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# float32 Cholesky factors are good to a thousandth up to this condition number.
_MAX_SINGLE_CONDITION = 1e4
_SMALL = 96  # below this LAPACK is as fast as halving


@dataclass(frozen=True)
class Inverse:
    """H^-1, applied and measured.

    Attributes:
        factor: float32 or float64 [r, d].
        isotropic: 1/ridge for the low-rank form, 0 for the dense one.
    """

    factor: np.ndarray
    isotropic: float

    def solve(self, vector: np.ndarray) -> np.ndarray:
        """H^-1 v, float64 [d]."""
        import numpy as np

        part = self.factor.T @ (self.factor @ vector.astype(self.factor.dtype))
        part = part.astype(np.float64)
        return self.isotropic * vector - part if self.isotropic else part

    def images(self, x: np.ndarray) -> np.ndarray:
        """X Fᵀ, [n, r] in the factor's precision: what `inner` takes beside X."""
        import numpy as np

        x = x.astype(self.factor.dtype, copy=False)
        size = len(self.factor)
        if self.isotropic or size < _SMALL:
            return x @ self.factor.T
        # F is lower triangular: its first rows reach the first columns only.
        images = np.empty((len(x), size), dtype=x.dtype)
        bounds = [size * k // 4 for k in range(5)]
        for begin, end in itertools.pairwise(bounds):
            np.matmul(x[:, :end], self.factor[begin:end, :end].T, out=images[:, begin:end])
        return images

    def inner(
        self, x: np.ndarray, image_x: np.ndarray, y: np.ndarray, image_y: np.ndarray
    ) -> np.ndarray:
        """X H^-1 Yᵀ for stacks [..., m, d] and [..., k, d]: float64 [..., m, k]."""
        import numpy as np

        inner = (image_x @ image_y.swapaxes(-1, -2)).astype(np.float64)
        if not self.isotropic:
            return inner
        return self.isotropic * (x @ y.swapaxes(-1, -2)).astype(np.float64) - inner

    def spread(self, x: np.ndarray, image: np.ndarray) -> np.ndarray:
        """x_i·H^-1 x_i of every row, float64 [n]."""
        import numpy as np

        part = np.einsum("ij,ij->i", image, image).astype(np.float64)
        if not self.isotropic:
            return part
        whole = np.einsum("ij,ij->i", x, x).astype(np.float64)
        return np.maximum(self.isotropic * whole - part, 0.0)


@dataclass(frozen=True)
class RowsInverse:
    """H^-1 between the rows that it was made from.

    Attributes:
        rows: float32 [n, d], X.
        root: float [n], S.
        factor: float32 or float64 [n, n], the inverse of A's Cholesky factor.
        ridge: in H.
    """

    rows: np.ndarray
    root: np.ndarray
    factor: np.ndarray
    ridge: float

    @classmethod
    def of(
        cls, rows: np.ndarray, kernel: np.ndarray, curvature: np.ndarray, ridge: float
    ) -> RowsInverse:
        """From X float32 [n, d], K float32 [n, n] and curvatures float64 [n], all positive."""
        import numpy as np

        root = np.sqrt(curvature).astype(np.float32)
        inner = kernel * root
        inner *= root[:, None]
        inner[np.diag_indices(len(inner))] += ridge
        factor = dense_inverse(inner, ridge).factor
        return cls(rows, root, factor, ridge)

    def solve(self, vector: np.ndarray) -> np.ndarray:
        """H^-1 v, float64 [d]."""
        import numpy as np

        image = self.factor @ (self.root * (self.rows @ vector.astype(np.float32)))
        back = (self.root * (self.factor.T @ image)).astype(np.float32) @ self.rows
        return (vector - back.astype(np.float64)) / self.ridge

    def within(self, members: np.ndarray) -> np.ndarray:
        """X_g H^-1 X_gᵀ of stacks of rows int64 [G, m]: float64 [G, m, m].

        S X H^-1 Xᵀ S = I - ridge A^-1.
        """
        import numpy as np

        root = self.root.astype(np.float64)[members]  # [G, m]
        if members.shape[1] == 1:
            squares = np.einsum("ij,ij->j", self.factor, self.factor).astype(np.float64)
            inner = squares[members][:, :, None]
        else:
            parts = self.factor.T[members]  # [G, m, n]
            inner = (parts @ parts.swapaxes(-1, -2)).astype(np.float64)
        own = np.eye(members.shape[1]) - self.ridge * inner
        return own / root[:, :, None] / root[:, None, :]


def prefers_low_rank(num_rows: int, width: int) -> bool:
    """Whether Woodbury's form is the smaller one."""
    return 2 * num_rows < width


def dense_inverse(hessian: np.ndarray, ridge: float) -> Inverse:
    """The inverse of a Hessian float [d, d] whose ridge is in it already.

    In float32 where the condition number (bounded through the Frobenius norm) allows.
    """
    import numpy as np

    largest = float(np.linalg.norm(hessian))
    kind = np.float32 if largest <= _MAX_SINGLE_CONDITION * ridge else np.float64
    hessian = hessian.astype(kind, copy=False)
    return Inverse(inverse_cholesky(hessian), 0.0)


def low_rank_inverse(x: np.ndarray, curvature: np.ndarray, ridge: float) -> Inverse:
    """The inverse of Xᵀ C X + ridge I for few rows: X float64 [n, d], curvature [n]."""
    import numpy as np

    weighted = x * np.sqrt(curvature)[:, None]
    # (ridge I + AᵀA)^-1 = I/ridge - Aᵀ (ridge I + A Aᵀ)^-1 A / ridge
    inner = weighted @ weighted.T
    inner[np.diag_indices(len(x))] += ridge
    factor = inverse_cholesky(inner) @ weighted / math.sqrt(ridge)
    return Inverse(factor, 1.0 / ridge)


def inverse_cholesky(matrix: np.ndarray) -> np.ndarray:
    """L^-1 of a symmetric positive definite matrix LLᵀ, lower triangular.

    By halves, so that matrix products do nearly all of the work: several times faster than a
    factor and its inverse from LAPACK one after the other.
    """
    import numpy as np

    size = len(matrix)
    if size < _SMALL:
        return np.tril(np.linalg.inv(np.linalg.cholesky(matrix)))
    half = size // 2
    inverse = np.zeros_like(matrix)
    first = inverse_cholesky(matrix[:half, :half])
    below = matrix[half:, :half] @ first.T
    second = inverse_cholesky(matrix[half:, half:] - below @ below.T)
    inverse[:half, :half], inverse[half:, half:] = first, second
    inverse[half:, :half] = -(second @ (below @ first))
    return inverse
