"""The signatures of the names that chapters 7 to 23 add to `d2l`, as the book has them."""

import importlib
import inspect
import re

import pytest

from d2l import torch as d2l

FUNCTIONS = """
corr2d(X, K)
init_cnn(module)
check_len(a, n)
check_shape(a, shape)
show_list_len_pair_hist(legend, xlabel, ylabel, xlist, ylist)
init_seq2seq(module)
bleu(pred_seq, label_seq, k)
show_heatmaps(matrices, xlabel, ylabel, titles=None, figsize=(2.5, 2.5), cmap='Reds')
masked_softmax(X, valid_lens)
annotate(text, xy, xytext)
train_2d(trainer, steps=20, f_grad=None)
show_trace_2d(f, results)
get_data_ch11(batch_size=10, n=1500)
train_ch11(trainer_fn, states, hyperparams, data_iter, feature_dim, num_epochs=2)
train_concise_ch11(trainer_fn, hyperparams, data_iter, num_epochs=4)
split_batch(X, y, devices)
resnet18(num_classes, in_channels=1)
train_batch_ch13(net, X, y, loss, trainer, devices)
train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices=None)
box_corner_to_center(boxes)
box_center_to_corner(boxes)
bbox_to_rect(bbox, color)
multibox_prior(data, sizes, ratios)
show_bboxes(axes, bboxes, labels=None, colors=None)
box_iou(boxes1, boxes2)
assign_anchor_to_bbox(ground_truth, anchors, device, iou_threshold=0.5)
offset_boxes(anchors, assigned_bb, eps=1e-06)
multibox_target(anchors, labels)
offset_inverse(anchors, offset_preds)
nms(boxes, scores, iou_threshold)
multibox_detection(cls_probs, offset_preds, anchors, nms_threshold=0.5, pos_threshold=0.009999999)
read_data_bananas(is_train=True)
load_data_bananas(batch_size)
read_voc_images(voc_dir, is_train=True)
voc_colormap2label()
voc_label_indices(colormap, colormap2label)
voc_rand_crop(feature, label, height, width)
load_data_voc(batch_size, crop_size)
read_csv_labels(fname)
copyfile(filename, target_dir)
reorg_train_valid(data_dir, labels, valid_ratio)
reorg_test(data_dir)
read_ptb()
subsample(sentences, vocab)
get_centers_and_contexts(corpus, max_window_size)
get_negatives(all_contexts, vocab, counter, K)
batchify(data)
load_data_ptb(batch_size, max_window_size, num_noise_words)
get_tokens_and_segments(tokens_a, tokens_b=None)
load_data_wiki(batch_size, max_len)
read_imdb(data_dir, is_train)
load_data_imdb(batch_size, num_steps=500)
predict_sentiment(net, vocab, sequence)
read_snli(data_dir, is_train)
load_data_snli(batch_size, num_steps=50)
predict_snli(net, vocab, premise, hypothesis)
rbfkernel(x1, x2, ls=4.0)
hpo_objective_lenet(learning_rate, batch_size, max_epochs=10)
update_D(X, Z, net_D, net_G, loss, trainer_D)
update_G(Z, net_D, net_G, loss, trainer_G)
frozen_lake(seed)
make_env(name='', seed=0)
show_value_function_progress(env_desc, V, pi)
show_Q_function_progress(env_desc, V_all, pi_all)
load_array(data_arrays, batch_size, is_train=True)
synthetic_data(w, b, num_examples)
sgd(params, lr, batch_size)
get_dataloader_workers()
load_data_fashion_mnist(batch_size, resize=None)
evaluate_accuracy_gpu(net, data_iter, device=None)
train_ch6(net, train_iter, test_iter, num_epochs, lr, device)
linreg(X, w, b)
squared_loss(y_hat, y)
get_fashion_mnist_labels(labels)
accuracy(y_hat, y)
download(url, folder='../data', sha1_hash=None)
extract(filename, folder=None)
download_extract(name, folder=None)
tokenize(lines, token='word')
evaluate_loss(net, data_iter, loss)
grad_clipping(net, theta)
read_data_nmt()
preprocess_nmt(text)
tokenize_nmt(text, num_examples=None)
truncate_pad(line, num_steps, padding_token)
build_array_nmt(lines, vocab, num_steps)
load_data_nmt(batch_size, num_steps, num_examples=600)
sequence_mask(X, valid_len, value=0)
train_seq2seq(net, data_iter, lr, num_epochs, tgt_vocab, device)
predict_seq2seq(net, src_sentence, src_vocab, tgt_vocab, num_steps, device, \
save_attention_weights=False)
"""

CLASSES = """
LeNet(lr=0.1, num_classes=10): d2l.Classifier
Residual(num_channels, use_1x1conv=False, strides=1): nn.Module
ResNeXtBlock(num_channels, groups, bot_mul, use_1x1conv=False, strides=1): nn.Module
TimeMachine(batch_size, num_steps, num_train=10000, num_val=5000): d2l.DataModule
Vocab(tokens=(), min_freq=0, reserved_tokens=()): object
RNNScratch(num_inputs, num_hiddens, sigma=0.01): d2l.Module
RNNLMScratch(rnn, vocab_size, lr=0.01): d2l.Classifier
RNN(num_inputs, num_hiddens): d2l.Module
RNNLM(rnn, vocab_size, lr=0.01): d2l.RNNLMScratch
GRU(num_inputs, num_hiddens, num_layers, dropout=0): d2l.RNN
MTFraEng(batch_size, num_steps=9, num_train=512, num_val=128): d2l.DataModule
Encoder(): nn.Module
Decoder(): nn.Module
EncoderDecoder(encoder, decoder): d2l.Classifier
Seq2SeqEncoder(vocab_size, embed_size, num_hiddens, num_layers, dropout=0): d2l.Encoder
Seq2Seq(encoder, decoder, tgt_pad, lr): d2l.EncoderDecoder
DotProductAttention(dropout): nn.Module
AdditiveAttention(num_hiddens, dropout, **kwargs): nn.Module
AttentionDecoder(): d2l.Decoder
MultiHeadAttention(num_hiddens, num_heads, dropout, bias=False, **kwargs): d2l.Module
PositionalEncoding(num_hiddens, dropout, max_len=1000): nn.Module
PositionWiseFFN(ffn_num_hiddens, ffn_num_outputs): nn.Module
AddNorm(norm_shape, dropout): nn.Module
TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout, use_bias=False): nn.Module
TransformerEncoder(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, \
use_bias=False): d2l.Encoder
Timer(): object
Benchmark(description='Done'): object
BananasDataset(is_train): torch.utils.data.Dataset
VOCSegDataset(is_train, crop_size, voc_dir): torch.utils.data.Dataset
RandomGenerator(sampling_weights): object
TokenEmbedding(embedding_name): object
BERTEncoder(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len=1000, \
**kwargs): nn.Module
MaskLM(vocab_size, num_hiddens, **kwargs): nn.Module
NextSentencePred(**kwargs): nn.Module
BERTModel(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len=1000): \
nn.Module
SNLIDataset(dataset, num_steps, vocab=None): torch.utils.data.Dataset
HPOTrainer(max_epochs, num_gpus=0, gradient_clip_val=0): d2l.Trainer
HPOSearcher(): d2l.HyperParameters
RandomSearcher(config_space, initial_config=None): d2l.HPOSearcher
HPOScheduler(): d2l.HyperParameters
BasicScheduler(searcher): d2l.HPOScheduler
HPOTuner(scheduler, objective): d2l.HyperParameters
SuccessiveHalvingScheduler(searcher, eta, r_min, r_max, prefact=1): d2l.HPOScheduler
Animator(xlabel=None, ylabel=None, legend=None, xlim=None, ylim=None, xscale='linear', \
yscale='linear', fmts=('-', 'm--', 'g-.', 'r:'), nrows=1, ncols=1, figsize=(3.5, 2.5)): object
Accumulator(n): object
MaskedSoftmaxCELoss(weight=None, size_average=None, ignore_index=-100, reduce=None, \
reduction='mean', label_smoothing=0.0): nn.CrossEntropyLoss
"""

# What the book demands may be left out here: calls of the book mean the same.
OPTIONAL = {("assign_anchor_to_bbox", "device"): None, ("GRU", "num_layers"): 1}
# Classes without an `__init__` of their own.
PLAIN = ("Encoder", "Decoder", "AttentionDecoder", "HPOSearcher", "HPOScheduler")


def told(name):
    """The parameters of what a name stands for, without annotations.

    Left out is what only keywords can give: the book's calls cannot meet it.
    """
    called = getattr(d2l, name)
    parameters = list(inspect.signature(called).parameters.values())
    if name in PLAIN:
        assert "__init__" not in vars(called)
        return "()"
    kept = []
    for param in parameters:
        if param.kind is param.KEYWORD_ONLY:
            assert param.default is not param.empty, f"{name} demands {param.name}"
            continue
        if (name, param.name) in OPTIONAL:
            assert param.default == OPTIONAL[name, param.name]
            param = param.replace(default=param.empty)
        kept.append(param.replace(annotation=param.empty))
    return str(inspect.Signature(kept, __validate_parameters__=False))


@pytest.mark.parametrize(
    "line", FUNCTIONS.strip().splitlines(), ids=lambda line: line.split("(")[0]
)
def test_a_function_has_the_books_parameters(line):
    name, parameters = re.fullmatch(r"(\w+)(\(.*\))", line).groups()

    assert told(name) == parameters


@pytest.mark.parametrize("line", CLASSES.strip().splitlines(), ids=lambda line: line.split("(")[0])
def test_a_class_has_the_books_parameters_and_base(line):
    name, parameters, base = re.fullmatch(r"(\w+)(\(.*\)): ([\w.]+)", line).groups()
    *place, base = base.split(".")
    module = {"d2l": "d2l.torch", "nn": "torch.nn", "": "builtins"}
    home = importlib.import_module(module.get(".".join(place), ".".join(place)))

    assert told(name) == parameters
    assert issubclass(getattr(d2l, name), getattr(home, base))
