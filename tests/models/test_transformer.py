import pytest
import torch
from torch import nn

from gradbook.errors import ConfigError
from gradbook.models.transformer import (
    AddNorm,
    PositionWiseFFN,
    TransformerEncoder,
    TransformerEncoderBlock,
)


def test_the_same_features_at_two_positions_give_the_same():
    output = PositionWiseFFN(4, 8)(torch.ones(2, 3, 5))
    assert output.shape == (2, 3, 8)
    torch.testing.assert_close(output[0, 0], output[1, 2])


def test_the_sum_is_normalized_over_the_features():
    X, Y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    output = AddNorm(4, 0.5).eval()(X, Y)
    torch.testing.assert_close(output, nn.functional.layer_norm(X + Y, (4,)))


def given_to_torch(block, X):
    """An `nn.TransformerEncoderLayer` with the same weights."""
    block(X, None)
    num_hiddens, num_heads = X.shape[-1], block.attention.num_heads
    num_ffn = block.ffn.dense1.out_features
    theirs = nn.TransformerEncoderLayer(num_hiddens, num_heads, num_ffn, batch_first=True).eval()
    mine = block.attention
    projections = mine.W_q, mine.W_k, mine.W_v
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([layer.weight for layer in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([layer.bias for layer in projections]))
    for ours, other in (
        (mine.W_o, theirs.self_attn.out_proj),
        (block.addnorm1.ln, theirs.norm1),
        (block.ffn.dense1, theirs.linear1),
        (block.ffn.dense2, theirs.linear2),
        (block.addnorm2.ln, theirs.norm2),
    ):
        other.load_state_dict(ours.state_dict())
    return theirs


def test_a_block_is_torch_s_encoder_layer_with_the_same_weights():
    block = TransformerEncoderBlock(12, 20, 3, 0.5, use_bias=True).eval()
    X, valid_lens = torch.randn(2, 5, 12), torch.tensor([3, 5])
    theirs = given_to_torch(block, X)
    expected = theirs(X, src_key_padding_mask=torch.arange(5) >= valid_lens[:, None])
    is_valid = torch.arange(5) < valid_lens[:, None]
    torch.testing.assert_close(block(X, valid_lens)[is_valid], expected[is_valid])


def test_the_encoder_embeds_adds_positions_and_applies_its_blocks():
    encoder = TransformerEncoder(10, 8, 16, 2, 2, 0.5).eval()
    X, valid_lens = torch.randint(10, (3, 5)), torch.tensor([2, 5, 1])
    features = encoder.embedding(X) * 8**0.5 + encoder.pos_encoding.P[:, :5]
    for block in encoder.blks:
        features = block(features, valid_lens)
    torch.testing.assert_close(encoder(X, valid_lens), features)


def test_the_encoder_keeps_what_each_block_attended_to():
    encoder = TransformerEncoder(10, 8, 16, 2, 3, 0.0)
    encoder(torch.randint(10, (4, 5)), torch.tensor([2, 5, 1, 3]))
    assert [weights.shape for weights in encoder.attention_weights] == [(8, 5, 5)] * 3
    assert not encoder.attention_weights[0][:2, :, 2:].any()


def test_padding_does_not_change_what_stands_before_it():
    encoder = TransformerEncoder(10, 8, 16, 2, 2, 0.0).eval()
    X, valid_lens = torch.randint(10, (1, 5)), torch.tensor([3])
    other = X.clone()
    other[:, 3:] = 9 - other[:, 3:]
    torch.testing.assert_close(encoder(X, valid_lens)[:, :3], encoder(other, valid_lens)[:, :3])


def test_an_encoder_without_blocks_is_refused():
    with pytest.raises(ConfigError, match="num_blks"):
        TransformerEncoder(10, 8, 16, 2, 0, 0.0)
