import pytest

from gradbook.display.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3599.6, "1:00:00"), (7384, "2:03:04")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_epoch_time_and_speed_are_told(trainer, clock):
    progress = Progress(trainer, clock)
    clock.now, trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx = 65, 1, 20, 4
    assert progress.texts() == ["epoch 2/4", "1:05 < 1:05", "0.308 steps/s"]
    assert progress.part() == 0.5


def test_at_the_end_the_status_stands_for_the_time_that_is_left(trainer, clock):
    progress = Progress(trainer, clock)
    clock.now, trainer.epoch, trainer.train_batch_idx = 10, 2, 30
    assert progress.texts("interrupted") == ["epoch 3/4", "interrupted", "0:10", "3 steps/s"]
    assert progress.part("interrupted") < 1
    assert progress.part("finished") == 1
