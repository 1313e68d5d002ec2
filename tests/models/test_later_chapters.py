"""What every training has, resume and the instruments, with the models of the later chapters."""

import pytest
import torch
from tests.small import Data, Net
from torch import nn

import gradbook
from gradbook import Classifier, Trainer
from gradbook.models.convolutional import LeNet, Residual
from gradbook.models.recurrent import GRU, RNNLM, RecurrentLM, RNNLMScratch, RNNScratch
from gradbook.models.seq2seq import AttentionDecoder, Seq2Seq, Seq2SeqEncoder
from gradbook.models.transformer import TransformerEncoder

pytestmark = pytest.mark.slow

NUM_TOKENS, NUM_STEPS = 7, 5


class GRUDecoder(AttentionDecoder):
    """A decoder as section 10.7 has it, without its context."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(NUM_TOKENS, 6)
        self.rnn = nn.GRU(6, 6)
        self.dense = nn.Linear(6, NUM_TOKENS)

    def init_state(self, enc_all_outputs, *args):
        return enc_all_outputs

    def forward(self, X, state):
        outputs, hidden = self.rnn(self.embedding(X.T), state[1])
        return self.dense(outputs).swapaxes(0, 1), [state[0], hidden]


class Tagger(Classifier):
    """A class for each token, by a transformer's encoder."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = TransformerEncoder(NUM_TOKENS, 6, 8, 2, 1, 0.0)
        self.dense = nn.Linear(6, NUM_TOKENS)

    def forward(self, X):
        return self.dense(self.encoder(X, None))


def images():
    return Data(torch.rand(12, 1, 28, 28), torch.arange(12) % 10)


def sequences():
    tokens = torch.randint(NUM_TOKENS, (12, NUM_STEPS + 1))
    return Data(tokens[:, :-1], tokens[:, 1:])


def pairs():
    source, target = torch.randint(1, NUM_TOKENS, (2, 12, NUM_STEPS))
    lengths = torch.full((12,), NUM_STEPS)
    return Data(source, target, lengths, target.roll(-1, 1))


MODELS = {
    "lenet": (LeNet, images),
    "residual": (
        lambda: Net(Residual(2, use_1x1conv=True), nn.Flatten(), nn.LazyLinear(10)),
        images,
    ),
    "rnn-scratch": (lambda: RNNLMScratch(RNNScratch(NUM_TOKENS, 4), NUM_TOKENS, 0.5), sequences),
    "gru": (lambda: RNNLM(GRU(NUM_TOKENS, 4), NUM_TOKENS, 0.5), sequences),
    "lstm": (lambda: RecurrentLM("lstm", num_hiddens=4, vocab_size=NUM_TOKENS), sequences),
    "seq2seq": (
        lambda: Seq2Seq(Seq2SeqEncoder(NUM_TOKENS, 6, 6, 1), GRUDecoder(), tgt_pad=0, lr=0.01),
        pairs,
    ),
    "transformer": (Tagger, sequences),
}


@pytest.fixture(params=MODELS)
def made(request):
    """A model, its data, and a function that makes the like of the model anew."""
    make, data = MODELS[request.param]

    def model():
        gradbook.seed_everything(1)
        return make()

    gradbook.seed_everything(0)
    return model(), data(), model


def fit(model, data, max_epochs, **settings):
    resume = settings.pop("resume", None)
    gradbook.seed_everything(2)
    trainer = Trainer(max_epochs, display="off", **settings)
    trainer.fit(model, data, resume=resume)
    return trainer


def test_it_resumes_to_the_last_bit(made, tmp_path):
    model, data, like = made
    fit(model, data, 3)
    fit(like(), data, 2).save_checkpoint(tmp_path / "half.pt")
    resumed = like()
    fit(resumed, data, 3, resume=tmp_path / "half.pt")
    assert all(map(torch.equal, model.parameters(), resumed.parameters()))


def test_its_gradients_are_watched(made):
    model, data, _ = made
    report = fit(model, data, 1, watch="gradients").gradients
    assert len(report.to_pandas()) > 0


def test_its_summary_counts_its_parameters(made):
    model, data, _ = made
    fit(model, data, 1)  # lazy layers have their shapes then
    told = gradbook.summary(model, data)
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in str(told)


def test_its_graph_begins_with_its_parameters(made):
    model, data, _ = made
    fit(model, data, 1)
    names = {variable.name for variable in gradbook.graph(model, data).variables}
    assert {name for name, _ in model.named_parameters()} <= names


def test_its_sharpness_is_an_eigenvalue(made):
    model, data, _ = made
    fit(model, data, 1)
    found = gradbook.sharpness(model, data, max_products=5)
    assert found.num_examples == 8


@pytest.mark.parametrize(
    ("name", "parts"),
    [("lenet", {}), ("lstm", {}), ("transformer", {}), ("gru", {"rnn": GRU(NUM_TOKENS, 4)})],
)
def test_it_is_saved_and_loaded(name, parts, tmp_path):
    make, data = MODELS[name]
    model = make()
    fit(model, data(), 1).save_model(tmp_path / "model.safetensors")
    loaded = gradbook.load_model(tmp_path / "model.safetensors", type(model), **parts)
    assert all(map(torch.equal, model.state_dict().values(), loaded.state_dict().values()))
