"""The names of the book's later chapters that gradbook does not carry yet, and where they stand."""

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


def chapter_of(name: str) -> tuple[str, str] | None:
    """Number and title of the chapter that a name not carried yet belongs to, or None."""
    for chapter, names in NOT_CARRIED.items():
        if name in names.split():
            return chapter
    return None


def not_carried(name: str) -> NotCarriedError | None:
    """The error that says where the name `name` belongs, or None if the book has no such name."""
    chapter = chapter_of(name)
    if chapter is None:
        return None
    number, title = chapter
    return NotCarriedError(
        f"{name!r} belongs to chapter {number} of the book ({title}). gradbook carries the names "
        f"of chapters 2 to 5, and not this one yet. You can define it in your own code as the "
        f"chapter does.",
        name=name,
    )
