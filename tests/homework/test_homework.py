"""A learner's whole notebook runs unchanged, in the four places where Python code is run."""

import pytest
from sections import SECTIONS, WAYS, cells, in_kernel, in_script

pytestmark = pytest.mark.slow


def test_all_sections_are_there():
    expected = "2.1 2.2 2.3 2.5 3.1 3.2 3.4 4.2 4.3 4.4 5.1 5.2 5.3"
    assert " ".join(SECTIONS) == expected


@pytest.mark.parametrize("way", WAYS)
def test_whole_notebook_in_order(way):
    output = way(cells(*SECTIONS))
    assert 'Class attribute "b" is 1' in output
    assert "error in estimating w" in output
    if way is in_kernel:
        assert output.count("<image/") >= 9  # the plots, the boards and the images


@pytest.mark.parametrize("section", ["3.1", "3.2", "3.4", "4.2", "4.3", "4.4", "5.1", "5.2"])
def test_section_alone(section):
    in_script(cells(section))


@pytest.mark.parametrize("section", ["3.4", "4.2"])
def test_section_alone_in_kernel(section):
    in_kernel(cells(section))


def test_own_data_set_of_4_2_trains_a_model_of_the_library():
    train = """\
trainer = d2l.Trainer(max_epochs=1)
trainer.fit(d2l.SoftmaxRegression(num_outputs=10, lr=0.1), data)
assert trainer.history[-1]['val_acc'] > 0.5
"""
    in_script([*cells("4.2"), train])
