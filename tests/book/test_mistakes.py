"""What a learner may hand by mistake to the names of chapters 7 to 23: each is told what is wrong.

What one file alone is about, its own tests try: sizes, rates, and files that are damaged.
"""

import pytest
import torch
from torch import nn

from d2l import torch as d2l
from gradbook.errors import BatchError, ConfigError, DataError, ModelError, ShapeError

VOCAB = d2l.Vocab(list("abc"), reserved_tokens=["<pad>", "<bos>", "<eos>"])
BARE = d2l.Vocab(list("abc"))
ANCHORS = d2l.multibox_prior(torch.zeros(1, 1, 2, 2), [0.5], [1.0])  # four of them


def zeros(*shape):
    return torch.zeros(shape)


def tokens(*shape):
    return torch.zeros(shape, dtype=torch.int64)


def bert():
    return d2l.BERTModel(5, 4, 8, 2, 1, 0.0, max_len=6)


def optimizer(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


def update_G(loss):
    net_D, net_G = nn.Linear(2, 1), nn.Linear(3, 2)
    return d2l.update_G(zeros(4, 3), net_D, net_G, loss, optimizer(net_G))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: d2l.corr2d([[1.0]], zeros(1, 1)), r"X must .* \(H, W\), but it is list of 1"),
        (lambda: d2l.corr2d(zeros(3, 3), zeros(1, 2, 2)), r"K must be a tensor of shape \(h, w\)"),
        (lambda: d2l.RNNScratch(4, 3)(zeros(2, 4)), r"inputs must .* \(num_steps, batch, 4\)"),
        (lambda: d2l.RNNScratch(4, 3)(zeros(2, 5, 4), zeros(2, 3)), r"state must .* \(5, 3\)"),
        (lambda: d2l.RNN(4, 3)(zeros(2, 5, 6)), "with num_inputs=6"),
        (lambda: d2l.RNNLM(d2l.RNN(4, 3), 4)(tokens(2)), "A batch of tokens must"),
        (lambda: d2l.masked_softmax([[1.0]], None), "X must be a tensor"),
        (
            lambda: d2l.DotProductAttention(0)(zeros(1, 4), zeros(3, 4), zeros(3, 4)),
            r"queries must .* \(batch, num_queries, num_features\), but it is \(1, 4\) float32",
        ),
        (
            lambda: d2l.DotProductAttention(0)(zeros(2, 1, 4), zeros(2, 3, 5), zeros(2, 3, 4)),
            "4 and 5 features",
        ),
        (
            lambda: d2l.AdditiveAttention(8, 0)(zeros(2, 1, 4), zeros(3, 3, 4), zeros(3, 3, 4)),
            r"keys must .* \(2, num_keys, num_features\)",
        ),
        (
            lambda: d2l.MultiHeadAttention(8, 2, 0)(zeros(2, 1, 4), *[zeros(2, 3, 4)] * 2, [1, 2]),
            "valid_lens must be a tensor",
        ),
        (
            lambda: d2l.MultiHeadAttention(8, 2, 0)(zeros(2, 1, 4), zeros(2, 3, 4), zeros(2, 5, 4)),
            r"values must .* \(2, 3, num_features\)",
        ),
        (lambda: d2l.PositionalEncoding(4, 0)(zeros(2, 3, 1)), r"X must .* num_steps, 4\)"),
        (lambda: d2l.AddNorm(4, 0)(zeros(2, 3, 4), zeros(2, 1, 4)), r"one shape \(\.\.\., 4\)"),
        (lambda: d2l.AddNorm(4, 0)(zeros(2, 3, 5), zeros(2, 3, 5)), "norm_shape"),
        (
            lambda: d2l.TransformerEncoderBlock(8, 8, 2, 0)(zeros(2, 3, 8), torch.ones(3)),
            r"For queries of shape \(2, 3, 8\)",
        ),
        (lambda: bert()(tokens(3), tokens(3)), r"tokens must .* \(batch, num_steps\)"),
        (lambda: bert()(tokens(2, 3), tokens(2, 4)), r"segments must .* \(2, 3\)"),
        (
            lambda: bert()(tokens(2, 3), tokens(2, 3), None, tokens(1, 1)),
            r"pred_positions must .* \(2, k\)",
        ),
        (lambda: d2l.box_corner_to_center([1, 2, 3, 4]), "boxes must be a tensor"),
        (lambda: d2l.bbox_to_rect([1, 2, 3], "r"), r"four numbers, .* \[1, 2, 3\]"),
        (lambda: d2l.show_bboxes(d2l.plt.gca(), zeros(4)), r"`\[bbox\]`"),
        (lambda: d2l.multibox_prior(zeros(4), [0.5], [1]), r"\(\.\.\., height, width\)"),
        (lambda: d2l.box_iou(zeros(4), zeros(1, 4)), r"boxes1 must .* \(\.\.\., n, 4\)"),
        (lambda: d2l.box_iou(zeros(2, 1, 4), zeros(3, 1, 4)), "batches of boxes do not fit"),
        (lambda: d2l.assign_anchor_to_bbox(zeros(2, 4), ANCHORS), r"anchors must .* \(n, 4\)"),
        (lambda: d2l.offset_boxes(zeros(2, 4), zeros(3, 4)), "anchors and their boxes"),
        (lambda: d2l.offset_inverse(zeros(2, 4), zeros(3, 4)), "anchors and their offsets"),
        (
            lambda: d2l.multibox_detection(zeros(1, 4, 2), zeros(1, 16), ANCHORS),
            r"cls_probs must .* \(B, 1 \+ num_classes, 4\), but it is \(1, 4, 2\)",
        ),
        (lambda: d2l.multibox_detection(zeros(1, 1, 4), zeros(1, 16), ANCHORS), "background alone"),
        (
            lambda: d2l.multibox_detection(zeros(1, 2, 4), zeros(1, 12), ANCHORS),
            r"offset_preds must .* \(1, 16\)",
        ),
        (
            lambda: d2l.voc_label_indices(tokens(8, 9, 3), d2l.voc_colormap2label()),
            r"colormap must .* \(3, H, W\)",
        ),
        (
            lambda: d2l.voc_label_indices(zeros(3, 8, 9), d2l.voc_colormap2label()),
            "dtype uint8",
        ),
        (
            lambda: d2l.voc_rand_crop(zeros(3, 8, 8), zeros(3, 4, 4), 2, 2),
            r"label must .* \(\.\.\., 8, 8\)",
        ),
        (lambda: d2l.sequence_mask([[1]], torch.ones(1)), "X is list of 1"),
        (
            lambda: d2l.MaskedSoftmaxCELoss()(zeros(2, 3, 4), tokens(2, 3), torch.ones(1)),
            r"valid_len must .* \(2,\)",
        ),
    ],
)
def test_a_tensor_of_another_shape_is_told_the_right_one(call, told):
    with pytest.raises(ShapeError, match=told):
        call()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: d2l.masked_softmax(tokens(2, 2, 4), None), r"X\.float\(\)"),
        (lambda: d2l.Seq2SeqEncoder(5, 4, 4, 1)(tokens(2, 3) + 5), "numbers from 0 to 4"),
        (lambda: d2l.TransformerEncoder(5, 4, 4, 2, 1, 0)(tokens(2, 3) - 1, None), "vocab_size"),
        (lambda: d2l.TransformerEncoder(5, 4, 4, 2, 1, 0)(zeros(2, 3), None), "of integers"),
        (lambda: bert()(tokens(2, 3) + 9, tokens(2, 3)), "tokens must be numbers from 0 to 4"),
        (lambda: bert()(tokens(2, 3), tokens(2, 3) + 2), "segments must be numbers from 0 to 1"),
        (
            lambda: d2l.MaskedSoftmaxCELoss()(zeros(2, 3, 4), tokens(2, 4), torch.ones(2)),
            r"labels of shape \(2, 3\)",
        ),
        (
            lambda: d2l.MaskedSoftmaxCELoss()(zeros(2, 3, 4), tokens(2, 3) + 4, torch.ones(2)),
            "from 0 to 3, but a label is 4",
        ),
    ],
)
def test_numbers_of_another_kind_are_told_the_right_one(call, told):
    with pytest.raises(BatchError, match=told):
        call()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: d2l.Vocab(None), "tokens must be a list of tokens, but it is None"),
        (lambda: d2l.Vocab([1, 2]), "A token must be a text, but one is 1"),
        (lambda: d2l.Vocab(["a", ["b"]]), r"one is \['b'\]"),
        (lambda: d2l.Vocab(["a"], reserved_tokens=[0]), "A token must be a text, but one is 0"),
        (lambda: d2l.Vocab(["a"], min_freq="2"), "min_freq"),
        (lambda: VOCAB[3], r"`vocab\.to_tokens\(number\)`"),
        (lambda: d2l.tokenize("a text"), "lines must be a list of texts, .* but it is one text"),
        (lambda: d2l.tokenize([1]), r"lines must be a list of texts, but it is \[1\]"),
        (lambda: d2l.RNNLMScratch(nn.RNN(4, 3), 4), "'num_hiddens', as RNNScratch has it"),
        (lambda: d2l.Seq2Seq(nn.Identity(), nn.Identity(), "<pad>", 0.1), "tgt_pad"),
        (lambda: d2l.Seq2Seq(nn.Identity(), nn.Identity(), 0, -1), "lr"),
        (lambda: d2l.bleu(["il", "est"], "il est", 2), "pred_seq must be one text"),
        (lambda: d2l.DotProductAttention(1.5), "dropout=1.5"),
        (lambda: d2l.AdditiveAttention(8, -0.1), "dropout"),
        (lambda: d2l.MultiHeadAttention(8, 2, "no"), "dropout"),
        (lambda: d2l.AddNorm(4, 1), "dropout=1 leaves no unit"),
        (lambda: d2l.AddNorm("4", 0), "norm_shape"),
        (lambda: d2l.TransformerEncoder(5, "4", 4, 2, 1, 0), "num_hiddens"),
        (lambda: d2l.BERTEncoder(5, 4, 8, 2, 0, 0.0), "num_blks must .* at least 1"),
        (lambda: d2l.MaskLM(0, 8), "vocab_size"),
        (lambda: d2l.get_tokens_and_segments("it rains"), r"`tokens_a\.split\(\)`"),
        (lambda: d2l.get_tokens_and_segments(["so"], "it"), "tokens_b must be a list"),
        (lambda: d2l.train_ch11(None, None, {}, [], "5"), "feature_dim"),
        (lambda: d2l.split_batch(zeros(2), zeros(2), ["gpu"]), r"devices=\['gpu'\]"),
        (lambda: d2l.subsample(["a b", "c"], VOCAB), "sentences must .* lists of tokens, .* 'a b'"),
        (lambda: d2l.get_centers_and_contexts([1, 2], 1), "corpus must be .* lists of numbers"),
        (lambda: d2l.RandomGenerator(3), "sampling_weights"),
        (lambda: d2l.load_data_voc(2, 224), "crop_size must be the height and the width"),
        (lambda: d2l.load_data_voc(0, (2, 2)), "batch_size"),
        (lambda: d2l.voc_rand_crop(zeros(3, 8, 8), zeros(3, 8, 8), -1, 2), "height of a crop"),
        (lambda: d2l.read_voc_images(3), "voc_dir"),
        (lambda: d2l.SNLIDataset((["a"], ["b"], [1]), 5, BARE), "lacks '<pad>'"),
        (lambda: d2l.SNLIDataset((["a"], ["b"], [1]), 5, 3), "A vocabulary is needed"),
        (lambda: d2l.predict_sentiment(nn.Linear(1, 1), VOCAB, ["a"]), "sequence must be one text"),
        (lambda: d2l.predict_snli(nn.Linear(1, 1), VOCAB, "a b", ["a"]), "premise must be a list"),
        (lambda: d2l.frozen_lake("0"), "seed"),
        (lambda: d2l.preprocess_nmt(None), "text must be one text, but it is None"),
        (lambda: d2l.tokenize_nmt("a\tb", -1), "num_examples"),
        (lambda: d2l.truncate_pad("a b", 5, "<pad>"), r"`line\.split\(\)`"),
        (lambda: d2l.truncate_pad([1, 2, 3], -1, 0), "num_steps"),
        (lambda: d2l.build_array_nmt([["a"]], BARE, 4), "lacks '<pad>', '<eos>'"),
        (lambda: d2l.build_array_nmt(["ab"], VOCAB, 4), "lines must be a list of lists"),
        (lambda: d2l.load_data_nmt(2, 0), "num_steps"),
        (lambda: d2l.train_seq2seq(nn.Linear(1, 1), [], 0.1, 1, BARE, "cpu"), "lacks '<bos>'"),
        (lambda: d2l.predict_seq2seq(nn.Linear(1, 1), ["a"], VOCAB, VOCAB, 3, "cpu"), "one text"),
        (lambda: d2l.predict_seq2seq(nn.Linear(1, 1), "a", VOCAB, BARE, 3, "cpu"), "'<bos>'"),
        (lambda: update_G(nn.BCEWithLogitsLoss(reduction="none")), r"shape \(4, 1\).*\"sum\""),
    ],
)
def test_an_argument_of_another_kind_is_told_the_right_one(call, told):
    with pytest.raises(ConfigError, match=told):
        call()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: d2l.train_ch11(None, None, {}, [], 5), "no batch"),
        (lambda: d2l.train_concise_ch11(torch.optim.SGD, {"lr": 0.1}, []), "no batch"),
        (lambda: d2l.batchify([(1, [2])]), r"but this is \(1, \[2\]\)"),
        (lambda: d2l.SNLIDataset((["a", "b"], ["c"], [1]), 5), r"with \[2, 1, 1\] items"),
        (lambda: d2l.SNLIDataset(3, 5), "premises, hypotheses and labels"),
    ],
)
def test_data_that_are_none_are_told_what_they_should_be(call, told):
    with pytest.raises(DataError, match=told):
        call()


def test_an_objective_that_returns_nothing_is_told_to_return_the_error():
    tuner = d2l.HPOTuner(d2l.BasicScheduler(d2l.RandomSearcher({})), lambda: None)
    with pytest.raises(ModelError, match=r"return the validation error.* NoneType"):
        tuner.run(1)


def test_noise_words_are_drawn_also_where_a_word_was_not_counted():
    assert d2l.get_negatives([[1]], VOCAB, {"a": 1}, 2) == [[VOCAB["a"]] * 2]
