"""The book's cells run in this process, on small data, and leave the library as it was."""

import pytest

from gradbook.datasets import fashion_mnist


@pytest.fixture(autouse=True)
def _book(undo_patches, monkeypatch, tmp_path):
    """The bundled sample of Fashion-MNIST, and no trace of methods that cells replace."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "nowhere")


@pytest.fixture
def data_256():
    """What `d2l.FashionMNIST(batch_size=256)` is in these tests: the sample."""
    with pytest.warns(fashion_mnist.SampleDataWarning):
        return fashion_mnist.FashionMNIST(batch_size=256)
