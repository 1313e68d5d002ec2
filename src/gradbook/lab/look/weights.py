"""The first layer's weights as images: the film of a run, or what its checkpoints have."""

from collections.abc import Mapping
from typing import Any

from gradbook.errors import ConfigError, GradbookError
from gradbook.lab.look.subject import Subject
from gradbook.runs.film import Film


def film(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """The weights epoch by epoch where the run has a film, else those of its checkpoints."""
    try:
        found = Film.read(subject.folder)
    except ConfigError:  # it was not watched
        return _of_checkpoints(subject)
    return {**found.facts(), "source": "film", "labels": []}


def _of_checkpoints(subject: Subject) -> dict[str, Any]:
    """The film of the best and the last epoch, in their order."""
    from gradbook import checkpoint
    from gradbook.inspection.weight_film import film_of, first_layer_images, input_shape_of
    from gradbook.rehearsal import first_batch
    from gradbook.resume.snapshot import load_parameters

    subject.check(with_data=False)
    try:
        restored, data = subject.restored, subject.restored.data
    except ConfigError:  # its data are not to be had, and only the shape of an input is missed
        restored, data = subject.model_alone, None
    shape = None
    if data is not None:
        shape = input_shape_of(first_batch(data.train_dataloader(), [data]))
    frames = []
    kept = {name: value.clone() for name, value in restored.model.state_dict().items()}
    try:
        for which in ("best", "last"):
            try:
                path = subject.run.checkpoint_path(which)
                load_parameters(restored.model, checkpoint.load(path)["model"])
            except GradbookError as error:
                subject.warnings.append(str(error))
                continue
            epoch = subject.run.checkpoint_epoch(which) or 0
            images = first_layer_images(restored.model, shape, data)
            copied = images._replace(images=images.images.clone())
            frames.append((epoch, which, copied))
    finally:
        restored.model.load_state_dict(kept)
    if not frames:
        raise ConfigError("There is no checkpoint whose weights could be shown.")
    frames.sort(key=lambda frame: frame[0])
    found = film_of(frames[0][2], [(epoch, each.images) for epoch, _, each in frames])
    return {
        **found.facts(),
        "source": "checkpoints",
        "labels": [which for _, which, _ in frames],
    }
