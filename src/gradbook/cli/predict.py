"""`gradbook predict`: classify images, or continue texts, with a trained model."""

from typing import Any

from gradbook.cli.language import LENGTH, continues_texts
from gradbook.cli.options import Parser, add_number
from gradbook.cli.outcome import Outcome
from gradbook.cli.restored import add_run_options, checkpoint_facts, restore
from gradbook.cli.texts import checkpoint_text
from gradbook.errors import ConfigError, DataError, GradbookWarning, warn
from gradbook.runs.restored import Restored

#: How many classes are told for each image.
NUM_BEST = 3


def run(arguments: list[str]) -> Outcome:
    """Classifies each image; one that cannot be read does not keep the others from it.

    With a language model, continues each text.
    """
    parser = Parser("predict", "Classifies images, or continues texts, with a trained model.")
    add_run_options(parser)
    told = "a PNG or JPEG file; for a language model, the beginning of a text"
    parser.add_argument("images", metavar="IMAGE", nargs="+", help=told)
    told = "invert the images, for dark figures on a bright background"
    parser.add_argument("--invert", action="store_true", help=told)
    told = "the characters, or other tokens, to add to a text"
    add_number(parser, "--length", int, told, default=LENGTH)
    asked = parser.read_all(arguments)
    restored = restore(asked)
    if continues_texts(restored.model, restored.data):
        return _continued(restored, asked.images, asked.length)
    results = classify(restored, asked.images, asked.invert)
    errors = [result["error"] for result in results if "error" in result]
    facts = {**checkpoint_facts(restored), "images": results}
    error = DataError("\nerror: ".join(errors)) if errors else None
    lines = describe(results)
    if lines:
        lines = [checkpoint_text(restored.run, restored.checkpoint.stem), "", *lines]
    return Outcome(facts, "\n".join(lines), error=error)


def _continued(restored: Restored, beginnings: list[str], length: int) -> Outcome:
    """Each text with what the language model adds to it."""
    model, vocab = restored.model, restored.data.vocab
    texts = [model.predict(beginning, length, vocab) for beginning in beginnings]
    told = [{"beginning": a, "text": b} for a, b in zip(beginnings, texts, strict=True)]
    head = checkpoint_text(restored.run, restored.checkpoint.stem)
    facts = {**checkpoint_facts(restored), "texts": told}
    return Outcome(facts, "\n".join([head, "", *texts]))


def classify(restored: Restored, paths: list[str], invert: bool) -> list[dict[str, Any]]:
    """The best classes of each image, or what is wrong with its file.

    Raises:
        ConfigError: If the run's model does not classify images.
    """
    import torch

    from gradbook.checks import at_rest
    from gradbook.devices import device_of
    from gradbook.inspection import classification, images
    from gradbook.inspection.predictions import batches_and_outputs

    model, data = restored.model, restored.data
    batch, Y_hat = next(batches_and_outputs(model, data, train=True))
    if not classification.classifies(model, batch, Y_hat) or Y_hat.dim() != 2:
        raise ConfigError(
            f"{restored.run.name} is no classifier of images: its model "
            f"{type(model).__name__} is a regression. Name the run of a classifier."
        )
    try:
        known = images.first_images(data)
    except DataError as error:
        raise ConfigError(f"{restored.run.name} does not classify images. {error}") from None
    shape, border = images.shape_of(known), images.border_brightness(known)
    # Asked of a whole batch, because one row of logits may look like probabilities.
    are_probabilities = classification.gives_probabilities(Y_hat)
    names = classification.class_names(data, Y_hat.shape[1])
    results: list[dict[str, Any]] = []
    for path in paths:
        try:
            X = images.read_as_input(path, shape, invert)
        except DataError as error:
            results.append({"file": path, "error": str(error)})
            continue
        inverted = images.looks_inverted(X, border)
        if inverted:
            own = images.border_brightness(X)
            warn(
                f"{path} has a border of brightness {own:.2f}, but those of the training images "
                f"have {border:.2f}: bright and dark seem to be exchanged. "
                f"It is classified as it is; {'do without' if invert else 'try'} --invert.",
                GradbookWarning,
            )
        with at_rest(model):
            y_hat = model(X.reshape(1, *batch[0].shape[1:]).to(device_of(model)))
        best = classification.probabilities(model, y_hat, are_probabilities)[0].cpu().float()
        top = map(torch.Tensor.tolist, torch.topk(best, min(NUM_BEST, len(best))))
        classes = [
            {"class": label, "name": names[label], "probability": probability}
            for probability, label in zip(*top, strict=True)
        ]
        results.append({"file": path, "looks_inverted": inverted, "classes": classes})
    return results


def describe(results: list[dict[str, Any]]) -> list[str]:
    """A line for each image that was classified."""
    done = [result for result in results if "classes" in result]
    if not done:
        return []
    rows = [
        [result["file"], *(f"{c['name']} {c['probability']:.2f}" for c in result["classes"])]
        for result in done
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
