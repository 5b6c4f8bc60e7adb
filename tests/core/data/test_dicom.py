"""DICOM photographs: pixels as they were written, one sentence for what is not read, no names."""

from __future__ import annotations

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from fixtures.lesions import dicom_bytes
from fixtures.scenes import texture
from likeness.data.checks import check
from likeness.data.decode import DecodeError, band_names, decode, decode_full
from likeness.data.examine import examine
from likeness.data.listing import images_in
from likeness.data.manifest import build

IMAGE = texture(1, 0, side=40)[:, :32]
PLAIN = np.full((16, 24, 3), (200, 120, 60), np.uint8)
NAME = "Zweistein"


def encoded(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PLAIN).save(buffer, form, **options)
    return encapsulate([buffer.getvalue()])


def test_rgb_comes_back_exactly_whatever_the_file_is_called(tmp_path) -> None:
    path = tmp_path / "IM000001.jpg"
    path.write_bytes(dicom_bytes(IMAGE))
    decoded = decode_full(path)
    np.testing.assert_array_equal(decoded.pixels_HWC, IMAGE)
    assert (decoded.format, decoded.dtype, decoded.remarks) == ("DICOM", "uint8", ())
    np.testing.assert_array_equal(decode(path, bands=[3, 1]), IMAGE[..., [2, 0]])
    assert band_names(path) == ("", "", "")


def test_planes_one_after_the_other() -> None:
    planes = dicom_bytes(
        IMAGE, PixelData=np.moveaxis(IMAGE, -1, 0).tobytes(), PlanarConfiguration=1
    )
    np.testing.assert_array_equal(decode(planes), IMAGE)


def test_ybr_becomes_rgb() -> None:
    ybr = np.asarray(Image.fromarray(PLAIN).convert("YCbCr"))  # an oracle of Pillow's
    assert np.abs(decode(dicom_bytes(ybr, kind="YBR_FULL")).astype(int) - PLAIN).max() <= 2
    jpeg = encoded("JPEG", quality=95)
    data = dicom_bytes(PLAIN, kind="YBR_FULL_422", syntax=JPEGBaseline8Bit, PixelData=jpeg)
    assert np.abs(decode(data).astype(int) - PLAIN).max() <= 3
    wavelets = encoded("JPEG2000", no_jp2=True, mct=1)
    data = dicom_bytes(PLAIN, kind="YBR_RCT", syntax=JPEG2000Lossless, PixelData=wavelets)
    np.testing.assert_array_equal(decode(data), PLAIN)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_is_one_band_as_stored_and_white_is_high(kind: str) -> None:
    grey = IMAGE[..., 0].astype(np.uint16) * 16
    decoded = decode_full(dicom_bytes(grey, kind=kind, BitsStored=12, HighBit=11))
    assert decoded.dtype == "uint16"
    wanted = grey if kind == "MONOCHROME2" else 4095 - grey
    np.testing.assert_array_equal(decoded.pixels_HWC[..., 0], wanted)


def test_of_several_frames_the_first_is_used_and_the_check_says_so(tmp_path) -> None:
    frames = np.stack([IMAGE, IMAGE[::-1]])
    data = dicom_bytes(frames, NumberOfFrames=2, BurnedInAnnotation="YES")
    np.testing.assert_array_equal(decode(data), IMAGE)
    (tmp_path / "a.dcm").write_bytes(data)
    (tmp_path / "b.dcm").write_bytes(dicom_bytes(IMAGE[::-1], BurnedInAnnotation="NO"))
    result = check(images_in(tmp_path))
    found = {(f.level, f.code, f.path) for f in result.findings}
    assert ("warning", "several-frames", "a.dcm") in found
    assert ("warning", "burned-in-text", "a.dcm") in found
    assert not any(path == "b.dcm" for _, _, path in found)


REFUSED = {
    "without pixels": {"PixelData": None},
    "a palette": {"kind": "PALETTE COLOR"},
    "needs a plugin": {"syntax": JPEGLSLossless, "PixelData": encapsulate([b"abcd"])},
    "broken or truncated": {"Rows": 1000},
    "more than the": {"Rows": 60_000, "Columns": 60_000},
    "description of its pixels": {"BitsStored": None},
}


@pytest.mark.parametrize("reason", list(REFUSED))
def test_what_is_not_read_is_told_in_one_sentence(reason: str) -> None:
    elements = dict(REFUSED[reason])
    gone = [name for name, value in elements.items() if value is None]
    data = dicom_bytes(IMAGE, PatientName=NAME, PatientID=NAME, **elements)
    if gone:
        from pydicom import dcmread, dcmwrite

        dataset = dcmread(io.BytesIO(data))
        for name in gone:
            delattr(dataset, name)
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset)
        data = buffer.getvalue()
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data)
    assert NAME not in str(caught.value)
    assert caught.value.__cause__ is None  # pydicom's own error may quote the file


def test_deflated_files_are_refused_unread() -> None:
    data = dicom_bytes(IMAGE, syntax=DeflatedExplicitVRLittleEndian)
    with pytest.raises(DecodeError, match="deflated"):
        decode(data)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9, 0.985])
def test_a_truncated_file_never_gives_half_an_image(share: float) -> None:
    data = dicom_bytes(IMAGE)
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * share)])


def test_run_lengths() -> None:
    from pydicom import dcmread, dcmwrite

    dataset = dcmread(io.BytesIO(dicom_bytes(IMAGE)))
    dataset.compress(RLELossless)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    np.testing.assert_array_equal(decode(buffer.getvalue()), IMAGE)


def test_names_in_exif_go_nowhere(tmp_path, caplog) -> None:
    """Every EXIF text tag of a whole and of a cut JPEG."""
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298, 0x9C9B, 0x9C9D):
        exif[tag] = NAME
    detail = exif.get_ifd(0x8769)
    for tag in (0x9286, 0x927C, 0xA420, 0xA430, 0xA431, 0xA435):
        detail[tag] = NAME
    path = tmp_path / "a.jpg"
    Image.fromarray(IMAGE).save(path, exif=exif, comment=NAME)
    assert path.read_bytes().count(NAME.encode()) > 10  # it is in there
    (tmp_path / "b.jpg").write_bytes(path.read_bytes()[:-200])
    with caplog.at_level(logging.DEBUG):
        result = check(build(tmp_path, {"path": ["a.jpg", "b.jpg"], "label": ["x", "x"]}, "table"))
    assert result.table["status"].tolist() == ["ok", "unreadable"]
    seen = [result.table.to_json(), repr(result.findings), caplog.text, repr(examine(path))]
    assert NAME not in json.dumps(seen)
