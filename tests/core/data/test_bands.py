import pytest

from fixtures.scenes import save, texture, write_geotiff
from likeness.data.bands import first_names, resolve_bands
from likeness.errors import UserError

NAMES = ("B01", "B02", "nir", "", "NIR", "4")


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ([3, 1], [3, 1]),
        (["B02", "b01"], [2, 1]),
        ([1, "b02", 1], [1, 2, 1]),
        (["4"], [6]),  # a text is a name, whatever it looks like
        ([4], [4]),
    ],
)
def test_numbers_and_names(wanted, numbers):
    assert resolve_bands(wanted, NAMES) == numbers


KNOWN = r"\(1 B01, 2 B02, 3 nir, 4, 5 NIR, 6 4\)"


@pytest.mark.parametrize(
    ("band", "rule"),
    [
        (7, f"among the bands of the images {KNOWN}, got 7"),
        (0, f"among the bands of the images {KNOWN}, got 0"),
        ("B03", f"among the bands of the images {KNOWN}, got 'B03'"),
        ("", f"among the bands of the images {KNOWN}, got ''"),
        ("nir", f"a number where several bands have one name {KNOWN}, got 'nir'"),
    ],
)
def test_what_is_not_there_names_what_is(band, rule):
    with pytest.raises(UserError, match=f"data.bands must be {rule}"):
        resolve_bands([1, band], NAMES)


def test_names_come_from_the_first_readable_file(tmp_path):
    bad = tmp_path / "a.tif"
    bad.write_bytes(b"II*\x00 nothing")
    named = write_geotiff(tmp_path / "b.tif", texture(0, 0, bands=2), names=("x", ""))
    picture = save(tmp_path / "c.png", texture(0, 0))
    files = [bad, tmp_path / "none.tif", named, picture]
    assert first_names(files) == ("x", "")
    assert first_names(files, ("p", "q")) == ("x", "q")  # the file's own names come first
    assert first_names(files, ("p", "q", "r")) == ("x", "")
    assert first_names([picture], ("p", "q", "r")) == ("p", "q", "r")
    assert first_names([bad]) == ()
