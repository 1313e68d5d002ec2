#: The names of the files in a run's folder.
FILES = ("gradients.svg", "gradients.png", "gradients.json")


class GradientReport(Finding):
    """What was seen of each layer in each epoch, and what is wrong with it.

    Book: 5.4.1 (sec_numerical_stability).

    Args:
        rows: What was seen, epoch after epoch, the layers from input to output.
        totals: The steps sampled, each as (epochs gone by, norm of all gradients together before
            clipping).
        clip: The `gradient_clip_val` of the trainer.
        lr: The learning rate of the model, if it has one.
    """

    def __init__(
        self,
        rows: Iterable[LayerRow] = (),
        totals: Iterable[tuple[float, float]] = (),
        clip: float = 0,
        lr: Any = None,
    ) -> None:
        self.rows, self.totals = list(rows), list(totals)
        self.clip, self.lr = clip, lr

    @property
    def epochs(self) -> list[int]:
        """The epochs that were looked at, from 1."""
        return list(dict.fromkeys(row.epoch for row in self.rows))

    @property
    def findings(self) -> list[Symptom]:
        """What is wrong, each kind once, where it was first seen; empty if nothing is."""
        found: dict[Kind, Symptom] = {}
        for epoch in self.epochs:
            rows = [row for row in self.rows if row.epoch == epoch]
            for symptom in (
                self._exploding(rows),
                self._dead(rows),
                self._vanishing(rows),
                self._saturated(rows),
            ):
                if symptom is not None:
                    found.setdefault(symptom.kind, symptom)
        return list(found.values())

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame with the columns of `LayerRow`.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
        return pd.DataFrame([{**asdict(row), "grad_rms": row.grad_rms} for row in self.rows])

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; NaN stays NaN."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "totals": [list(total) for total in self.totals],
            "clip": self.clip,
            "lr": self.lr if isinstance(self.lr, float | int) else None,
            "findings": [asdict(symptom) for symptom in self.findings],
        }

    def keep(self, folder: Path) -> None:
        """Writes figure and numbers into the folder of a run: see `FILES`.

        Raises:
            StorageError: If a file cannot be written.
        """
        *pictures, numbers = (inside(folder, name) for name in FILES)
        if any(math.isfinite(row.weight_norm) for row in self.rows):
            self.save(*pictures)
        text = json.dumps(_without_nan(self.facts()), allow_nan=False, indent=1) + "\n"
        write_atomically(numbers, text.encode())

    @classmethod
    def read(cls, folder: Path) -> "GradientReport":
        """What `keep` wrote into a folder. An infinite number comes back as NaN.

        Raises:
            ConfigError: If there is nothing.
            CorruptFileError: If the file is damaged.
        """
        path = Path(folder, FILES[-1])
        try:
            facts = json.loads(path.read_bytes())
            rows = [LayerRow(**_with_nan(row)) for row in facts["rows"]]
            totals = [(x, math.nan if total is None else total) for x, total in facts["totals"]]
            return cls(rows, totals, facts["clip"], facts["lr"])
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}. Train with watch='gradients'.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFileError(
                f"{path} cannot be read: {error!r}. It is damaged; a training that is watched "
                f"again writes it anew."
            ) from error

    def __str__(self) -> str:
        if not self.rows:
            return "Gradients: no step was sampled."
        last = [row for row in self.rows if row.epoch == self.epochs[-1]]
        shown: dict[str, Callable[[LayerRow], str]] = {
            "layer": lambda row: row.title,
            "gradient": lambda row: _number(row.grad_norm),
            "weight": lambda row: _number(row.weight_norm),
            "update/weight": lambda row: _number(row.update_ratio),
            "activation": lambda row: _number(row.activation_rms),
            "dead": lambda row: _percent(row.dead),
            "saturated": lambda row: _percent(row.saturated),
        }
        table = Table(list(shown), [[cell(row) for cell in shown.values()] for row in last])
        steps = last[0].num_steps
        head = f"gradients in epoch {last[0].epoch}, means of {steps} sampled steps"
        parts = [head.removesuffix("s") if steps == 1 else head, repr(table)]
        parts += [symptom.text for symptom in self.findings]
        return "\n\n".join(parts)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
