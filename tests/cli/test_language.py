"""Language models with the command: a sample of text at the end, and texts continued."""

import json

import pytest

from gradbook.cli import main
from gradbook.cli.language import continues_texts, sample_of
from gradbook.datasets.text import TimeMachine
from gradbook.models.recurrent import RecurrentLM

SMALL = ["--num-train", "100", "--num-val", "50", "--batch-size", "50", "--num-steps", "5"]


class Text(TimeMachine):
    """A short text."""

    text = "it has the quick brown fox jumps over the lazy dog " * 5

    def _download(self):
        return self.text


def test_a_sample_begins_as_the_books_and_goes_on():
    data = Text(10, 5, 20, 20)
    sample = sample_of(RecurrentLM(vocab_size=len(data.vocab)), data)
    assert sample.startswith("it has")


def test_there_is_no_sample_where_the_tokens_are_others():
    class Numbers(Text):
        text = "one two " * 20

    data = Numbers(10, 5, 20, 20)
    assert sample_of(RecurrentLM(vocab_size=len(data.vocab)), data) is None


def test_other_models_continue_no_texts():
    assert not continues_texts(object(), object())
    assert sample_of(object(), object()) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_the_command_trains_a_language_model_and_has_it_continue_texts(capsys, blank_figures):
    words = ["train", "rnn", "--data", "time-machine", *SMALL, "--max-epochs", "1", "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sample"].startswith("it has")
    assert facts["data_is_sample"]
    assert facts["final"]["val_ppl"] < 60
    assert main(["predict", "rnn-1", "catherine", "so", "--length", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["texts"]
    assert [text["beginning"] for text in told] == ["catherine", "so"]
    assert len(told[1]["text"]) == 5
