import json
import zipfile

import pytest
import torch
from torch import nn

from gradbook.datasets.makers import small_bert
from gradbook.errors import ConfigError, ShapeError
from gradbook.models.bert import (
    BERTEncoder,
    BERTModel,
    MaskLM,
    NextSentencePred,
    get_tokens_and_segments,
)


def small(vocab_size=20, **kwargs):
    settings = {"num_hiddens": 8, "ffn_num_hiddens": 16, "num_heads": 2, "num_blks": 2}
    return BERTModel(vocab_size, **settings, dropout=0.0, **kwargs)


def inputs(n=2, num_steps=6, vocab_size=20):
    tokens = torch.randint(vocab_size, (n, num_steps))
    segments = (torch.arange(num_steps) >= num_steps // 2).long().expand(n, -1)
    return tokens, segments


def test_one_sentence_has_one_segment():
    assert get_tokens_and_segments(["a"]) == (["<cls>", "a", "<sep>"], [0, 0, 0])
    assert get_tokens_and_segments([], []) == (["<cls>", "<sep>", "<sep>"], [0, 0, 1])


def test_the_model_gives_representations_and_both_predictions():
    net = small()
    tokens, segments = inputs()
    positions = torch.tensor([[1, 5, 2], [0, 0, 3]])
    encoded, mlm, nsp = net(tokens, segments, torch.tensor([6, 4]), positions)
    assert encoded.shape == (2, 6, 8)
    assert mlm.shape == (2, 3, 20)
    assert nsp.shape == (2, 2)
    assert net(tokens, segments)[1] is None


def test_embeddings_of_tokens_segments_and_positions_are_added():
    encoder = BERTEncoder(20, 8, 16, 2, 1, 0.0, max_len=10)
    encoder.blks = nn.Sequential()
    tokens, segments = inputs()
    expected = (
        encoder.token_embedding.weight[tokens]
        + encoder.segment_embedding.weight[segments]
        + encoder.pos_embedding[0, :6]
    )
    assert torch.equal(encoder(tokens, segments, None), expected)


def test_the_encoder_is_that_of_pytorch():
    """With the same weights, PyTorch's own encoder layer gives the same."""
    net = small()
    tokens, segments = inputs()
    lens = torch.tensor([6, 4])
    encoded = net(tokens, segments, lens)[0]
    encoder = net.encoder
    X = BERTEncoder.forward(_without_blocks(encoder), tokens, segments)
    mask = torch.arange(6) >= lens.unsqueeze(1)
    for block in encoder.blks:
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        attention = block.attention
        projections = [attention.W_q, attention.W_k, attention.W_v]
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        layer.self_attn.out_proj.load_state_dict(attention.W_o.state_dict())
        layer.linear1.load_state_dict(block.ffn.dense1.state_dict())
        layer.linear2.load_state_dict(block.ffn.dense2.state_dict())
        layer.norm1.load_state_dict(block.addnorm1.ln.state_dict())
        layer.norm2.load_state_dict(block.addnorm2.ln.state_dict())
        X = layer(X, src_key_padding_mask=mask)
    for row, length in enumerate(lens.tolist()):
        torch.testing.assert_close(encoded[row, :length], X[row, :length])


def _without_blocks(encoder):
    bare = BERTEncoder(20, 8, 16, 2, 1, 0.0)
    bare.blks = nn.Sequential()
    bare.token_embedding, bare.segment_embedding = (
        encoder.token_embedding,
        encoder.segment_embedding,
    )
    bare.pos_embedding = encoder.pos_embedding
    return bare


def test_padding_changes_nothing():
    net = small()
    tokens, segments = inputs(1)
    encoded = net(tokens, segments, torch.tensor([4.0]))[0]
    other = tokens.clone()
    other[:, 4:] = 0
    again = net(other, segments, torch.tensor([4.0]))[0]
    torch.testing.assert_close(encoded[:, :4], again[:, :4])


def test_masked_words_are_predicted_from_their_own_representations():
    mlm, X = MaskLM(20, 8), torch.randn(2, 6, 8)
    positions = torch.tensor([[0, 2, 1], [5, 4, 3]])
    out = mlm(X, positions)
    torch.testing.assert_close(out[1, 0], mlm.mlp(X[1, 5]))
    torch.testing.assert_close(out[0, 2], mlm.mlp(X[0, 1]))


def test_the_next_sentence_is_predicted_from_the_first_token():
    net = small()
    tokens, segments = inputs()
    encoded, _, nsp = net(tokens, segments)
    torch.testing.assert_close(nsp, net.nsp(net.hidden(encoded[:, 0, :])))
    assert NextSentencePred()(torch.randn(3, 5)).shape == (3, 2)


def test_a_sequence_that_is_too_long_is_refused():
    with pytest.raises(ShapeError, match="max_len=5"):
        small(max_len=5)(*inputs())


def test_sizes_are_checked():
    with pytest.raises(ConfigError, match="vocab_size"):
        small(0)


def test_parameters_can_be_saved_and_loaded(tmp_path):
    net = small()
    tokens, segments = inputs()
    positions = torch.zeros(2, 1, dtype=torch.int64)
    out = net(tokens, segments, None, positions)
    torch.save(net.state_dict(), tmp_path / "bert.params")
    other = small()
    other.load_state_dict(torch.load(tmp_path / "bert.params"))
    for one, two in zip(out, other(tokens, segments, None, positions), strict=True):
        assert torch.equal(one, two)


def test_the_stand_in_of_the_small_bert_is_loaded_as_the_book_does(monkeypatch, tmp_path):
    made = ["good", "bad"], torch.randn(2, 256).double().numpy()
    monkeypatch.setattr(small_bert, "word_vectors", lambda num_dims: made)
    small_bert.write_bert_small(tmp_path / "made.zip")
    zipfile.ZipFile(tmp_path / "made.zip").extractall(tmp_path)
    vocab = json.loads((tmp_path / "bert.small.torch/vocab.json").read_text())
    assert {"<pad>", "<mask>", "<cls>", "<sep>", "<unk>", "good"} <= set(vocab)
    net = BERTModel(len(vocab), 256, 512, 4, 2, 0.2, 512)
    net.load_state_dict(torch.load(tmp_path / "bert.small.torch/pretrained.params"))
    weight = net.encoder.token_embedding.weight[vocab.index("good")]
    torch.testing.assert_close(weight.detach(), torch.tensor(made[1][0] * 8).float())


@pytest.mark.slow
def test_bert_learns_more_than_how_frequent_words_are():
    """Its loss falls below the entropy of single words: it uses those around them."""
    torch.manual_seed(0)
    vocab_size, num_steps, mask = 33, 12, 32
    begin = torch.randint(32, (2000, 1))
    tokens = (begin + 3 * torch.arange(num_steps)) % 32  # each word tells the next
    net = BERTModel(vocab_size, 32, 64, 2, 2, 0.0, num_steps)
    segments = torch.zeros(1, num_steps, dtype=torch.int64)
    net(tokens[:1], segments, None, torch.zeros(1, 1, dtype=torch.int64))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        rows = tokens[torch.randint(2000, (64,))]
        positions = torch.rand(64, num_steps).argsort(1)[:, :2]
        labels = rows.gather(1, positions)
        shown = rows.scatter(1, positions, mask)
        scores = net(shown, segments.expand(64, -1), None, positions)[1]
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    entropy = torch.log(torch.tensor(32.0))  # all words are equally frequent
    assert sum(losses[-20:]) / 20 < 0.5 * entropy
