"""`gradbook export`: a trained model in another format."""

from pathlib import Path

from gradbook.cli.options import Parser
from gradbook.cli.outcome import Outcome
from gradbook.cli.restored import add_run_options, checkpoint_facts, restore
from gradbook.cli.texts import checkpoint_text
from gradbook.wrapping import page


def run(arguments: list[str]) -> Outcome:
    """Exports a run's model, and verifies the export on validation data."""
    parser = Parser("export", "A trained model in another format.")
    add_run_options(parser)
    parser.add_argument(
        "--to",
        required=True,
        choices=("safetensors", "onnx", "torch-export"),
        help="the format: safetensors holds the parameters alone, onnx the network for other "
        "programs, torch-export the network for PyTorch",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the file to write (default: in the run's folder)"
    )
    asked = parser.read_all(arguments)
    restored = restore(asked)

    from gradbook.inspection.export import SUFFIXES, export
    from gradbook.inspection.predictions import batches_and_outputs

    has_validation = restored.data.val_dataloader() is not None
    batches = batches_and_outputs(restored.model, restored.data, train=not has_validation)
    batch, _ = next(batches)
    path = asked.output or Path(restored.run.folder) / f"model{SUFFIXES[asked.to]}"
    exported = export(restored.model, path, asked.to, batch[:-1])
    facts = {
        **checkpoint_facts(restored),
        "to": asked.to,
        "file": str(exported.path),
        "num_bytes": exported.num_bytes,
        "num_examples": len(batch[-1]),
        "difference": exported.difference,
        "allowed": exported.allowed,
    }
    text = (
        f"{exported.path}  {exported.num_bytes:,} bytes\n"
        f"{checkpoint_text(restored.run, restored.checkpoint.stem)}\n"
        f"verified: its outputs for {len(batch[-1])} examples differ from the model's by at most "
        f"{exported.difference:.2g} (allowed: {exported.allowed:.2g})"
    )
    return Outcome(facts, page(text))
