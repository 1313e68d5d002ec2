"""The names of the book's chapters 7 to 23, and those of its earlier editions.

Of the former, where they live; of the latter, what to write now.
"""

import re

from gradbook.errors import NotCarriedError

#: The names that the code of each later chapter adds to the book's library, by the module that
#: defines them.
_LATER: dict[str, dict[str, str]] = {
    "7 Convolutional Neural Networks": {
        "gradbook.models.convolutional": "corr2d init_cnn LeNet",
    },
    "8 Modern Convolutional Neural Networks": {
        "gradbook.models.convolutional": "Residual ResNeXtBlock",
    },
    "9 Recurrent Neural Networks": {
        "gradbook.datasets.text": "TimeMachine Vocab",
        "gradbook.models.recurrent": "RNNScratch RNNLMScratch RNN RNNLM",
    },
    "10 Modern Recurrent Neural Networks": {
        "gradbook.models.recurrent": "GRU",
        "gradbook.datasets.translation": "MTFraEng",
        "gradbook.book.figures": "show_list_len_pair_hist",
        "gradbook.models.seq2seq": (
            "Encoder Decoder EncoderDecoder init_seq2seq Seq2SeqEncoder Seq2Seq bleu"
        ),
    },
    "11 Attention Mechanisms and Transformers": {
        "gradbook.book.figures": "show_heatmaps",
        "gradbook.models.seq2seq": "AttentionDecoder",
        "gradbook.models.attention": (
            "masked_softmax DotProductAttention AdditiveAttention MultiHeadAttention "
            "PositionalEncoding"
        ),
        "gradbook.models.transformer": (
            "PositionWiseFFN AddNorm TransformerEncoderBlock TransformerEncoder"
        ),
    },
    "12 Optimization Algorithms": {
        "gradbook.book.optimization": (
            "annotate train_2d show_trace_2d get_data_ch11 train_ch11 train_concise_ch11"
        ),
    },
    "13 Computational Performance": {
        "gradbook.book.performance": "Benchmark split_batch",
        "gradbook.models.convolutional": "resnet18",
    },
    "14 Computer Vision": {
        "gradbook.book.image_training": "train_batch_ch13 train_ch13",
        "gradbook.book.boxes": (
            "box_corner_to_center box_center_to_corner bbox_to_rect multibox_prior show_bboxes "
            "box_iou assign_anchor_to_bbox offset_boxes multibox_target offset_inverse nms "
            "multibox_detection"
        ),
        "gradbook.datasets.bananas": "read_data_bananas BananasDataset load_data_bananas",
        "gradbook.datasets.voc": (
            "read_voc_images VOC_COLORMAP VOC_CLASSES voc_colormap2label voc_label_indices "
            "voc_rand_crop VOCSegDataset load_data_voc"
        ),
        "gradbook.book.kaggle": "read_csv_labels copyfile reorg_train_valid reorg_test",
    },
    "15 Natural Language Processing: Pretraining": {
        "gradbook.datasets.ptb": (
            "read_ptb subsample get_centers_and_contexts RandomGenerator get_negatives batchify "
            "load_data_ptb"
        ),
        "gradbook.datasets.embeddings": "TokenEmbedding",
        "gradbook.models.bert": (
            "get_tokens_and_segments BERTEncoder MaskLM NextSentencePred BERTModel"
        ),
        "gradbook.datasets.wikitext": "load_data_wiki",
    },
    "16 Natural Language Processing: Applications": {
        "gradbook.datasets.imdb": "read_imdb load_data_imdb",
        "gradbook.datasets.snli": "read_snli SNLIDataset load_data_snli",
        "gradbook.book.language": "predict_sentiment predict_snli",
    },
    "18 Gaussian Processes": {"gradbook.book.gaussian_processes": "rbfkernel"},
    "19 Hyperparameter Optimization": {
        "gradbook.book.hyperparameter_search": (
            "HPOTrainer HPOSearcher RandomSearcher HPOScheduler BasicScheduler HPOTuner "
            "hpo_objective_lenet SuccessiveHalvingScheduler"
        ),
    },
    "20 Generative Adversarial Networks": {"gradbook.book.adversarial": "update_D update_G"},
    "23 Appendix: Tools for Deep Learning": {
        "gradbook.book.reinforcement": (
            "frozen_lake make_env show_value_function_progress show_Q_function_progress"
        ),
        "gradbook.datasets.text": "tokenize",
        "gradbook.datasets.translation": (
            "read_data_nmt preprocess_nmt tokenize_nmt truncate_pad build_array_nmt load_data_nmt"
        ),
        "gradbook.book.seq2seq_training": (
            "sequence_mask MaskedSoftmaxCELoss train_seq2seq predict_seq2seq"
        ),
    },
}

#: Where each name of the later chapters lives.
HOMES = {
    name: home
    for modules in _LATER.values()
    for home, names in modules.items()
    for name in names.split()
}

_FIT = "`d2l.Trainer(max_epochs=10).fit(model, data)`"
_LOOP = (
    f"This edition trains with {_FIT}; `d2l.train_ch6(net, train_iter, test_iter, num_epochs, lr, "
    f"device)` still trains a network that comes without such a model"
)
_ANSWERS = {
    _LOOP: "train_ch3 train_epoch_ch3 train_ch5 train_ch7",
    "This edition predicts with `d2l.Trainer(1).predict(model, data)`": "predict_ch3",
    "Write `d2l.evaluate_accuracy_gpu(net, data_iter)`, which works on a CPU too, or "
    "`d2l.Trainer(1).validate(model, data)`": "evaluate_accuracy",
    "Write `d2l.evaluate_accuracy_gpu(net, data_iter)`": "evaluate_accuracy_gpus",
    "In chapter 9 (Recurrent Neural Networks) this edition has `data = d2l.TimeMachine(batch_size, "
    "num_steps)`, `model = d2l.RNNLM(d2l.RNN(num_inputs, num_hiddens), vocab_size, lr)`, "
    "`d2l.Trainer(max_epochs=10, gradient_clip_val=1).fit(model, data)` and `model.predict(prefix, "
    "num_preds, data.vocab)`": (
        "train_ch8 train_epoch_ch8 train_ch9 train_epoch_ch9 predict_ch8 predict_ch9 RNNModel "
        "RNNModelScratch read_time_machine load_corpus_time_machine load_data_time_machine "
        "count_corpus SeqDataLoader seq_data_iter_random seq_data_iter_sequential "
        "seq_data_iter_consecutive"
    ),
    "It is called `d2l.TransformerEncoderBlock` now": "EncoderBlock",
    "You can define it in your own code, as chapter 11 does": "DecoderBlock",
    "It is a method of `d2l.MultiHeadAttention` now": "transpose_qkv transpose_output",
    "`d2l.train_seq2seq` and `d2l.predict_seq2seq` do the same": "train_s2s_ch9 predict_s2s_ch9",
    "Write `d2l.download(name)` for each of `d2l.DATA_HUB`": "download_all",
    "Write `os.makedirs(path, exist_ok=True)`": "mkdir_if_not_exist",
    'Write `d2l.plot(x, y, yscale="log")`': "semilogy",
    "Write `d2l.show_images(images, num_rows, num_cols)`": "show_fashion_mnist",
    "You can define it in your own code, as that edition does": "data_iter FlattenLayer",
    "Write `d2l.load_data_bananas(batch_size)`": "load_data_pikachu",
}
#: What the book's earlier editions had: the names, and what to do now.
EARLIER = {name: answer for answer, names in _ANSWERS.items() for name in names.split()}


def not_carried(name: str) -> NotCarriedError | None:
    """The error that says what to write instead of `name`; None if no edition had such a name."""
    if name in EARLIER:
        told = f"{name!r} belongs to an earlier edition of the book. {EARLIER[name]}."
    elif re.search(r"_ch\d+$", name):  # such names stand for chapters, and not for each other
        told = (
            f"{name!r} is no name that gradbook knows. A function with the number of a chapter "
            f"comes from an earlier edition of the book. {_LOOP}."
        )
    else:
        return None
    return NotCarriedError(told, name=name)
