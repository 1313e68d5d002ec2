"""What the GPU computes; without one these tests are skipped, and no machine of CI has one."""

import copy

import pytest
import torch
from tests.small import Data

import gradbook
from gradbook import Trainer, devices
from gradbook.message import Message
from gradbook.record import Meter

pytestmark = pytest.mark.skipif(gradbook.num_gpus() == 0, reason="there is no accelerator")

MODELS = {
    "softmax": lambda: gradbook.SoftmaxRegression(3, lr=0.1),
    "softmax-scratch": lambda: gradbook.SoftmaxRegressionScratch(6, 3, lr=0.1),
    "mlp": lambda: gradbook.MLP(3, 8, lr=0.1),
    "mlp-scratch": lambda: gradbook.MLPScratch(6, 3, 8, lr=0.1),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def data():
    generator = torch.Generator().manual_seed(0)
    return Data(torch.rand(40, 6, generator=generator), torch.arange(40) % 3, num_train=30)


def train(model, max_epochs=3, num_gpus=1, resume=None, **settings):
    gradbook.seed_everything(1)  # the order of the batches
    trainer = Trainer(max_epochs, num_gpus, display="off", **settings)
    trainer.fit(model, data(), resume=resume)
    return trainer


def made(make):
    gradbook.seed_everything(0)
    model = make()
    model(torch.zeros(2, 6))  # lazy layers would draw their weights with the GPU's generator
    return model


@each_model
def test_a_training_gives_the_figures_of_the_cpu(make):
    model = made(make)
    trainers = [train(copy.deepcopy(model), num_gpus=n) for n in (0, 1)]
    for label in trainers[0].history.labels:
        torch.testing.assert_close(*(torch.tensor(t.history[label]) for t in trainers))


@each_model
def test_parameters_are_on_the_gpu(make):
    model = made(make)
    train(model)
    assert {parameter.device for parameter in model.parameters()} == {gradbook.gpu()}


@each_model
def test_a_training_resumes_to_the_last_bit(make, tmp_path, blank_figures):
    whole, half = made(make), made(make)
    train(whole, 4)
    train(half, 2, run=tmp_path)
    [folder] = [path for path in tmp_path.iterdir() if (path / "run.json").exists()]
    resumed = made(make)
    train(resumed, 4, run=tmp_path, resume=folder)
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_is_near_to_the_usual_one(precision):
    usual, mixed = (
        train(made(MODELS["mlp"]), precision=name).history["val_loss"] for name in ("32", precision)
    )
    torch.testing.assert_close(torch.tensor(usual), torch.tensor(mixed), rtol=0.02, atol=0)


def test_the_same_seed_gives_the_same_numbers_with_dropout():
    def losses():
        model = made(lambda: gradbook.MLP(3, 8, lr=0.1, dropout=0.5))
        return list(train(model, deterministic=True).history)

    assert losses() == losses()


@pytest.mark.slow
def test_a_stack_of_trainings_gives_what_each_alone_gives(tmp_path, blank_figures):
    settings = {"lr": [0.01, 0.1], "max_epochs": 2, "num_gpus": 1, "display": "off"}
    shape = {"num_inputs": 6, "num_outputs": 3, "num_hiddens": 8}
    stacked, alone = (
        gradbook.sweep(
            gradbook.MLPScratch,
            data(),
            runs=tmp_path / str(stack),
            stack=stack,
            **settings,
            **shape,
        )
        for stack in (True, False)
    )
    finals = [[m.final("val_loss") for m in sweep.members] for sweep in (stacked, alone)]
    torch.testing.assert_close(*map(torch.tensor, finals))


def test_what_instruments_measure_is_measured_on_the_gpu():
    model = made(MODELS["mlp"])
    trainer = train(model, watch="gradients", keep_best=True)
    on_gpu = gradbook.sharpness(model, data()).eigenvalue
    assert trainer.predict(model, data()).device.type == "cpu"
    assert on_gpu == pytest.approx(gradbook.sharpness(model.cpu(), data()).eigenvalue, rel=1e-3)


def test_the_gpu_s_free_memory_is_known():
    before = devices.free_bytes(gradbook.gpu())
    kept = torch.zeros(2**20, device=gradbook.gpu())
    assert before > devices.free_bytes(gradbook.gpu()) > 0
    del kept


def test_values_arrive_from_the_gpu():
    assert devices.arriving(torch.arange(3, device=gradbook.gpu()) * 2)() == [0, 2, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA says when it is waited for")
def test_what_processes_tell_each_other_is_sent_without_waiting_for_the_gpu():
    parameter = torch.zeros(2, device=gradbook.gpu(), requires_grad=True)
    parameter.grad = torch.ones_like(parameter)
    meter = Meter()
    meter.xs, meter.values = [0, 0, 0], [parameter.grad.sum(), 0.5, torch.tensor(2.0)]
    message = Message([parameter], [torch.zeros(3, device=gradbook.gpu())], 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        shares, _ = message.exchange(0.5, [True], [meter], lambda sent: sent.mul_(2))
        weight = devices.arriving(torch.stack([meter.values[0], meter.values[1]]))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert shares == 1
    assert weight() == [4, 1]
    assert parameter.grad.tolist() == [1, 1]
