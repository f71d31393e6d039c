"""What options of the command line hold: words and numbers between commas, shapes, quantities with units."""

from __future__ import annotations

from crosstile.errors import UsageError


def words(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """Return whole numbers between commas."""
    try:
        return tuple(int(part) for part in words(text))
    except ValueError:
        raise UsageError(f"{flag}: whole numbers with commas between are wanted; found {text!r}.") from None


def shape(flag: str, text: str) -> tuple[int, ...]:
    """Return one to four sizes between commas, each from 1 to a million."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not 1 <= len(sizes) <= 4 or min(sizes) < 1 or max(sizes) > 1_000_000:
        raise UsageError(
            f"{flag}: numbers of at least 1 with commas between are wanted, such as 3,32,32; found {text!r}."
        )
    return sizes


def quantity(flag: str, text: str, dimension: str) -> float:
    """Return a quantity of at least 0 in SI units; ``dimension`` as :func:`crosstile.units.parse_quantity` takes it."""
    from crosstile.units import parse_quantity

    try:
        value = parse_quantity(text, dimension)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}.") from None
    if value < 0:
        raise UsageError(f"{flag}: {text!r} is negative; nothing below 0 is possible.")
    return value
