"""Whose code it is."""

import colorsys
from pathlib import Path

import pytest
import torch

import gradbook
from gradbook.libraries import is_library


@pytest.mark.parametrize(
    "file",
    [
        colorsys.__file__,
        torch.__file__,
        gradbook.__file__,
        "<frozen importlib._bootstrap>",
        "/elsewhere/lib/python3.12/site-packages/torch/nn/linear.py",
        "/usr/lib/python3/dist-packages/yaml/nodes.py",
    ],
)
def test_the_code_of_python_of_libraries_and_of_gradbook_is_a_library_s(file):
    assert is_library(file)


@pytest.mark.parametrize(
    "file",
    [
        __file__,
        "train.py",
        "<ipython-input-1-3c5>",
        f"{Path(colorsys.__file__).parent}-of-mine/net.py",
        f"{Path(gradbook.__file__).parent}_models.py",
    ],
)
def test_a_file_beside_them_is_a_learner_s(file):
    assert not is_library(file)
