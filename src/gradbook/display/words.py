"""Numbers in words: how many, and how much memory."""


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 node", "2 nodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bytes_text(num_bytes: float) -> str:
    """A number of bytes, such as "803 kB"."""
    unit, size = bytes_unit(num_bytes)
    return f"{num_bytes / size:.3g} {unit}"


def bytes_unit(num_bytes: float) -> tuple[str, float]:
    """The unit in which a number of bytes is written, and its size in bytes."""
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((unit for unit in units if num_bytes >= unit[1]), ("bytes", 1.0))
