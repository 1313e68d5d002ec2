"""The Lanczos method on matrices whose eigenvalues are known."""

import numpy as np
import pytest
import torch

from gradbook.experiments.lanczos import largest_eigenpair


def matrix_of(values):
    Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((len(values), len(values))))
    return torch.from_numpy(Q @ np.diag(values) @ Q.T)


def start_for(A):
    return torch.randn(len(A), dtype=A.dtype, generator=torch.Generator().manual_seed(1))


def test_the_largest_is_found_beside_a_larger_negative_one():
    A = matrix_of([-50.0, *np.linspace(0, 1, 60), 3.0])
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-6, 60)
    assert found.value == pytest.approx(3, rel=1e-9)
    assert torch.linalg.norm(A @ found.vector - 3 * found.vector) < 1e-5


def test_the_residual_bounds_the_error_when_products_run_out():
    A = matrix_of(np.linspace(0, 1, 200))
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-9, 12)
    assert not found.converged
    assert found.num_products == 12
    assert 0 < 1 - found.value <= found.residual
    residual = torch.linalg.norm(A @ found.vector - found.value * found.vector).item()
    assert found.residual == pytest.approx(residual, rel=1e-6)


def test_a_short_memory_starts_anew_and_arrives(monkeypatch):
    A = matrix_of([*np.linspace(0, 1, 100), 2.0])
    monkeypatch.setattr("gradbook.experiments.lanczos._BASIS_NUMBERS", 5 * len(A))
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-4, 200)
    assert found.converged
    assert found.value == pytest.approx(2, rel=1e-4)


def test_the_smallest_is_found_by_the_same_products():
    A = matrix_of([-2.0, *np.linspace(0, 1, 60), 3.0])
    found = largest_eigenpair(
        lambda v: A @ v, start_for(A), 1e-3, 60, lowest_tolerance=1e-3, lowest_products=60
    )
    assert found.lowest == pytest.approx(-2, rel=1e-6)
    assert found.lowest_residual <= 2e-3
    assert found.num_products < 30


def test_of_the_smallest_there_is_a_bound_whenever_it_ends():
    values = np.linspace(-1, 1, 300)
    A = matrix_of(values)
    for num_products in (1, 2, 5, 20):
        found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-9, num_products)
        assert found.lowest >= -1
        nearest = np.abs(values - found.lowest).min()
        assert nearest <= found.lowest_residual


def test_a_short_memory_keeps_the_bound_of_the_smallest(monkeypatch):
    A = matrix_of([-5.0, *np.linspace(0, 1, 100), 2.0])
    monkeypatch.setattr("gradbook.experiments.lanczos._BASIS_NUMBERS", 5 * len(A))
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-4, 200)
    assert found.value == pytest.approx(2, rel=1e-4)
    assert -5 <= found.lowest < -3
