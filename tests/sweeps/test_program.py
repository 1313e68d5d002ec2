"""Functions as fixed lists of operations: the same numbers, faster."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad_and_value, vmap
from torch.nn import functional as F

from gradbook.sweeps.program import Program

sizes = st.integers(1, 5)
few = settings(max_examples=15)


def assert_same_results(function, *inputs, others=()):
    """A program gives what its function gives, for its example inputs and for others."""
    program = Program(function, inputs)
    for each in (inputs, *others):
        kept = [tensor.clone() for tensor in each]
        expected = function(*each)
        results = program(*each)
        assert len(results) == len(expected)
        for one, other in zip(expected, results, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
        for one, other in zip(kept, each, strict=True):
            assert torch.equal(one, other)  # no input is changed
    return program


def like(*tensors):
    return [torch.randn_like(tensor) for tensor in tensors]


def softmax_loss(W, b, X, y):
    return F.cross_entropy(X @ W + b, y)


@pytest.mark.slow
@few
@given(k=sizes, n=sizes, m=sizes, c=st.integers(2, 5), is_shared=st.booleans())
def test_the_gradients_of_many_models_are_those_of_the_function(k, n, m, c, is_shared):
    W, b = torch.randn(k, m, c), torch.randn(k, c)
    X = torch.randn(n, m) if is_shared else torch.randn(k, n, m)
    y = torch.randint(c, (n,) if is_shared else (k, n))
    places = (0, 0, None, None) if is_shared else 0

    def function(*tensors):
        (dW, db), loss = vmap(grad_and_value(softmax_loss, (0, 1)), places)(*tensors)
        return [dW, db, loss]

    assert_same_results(function, W, b, X, y, others=[(*like(W, b, X), y)])


@pytest.mark.slow
@few
@given(k=st.integers(2, 4), n=st.integers(1, 40), h=st.integers(1, 20))
def test_two_layers_of_any_width_keep_their_gradients(k, n, h):
    W1, W2, X = torch.randn(k, 7, h), torch.randn(k, h, 3), torch.randn(n, 7)
    y = torch.randint(3, (n,))

    def loss(W1, W2, X, y):
        return F.cross_entropy(torch.relu(X @ W1) @ W2, y)

    def function(*tensors):
        (d1, d2), value = vmap(grad_and_value(loss, (0, 1)), (0, 0, None, None))(*tensors)
        return [d1, d2, value]

    assert_same_results(function, W1, W2, X, y, others=[(*like(W1, W2, X), y)])


@pytest.mark.slow
@few
@given(n=sizes, m=sizes, p=sizes)
def test_the_layout_of_the_inputs_does_not_matter(n, m, p):
    A, B = torch.randn(3, m, n).transpose(1, 2), torch.randn(3, p, m).transpose(1, 2)
    assert_same_results(lambda A, B: [A @ B, (A @ B).softmax(-1), A.sum(1)], A, B)


def test_inputs_that_would_be_copied_are_named():
    def function(W, X):
        return list(vmap(lambda W, X: (X @ W,), (0, None))(W, X))

    program = assert_same_results(function, torch.randn(3, 6, 2), torch.randn(9, 6))
    assert program.transposed == [0]
    W = torch.randn(3, 6, 2).transpose(1, 2).contiguous().transpose(1, 2)
    assert assert_same_results(function, W, torch.randn(9, 6)).transposed == []


def test_inputs_can_be_laid_out_otherwise_without_tracing_again():
    calls = []

    def function(W, X):
        calls.append(W)
        return list(vmap(lambda W, X: (X @ W,), (0, None))(W, X))

    W, X = torch.randn(3, 6, 2), torch.randn(9, 6)
    program = Program(function, (W, X))
    num_calls, turned = len(calls), W.transpose(1, 2).contiguous().transpose(1, 2)
    program.lay_out((turned, X))
    assert program.transposed == []
    torch.testing.assert_close(program(turned, X), [X @ W])
    assert len(calls) == num_calls


def test_many_products_with_one_batch_become_one():
    function = vmap(lambda W, X: (X @ W,), (0, None))
    program = Program(lambda W, X: list(function(W, X)), (torch.randn(5, 6, 3), torch.randn(9, 6)))
    assert "bmm" not in program.source
    assert program.source.count("mm_") >= 1


def test_constants_are_computed_once_and_stay():
    X = torch.randn(4, 3)

    def function(X):
        ones = torch.ones_like(X)
        mask = torch.arange(3) > 0
        return [X + ones * 2, X.masked_fill(mask, 7.0), torch.full((3,), 2.5)]

    program = assert_same_results(function, X, others=[like(X)])
    assert "arange" not in program.source


@pytest.mark.slow
@few
@given(value=st.floats(-3, 3, allow_nan=False), n=sizes)
def test_numbers_in_a_function_keep_all_their_digits(value, n):
    assert_same_results(lambda X: [X * value, X + value / 3, X.clamp(min=value)], torch.randn(n))


def test_in_place_operations_within_a_function_are_allowed():
    def function(X):
        Y = X * 2
        Y.add_(1)
        Y[0] = 5
        return [Y.relu_(), X + Y]

    X = torch.randn(4, 3)
    assert_same_results(function, X, others=[like(X)])


def test_a_function_that_changes_its_input_is_refused():
    with pytest.raises(RuntimeError, match="in place"):
        Program(lambda X: [X.add_(1)], [torch.zeros(3)])


def test_operations_with_several_results_are_allowed():
    def function(X):
        values, places = X.max(dim=1)
        first, second = X.split([1, 2], dim=1)
        return [values, places, first * second, F.max_pool1d(X, 2)]

    X = torch.randn(4, 3)
    assert_same_results(function, X, others=[like(X)])


def test_whole_numbers_can_be_an_index():
    X, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    assert_same_results(lambda X, y: [X[range(4), y], X[y]], X, y)


def test_an_input_and_a_view_of_one_can_be_results():
    X = torch.randn(4, 3)
    assert_same_results(lambda X: [X, X.t(), X[1:], (X + 1).t()], X, others=[like(X)])


def test_equal_operations_are_done_once():
    program = assert_same_results(lambda X: [X.exp() + 1, X.exp() - 1], torch.randn(3))
    assert program.source.count("exp_operation") == 1


def test_results_are_valid_until_the_next_call():
    program = Program(lambda X: [X.exp()], [torch.zeros(2)])
    (first,) = program(torch.zeros(2))
    assert first.tolist() == [1, 1]
    (second,) = program(torch.ones(2))
    assert first is second


@pytest.mark.parametrize(
    "function",
    [
        lambda X: [X if X.sum() > 0 else -X],
        lambda X: [X * float(X[0])],
        lambda X: [X[X > 0]],
    ],
)
def test_a_function_that_looks_at_a_value_is_refused(function):
    with pytest.raises(RuntimeError, match=r"data-dependent|value|aten"):
        Program(function, [torch.ones(3)])


@pytest.mark.parametrize("function", [lambda X: [X + torch.randn(3)], lambda X: [F.dropout(X)]])
def test_a_function_that_draws_random_numbers_is_refused(function):
    with pytest.raises(RuntimeError, match="random"):
        Program(function, [torch.ones(3)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_numbers_keep_theirs(dtype):
    X = torch.randn(4, 3, dtype=dtype)
    (result,) = Program(lambda X: [(X @ X.t()).sum(0)], [X])(X)
    assert result.dtype == dtype
    torch.testing.assert_close(result, (X @ X.t()).sum(0))


def test_making_one_leaves_no_thread_and_no_random_number_drawn():
    before = torch.get_rng_state()
    Program(lambda X: [X.exp()], [torch.zeros(2)])
    assert torch.equal(torch.get_rng_state(), before)
