"""The size of a network's input: one side of a square, or height and width."""

from __future__ import annotations

LARGEST_SIDE = 4096  # pixels

HeightWidth = tuple[int, int]
ImageSize = int | HeightWidth  # in pixels; a square is always the int


def read_image_size(value: object, *, least: int) -> ImageSize:
    """A size as people write it: `64`, or `[256, 128]` for height and width.

    Two equal sides become one number, so that a size is written in one way only.

    Args:
        value: what stands in a file.
        least: pixels that a side has at least.

    Raises:
        ValueError: holding the rule alone, as pydantic's validators are to do.
    """
    match value:
        case int():
            tall = wide = value
        case [int() as tall, int() as wide]:
            pass
        case _:
            tall = wide = -1
    whole = not isinstance(tall, bool) and not isinstance(wide, bool)
    if not (whole and least <= min(tall, wide) <= max(tall, wide) <= LARGEST_SIDE):
        rule = f"a side in [{least}, {LARGEST_SIDE}] pixels, or [height, width] of two such sides"
        raise ValueError(rule)
    return tall if tall == wide else (tall, wide)


def height_width(size: ImageSize) -> HeightWidth:
    """Height and width in pixels."""
    return (size, size) if isinstance(size, int) else size


def in_words(size: ImageSize) -> str:
    """`64` or `256 x 128`."""
    return str(size) if isinstance(size, int) else f"{size[0]} x {size[1]}"
