"""What a notebook's live figure costs: whole trainings in one kernel, with and without it in turn.

    python benchmarks/notebook_figure.py [--rounds 8]

In training.py every contender pauses between its epochs, and while it pauses the figure regains
the right to be drawn. Here nothing pauses, as in a learner's notebook.
"""

import argparse
import json
import statistics
import tempfile

import nbclient
import nbformat

CODE = """
import json, time
from d2l import torch as d2l

data = d2l.FashionMNIST(batch_size=256)

def seconds(Model, display):
    trainer = d2l.Trainer(max_epochs=10, display=display)
    begin = time.perf_counter()
    trainer.fit(Model(), data)
    return time.perf_counter() - begin

results = {{}}
for Model in (d2l.SoftmaxRegressionScratch, d2l.MLP):
    seconds(Model, "notebook"), seconds(Model, "off")  # to warm up
    results[Model.__name__] = [
        (seconds(Model, "off"), seconds(Model, "notebook")) for _ in range({rounds})
    ]
open({file!r}, "w").write(json.dumps(results))
"""


def measure(rounds: int, file: str) -> dict[str, list[tuple[float, float]]]:
    """Seconds of ten epochs without and with the figure, for each model and round."""
    cell = nbformat.v4.new_code_cell(CODE.format(rounds=rounds, file=file))
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=1800).execute()
    with open(file, encoding="utf-8") as stream:
        results: dict[str, list[tuple[float, float]]] = json.load(stream)
    return results


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        results = measure(rounds, file.name)
    for model, pairs in results.items():
        ratios = [on / off for off, on in pairs]
        print(
            f"{model}: ten epochs {statistics.median(off for off, _ in pairs):.3f} s, "
            f"with the figure {statistics.median(on for _, on in pairs):.3f} s; "
            f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"{rounds} rounds"
        )


if __name__ == "__main__":
    main()
