"""Drawn digits: always the same, and such that a model can tell them."""

import numpy as np

from gradbook.datasets.makers.digits import digits


def test_a_seed_gives_the_same_digits_whatever_seed_is_set_elsewhere():
    np.random.seed(1)
    first, labels = digits(0, 30)
    np.random.seed(2)
    again, same = digits(0, 30)
    assert np.array_equal(first, again)
    assert np.array_equal(labels, same)
    assert not np.array_equal(first, digits(1, 30)[0])


def test_there_are_as_many_of_each_in_random_order():
    images, labels = digits(0, 100)
    assert (images.shape, images.dtype, labels.dtype) == ((100, 28, 28), np.uint8, np.int64)
    assert np.bincount(labels).tolist() == [10] * 10
    assert not np.array_equal(labels, np.sort(labels))


def test_a_digit_is_white_on_black_and_does_not_reach_the_border():
    images, _ = digits(0, 200)
    assert (images.max(axis=(1, 2)) == 255).all()
    assert 0.05 < images.mean() / 255 < 0.25
    border = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    assert (border > 0).mean() < 0.01


def test_no_two_images_of_a_digit_are_alike():
    images, labels = digits(0, 100)
    eights = images[labels == 8].reshape(10, -1)
    assert len(np.unique(eights, axis=0)) == 10


def test_a_naive_bayes_classifier_tells_most_digits():
    train, labels = digits(1, 1000)
    X, y = digits(0, 200)
    on = np.stack([(train[labels == digit] > 127).mean(0) for digit in range(10)])
    on = np.clip(on, 0.01, 0.99).reshape(10, -1)
    pixels = (X > 127).reshape(200, -1)
    scores = pixels @ np.log(on).T + (1 - pixels) @ np.log(1 - on).T
    assert (scores.argmax(1) == y).mean() > 0.8
