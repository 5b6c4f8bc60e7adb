"""Which bands of a file are meant by numbers and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from likeness.data.decode import DecodeError, band_names
from likeness.errors import require


def first_names(files: Iterable[Path], given: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the bands of the first readable file, "" for a band without one.

    Args:
        files: looked at in this order; () if none can be read.
        given: names for bands without one, where there is one for each band of the file.
    """
    for file in files:
        try:
            own = band_names(file)
        except DecodeError:
            continue
        fitting = given if len(given) == len(own) else [""] * len(own)
        return tuple(name or other for name, other in zip(own, fitting, strict=True))
    return ()


def resolve_bands(
    wanted: Sequence[int | str], names: Sequence[str], where: str = "data.bands"
) -> list[int]:
    """Numbers (from 1) of the wanted bands.

    Args:
        wanted: numbers as they are, names whatever their case.
        names: of all bands of a file in order, "" for a band without one.
        where: what the request is called in messages.

    Raises:
        UserError: naming the bands that there are, if one is not there or its name is not unique.
    """
    known = ", ".join(f"{number} {name}".rstrip() for number, name in enumerate(names, start=1))
    places: dict[str, list[int]] = {}
    for number, name in enumerate(names, start=1):
        places.setdefault(name.casefold(), []).append(number)
    numbers = []
    for band in wanted:
        if isinstance(band, int):
            fits = [band] if 1 <= band <= len(names) else []
        else:
            fits = places.get(band.casefold(), []) if band else []
        require(fits, where, f"among the bands of the images ({known or 'none'})", band)
        rule = f"a number where several bands have one name ({known})"
        require(len(fits) == 1, where, rule, band)
        numbers.append(fits[0])
    return numbers
