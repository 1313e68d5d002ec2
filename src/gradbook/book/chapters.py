"""The names of the book that gradbook does not carry.

Those of later chapters, with where they stand; those of earlier editions, with what to write now.
"""

import re

from gradbook.errors import NotCarriedError

#: Number and title of a chapter: the names that its code adds to the book's library.
NOT_CARRIED: dict[tuple[str, str], str] = {
    ("7", "Convolutional Neural Networks"): "corr2d init_cnn LeNet",
    ("8", "Modern Convolutional Neural Networks"): "Residual ResNeXtBlock",
    ("9", "Recurrent Neural Networks"): "TimeMachine Vocab RNNScratch RNNLMScratch RNN RNNLM",
    ("10", "Modern Recurrent Neural Networks"): (
        "GRU MTFraEng show_list_len_pair_hist Encoder Decoder EncoderDecoder init_seq2seq "
        "Seq2SeqEncoder Seq2Seq bleu"
    ),
    ("11", "Attention Mechanisms and Transformers"): (
        "show_heatmaps masked_softmax DotProductAttention AdditiveAttention AttentionDecoder "
        "MultiHeadAttention PositionalEncoding PositionWiseFFN AddNorm TransformerEncoderBlock "
        "TransformerEncoder"
    ),
    ("12", "Optimization Algorithms"): (
        "annotate train_2d show_trace_2d get_data_ch11 train_ch11 train_concise_ch11"
    ),
    ("13", "Computational Performance"): "Benchmark split_batch resnet18",
    ("14", "Computer Vision"): (
        "train_batch_ch13 train_ch13 box_corner_to_center box_center_to_corner bbox_to_rect "
        "multibox_prior show_bboxes box_iou assign_anchor_to_bbox offset_boxes multibox_target "
        "offset_inverse nms multibox_detection read_data_bananas BananasDataset "
        "load_data_bananas read_voc_images VOC_COLORMAP VOC_CLASSES voc_colormap2label "
        "voc_label_indices voc_rand_crop VOCSegDataset load_data_voc read_csv_labels copyfile "
        "reorg_train_valid reorg_test"
    ),
    ("15", "Natural Language Processing: Pretraining"): (
        "read_ptb subsample get_centers_and_contexts RandomGenerator get_negatives batchify "
        "load_data_ptb TokenEmbedding get_tokens_and_segments BERTEncoder MaskLM "
        "NextSentencePred BERTModel load_data_wiki"
    ),
    ("16", "Natural Language Processing: Applications"): (
        "read_imdb load_data_imdb predict_sentiment read_snli SNLIDataset load_data_snli "
        "predict_snli"
    ),
    ("18", "Gaussian Processes"): "rbfkernel",
    ("19", "Hyperparameter Optimization"): (
        "HPOTrainer HPOSearcher RandomSearcher HPOScheduler BasicScheduler HPOTuner "
        "hpo_objective_lenet SuccessiveHalvingScheduler"
    ),
    ("20", "Generative Adversarial Networks"): "update_D update_G",
    ("23", "Appendix: Tools for Deep Learning"): (
        "frozen_lake make_env show_value_function_progress show_Q_function_progress tokenize "
        "read_data_nmt preprocess_nmt tokenize_nmt truncate_pad build_array_nmt load_data_nmt "
        "sequence_mask MaskedSoftmaxCELoss train_seq2seq predict_seq2seq"
    ),
}

_FIT = "`d2l.Trainer(max_epochs=10).fit(model, data)`"
_LOOP = (
    f"This edition trains with {_FIT}; `d2l.train_ch6(net, train_iter, test_iter, num_epochs, lr, "
    f"device)` still trains a network that comes without such a model"
)
_CLASS = "Its place has been taken by a class of chapter {}, which gradbook does not carry yet"
_ANSWERS = {
    _LOOP: "train_ch3 train_epoch_ch3 train_ch5 train_ch7",
    "This edition predicts with `d2l.Trainer(1).predict(model, data)`": "predict_ch3",
    "Write `d2l.evaluate_accuracy_gpu(net, data_iter)`, which works on a CPU too, or "
    "`d2l.Trainer(1).validate(model, data)`": "evaluate_accuracy",
    "Write `d2l.evaluate_accuracy_gpu(net, data_iter)`": "evaluate_accuracy_gpus",
    _CLASS.format("9 (Recurrent Neural Networks)"): (
        "train_ch8 train_epoch_ch8 train_ch9 train_epoch_ch9 predict_ch8 predict_ch9 RNNModel "
        "RNNModelScratch read_time_machine load_corpus_time_machine load_data_time_machine "
        "count_corpus SeqDataLoader seq_data_iter_random seq_data_iter_sequential "
        "seq_data_iter_consecutive"
    ),
    _CLASS.format("11 (Attention Mechanisms and Transformers)"): (
        "EncoderBlock DecoderBlock transpose_qkv transpose_output"
    ),
    "Chapter 10 has Seq2Seq, not carried yet": "train_s2s_ch9 predict_s2s_ch9",
    "Write `d2l.download(name)` for each of `d2l.DATA_HUB`": "download_all",
    "Write `os.makedirs(path, exist_ok=True)`": "mkdir_if_not_exist",
    'Write `d2l.plot(x, y, yscale="log")`': "semilogy",
    "Write `d2l.show_images(images, num_rows, num_cols)`": "show_fashion_mnist",
    "You can define it in your own code, as that edition does": "data_iter FlattenLayer",
    "Chapter 14 has load_data_bananas, not carried yet": "load_data_pikachu",
}
#: What the book's earlier editions had: the names, and what to do now.
EARLIER = {name: answer for answer, names in _ANSWERS.items() for name in names.split()}


def chapter_of(name: str) -> tuple[str, str] | None:
    """Number and title of the chapter that a name not carried yet belongs to, or None."""
    for chapter, names in NOT_CARRIED.items():
        if name in names.split():
            return chapter
    return None


def not_carried(name: str) -> NotCarriedError | None:
    """The error that says where the name `name` belongs, or None if the book has no such name."""
    if chapter := chapter_of(name):
        number, title = chapter
        told = (
            f"{name!r} belongs to chapter {number} of the book ({title}). gradbook carries the "
            f"names of chapters 2 to 5, and not this one yet. You can define it in your own code "
            f"as the chapter does."
        )
    elif name in EARLIER:
        told = f"{name!r} belongs to an earlier edition of the book. {EARLIER[name]}."
    elif re.search(r"_ch\d+$", name):  # such names stand for chapters, and not for each other
        told = (
            f"{name!r} is no name that gradbook knows. A function with the number of a chapter "
            f"comes from an earlier edition of the book. {_LOOP}."
        )
    else:
        return None
    return NotCarriedError(told, name=name)
