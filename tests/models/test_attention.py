import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradbook.errors import ConfigError, ShapeError
from gradbook.models.attention import (
    AdditiveAttention,
    DotProductAttention,
    MultiHeadAttention,
    PositionalEncoding,
    masked_softmax,
)


def below(valid_lens, num_keys):
    """The mask of PyTorch's own functions: True where a key counts."""
    return torch.arange(num_keys) < valid_lens[..., None]


def test_without_lengths_it_is_the_softmax():
    X = torch.randn(2, 3, 4)
    assert torch.equal(masked_softmax(X, None), X.softmax(dim=-1))


@pytest.mark.parametrize("valid_lens", [torch.tensor([1, 3]), torch.tensor([[1, 4, 2], [3, 3, 4]])])
def test_what_is_beyond_the_valid_length_has_no_weight_and_the_rest_is_a_softmax(valid_lens):
    X = torch.randn(2, 3, 4)
    weights = masked_softmax(X, valid_lens)
    lengths = valid_lens.reshape(2, -1).expand(2, 3)
    for example, queries in enumerate(lengths.tolist()):
        for query, length in enumerate(queries):
            row = weights[example, query]
            torch.testing.assert_close(row[:length], X[example, query, :length].softmax(dim=0))
            assert not row[length:].any()


def test_a_valid_length_of_0_gives_no_weights_and_no_gradient_that_is_no_number():
    X = torch.randn(2, 1, 3, requires_grad=True)
    weights = masked_softmax(X, torch.tensor([0, 2]))
    (weights * torch.randn(3)).sum().backward()
    assert not weights[0].any()
    assert not X.grad[0].any()
    assert X.grad[1].any()


def test_masking_leaves_the_scores_as_they_are():
    X = torch.randn(2, 3, 4)
    before = X.clone()
    masked_softmax(X, torch.tensor([1, 2]))
    assert torch.equal(X, before)


def test_half_precision_is_masked_too():
    weights = masked_softmax(torch.zeros(1, 1, 4, dtype=torch.float16), torch.tensor([2]))
    assert weights.tolist() == [[[0.5, 0.5, 0, 0]]]


def test_lengths_that_fit_no_scores_are_explained():
    with pytest.raises(ShapeError, match=r"valid_lens has the shape \(2,\) or \(2, 3\)"):
        masked_softmax(torch.randn(2, 3, 4), torch.tensor([1, 2, 3]))


def test_lengths_are_a_tensor():
    with pytest.raises(ShapeError, match=r"must be a tensor, but it is \[1, 2\]"):
        masked_softmax(torch.randn(2, 3, 4), [1, 2])


@pytest.mark.parametrize("valid_lens", [None, torch.tensor([2, 0]), torch.tensor([[1, 3], [5, 0]])])
def test_dot_product_attention_is_torch_s(valid_lens):
    Q, K, V = torch.randn(2, 2, 3), torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    mask = None if valid_lens is None else below(valid_lens.reshape(2, -1), 5)
    expected = F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)
    torch.testing.assert_close(DotProductAttention(0.5).eval()(Q, K, V, valid_lens), expected)


def test_additive_attention_is_its_formula():
    attention = AdditiveAttention(6, 0.0)
    Q, K, V = torch.randn(2, 2, 3), torch.randn(2, 5, 7), torch.randn(2, 5, 4)
    output = attention(Q, K, V, None)
    for example in range(2):
        for query in range(2):
            scores = [
                attention.w_v(torch.tanh(attention.W_q(Q[example, query]) + attention.W_k(key)))
                for key in K[example]
            ]
            expected = torch.cat(scores).softmax(dim=0) @ V[example]
            torch.testing.assert_close(output[example, query], expected)


def test_dropout_sets_weights_to_0_but_not_those_that_are_told():
    attention = DotProductAttention(0.5)
    output = attention(torch.zeros(1, 50, 2), torch.zeros(1, 10, 2), torch.eye(10)[None])
    assert (output == 0).any()
    assert torch.equal(attention.attention_weights, torch.full((1, 50, 10), 0.1))


@pytest.mark.parametrize("make", [lambda: DotProductAttention(0), lambda: AdditiveAttention(3, 0)])
def test_a_model_can_be_copied_after_a_step(make):
    attention = make()
    X = torch.randn(2, 3, 4, requires_grad=True)
    attention(X, X, X, torch.tensor([1, 2])).sum().backward()
    assert copy.deepcopy(attention).attention_weights.shape == (2, 3, 3)


def given_to_torch(attention, num_hiddens):
    """An `nn.MultiheadAttention` with the same weights."""
    theirs = nn.MultiheadAttention(num_hiddens, attention.num_heads, batch_first=True)
    projections = attention.W_q, attention.W_k, attention.W_v
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([project.weight for project in projections]))
        theirs.in_proj_bias.copy_(torch.cat([project.bias for project in projections]))
    theirs.out_proj.load_state_dict(attention.W_o.state_dict())
    return theirs


@pytest.mark.parametrize("valid_lens", [None, torch.tensor([3, 5]), torch.tensor([[1, 3], [5, 2]])])
def test_multi_head_attention_is_torch_s_with_the_same_weights(valid_lens):
    attention = MultiHeadAttention(12, 3, 0.5, bias=True).eval()
    Q, K = torch.randn(2, 2, 12), torch.randn(2, 5, 12)
    output = attention(Q, K, K, valid_lens)
    mask = None
    if valid_lens is not None:
        mask = ~below(valid_lens.reshape(2, -1), 5).expand(2, 2, 5).repeat_interleave(3, dim=0)
    expected, weights = given_to_torch(attention, 12)(
        Q, K, K, attn_mask=mask, average_attn_weights=False
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(attention.attention.attention_weights, weights.flatten(0, 1))


def test_queries_and_keys_may_have_other_sizes():
    attention = MultiHeadAttention(8, 2, 0.0)
    output = attention(torch.randn(2, 3, 5), torch.randn(2, 4, 6), torch.randn(2, 4, 7), None)
    assert output.shape == (2, 3, 8)
    assert attention.W_q.bias is None


def test_the_heads_are_taken_apart_and_put_together():
    attention = MultiHeadAttention(6, 3, 0.0)
    X = torch.randn(2, 4, 6)
    heads = attention.transpose_qkv(X)
    assert torch.equal(heads[4], X[1, :, 2:4])  # the second head of the second example
    assert torch.equal(attention.transpose_output(heads), X)


def test_heads_that_cannot_share_the_features_are_refused():
    with pytest.raises(ConfigError, match="num_hiddens=10 is no multiple of num_heads=4"):
        MultiHeadAttention(10, 4, 0.0)


def test_lengths_that_fit_no_batch_are_explained_within_a_model():
    X = torch.randn(2, 3, 4)
    with pytest.raises(ShapeError, match="valid_lens has the shape"):
        MultiHeadAttention(4, 2, 0.0)(X, X, X, torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("num_hiddens", [6, 5])
def test_the_positional_encoding_is_its_formula(num_hiddens):
    P = PositionalEncoding(num_hiddens, 0, max_len=20).P
    for i in range(20):
        for feature in range(num_hiddens):
            angle = i / 10000 ** (feature // 2 * 2 / num_hiddens)
            expected = math.cos(angle) if feature % 2 else math.sin(angle)
            assert P[0, i, feature].item() == pytest.approx(expected, abs=1e-5)


def test_the_positional_encoding_is_added_and_goes_with_the_model():
    encoding = PositionalEncoding(4, 0.0, max_len=10).double()
    X = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(encoding(X), X + encoding.P[:, :3])
    assert encoding.P.dtype is torch.float64
    assert not encoding.state_dict()


def test_a_sequence_that_is_too_long_is_told_how_long_it_is():
    with pytest.raises(ShapeError, match="max_len=11"):
        PositionalEncoding(4, 0.0, max_len=10)(torch.zeros(1, 11, 4))
