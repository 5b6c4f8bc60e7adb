"""`crop`: the faces out of a labelled set of photographs, as a set that every command reads.

One face is cut out of each photograph, because its label says one expression: where the set says
that it is (AffectNet's tables do), else where a detector finds it. A photograph without one stays
in the table and says why; `evaluate` then reports how many faces were found, and figures on the
faces and on all photographs.

The work is done in parts in `OUT.parts` beside the output; the output appears at the end, whole. A
call that was killed goes on when it is repeated.

Legend: H, W height and width of a picture, C bands.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from likeness.data.decode import decode
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.files import atomic_path, write_json, write_text
from likeness.inference.blocks import Failure, attempt
from likeness.threads import prefetched
from likeness.work_folder import begin, locked, part_file, remove, work_folder
from likeness_apps.facial_expression.faces.cascade import CascadeDetector
from likeness_apps.facial_expression.faces.crop import crop_face
from likeness_apps.facial_expression.faces.detector import Detector, Face, described, faces_in
from likeness_apps.facial_expression.faces.find import as_photograph
from likeness_apps.facial_expression.faces.rows import NO_FACE
from likeness_apps.facial_expression.layouts.affectnet import BOX as SAID_BOX
from likeness_apps.facial_expression.layouts.cropped import OK, RECORD, TABLE
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import README, is_generated
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.screening import screened

# Which face of several is cut out.
RULES = {
    "largest": "the face with the largest box, the surest of equals; `faces` says how many there "
    "were",
    "refuse": "none: the status is several_faces",
}
SEVERAL_FACES, ERROR = "several_faces", "error"
BOX = ("box_left", "box_top", "box_width", "box_height", "detector_score")
PART_PHOTOS = 64  # that are finished together: what a kill can cost
FACES = "faces"  # the folder of the crops


class Cut(NamedTuple):
    """How many photographs came out how.

    Attributes:
        by_status: ok, no_face, several_faces and error, as far as they occur.
    """

    by_status: dict[str, int]

    @property
    def exit_code(self) -> int:
        """0 if any face was cut out, else 1."""
        return 0 if self.by_status.get(OK) else 1

    def told(self) -> str:
        """In words."""
        total = sum(self.by_status.values())
        rest = [f"{count} {status}" for status, count in self.by_status.items() if status != OK]
        return f"faces cut out of {self.by_status.get(OK, 0)} of {total} photographs" + (
            f" ({', '.join(rest)})" if rest else ""
        )


def crop(
    domain: Domain,
    data: Path,
    out: Path,
    *,
    detector: Detector | None = None,
    margin: float = 0.0,
    align: bool = False,
    several: str = "largest",
    quiet: bool = False,
) -> Cut:
    """Cut the face out of each photograph of a set.

    `out` holds the crops (PNG at the photograph's own scale, grey where that is grey), crop.json
    (layout of the photographs, detector, rule) and manifest.csv: a row for every photograph with
    all columns of its set, and photograph (its path there), status (ok, no_face, several_faces,
    error), reason, faces (how many were found) and `BOX` of the one that was cut, in pixels of the
    upright photograph.

    Args:
        domain: the application.
        data: the photographs, in any layout.
        out: a new or empty directory.
        detector: finds the faces, see `faces.detector`. None takes the boxes of the set's own table
            (columns face_x, face_y, face_width and face_height; `detector_score` is then 1), or the
            cascade for a set without them.
        margin: added on each side of a box, as a share of its longer side, in [0, 1].
        align: turn faces until their eyes are level, where the detector gives eyes.
        several: which face of several is cut out, see `RULES`.
        quiet: no progress.

    Raises:
        UserError: if the set is not recognised, `out` is occupied or was begun otherwise, or a
            number is out of range.
    """
    require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
    require(several in RULES, "several", " or ".join(RULES), several)
    require_new(out)
    out = out.absolute()
    manifest = domain.recognise(screened(domain, data, quiet=quiet))
    said = _said_boxes(manifest) if detector is None else None
    cutter = _Cutter(manifest, said, detector or CascadeDetector(), margin, align, several)
    folder = work_folder(out)
    with locked(folder, out):
        begin(folder, cutter.asked)
        _cut_parts(cutter, folder, quiet=quiet)
        found = _write_set(cutter, folder, out)
        remove(folder)
    say(f"{out}: {found.told()}", quiet=quiet)
    return found


class _Cutter(NamedTuple):
    """What is cut, and how.

    Attributes:
        said: path -> where the set says that the face is; None asks the detector.
    """

    manifest: Manifest
    said: Mapping[str, Face] | None
    detector: Detector
    margin: float
    align: bool
    several: str

    @property
    def how(self) -> dict[str, Any]:
        """What changes the crops, as plain data."""
        return {
            **(described(self.detector) if self.said is None else {"boxes": "as the set says"}),
            "margin": self.margin,
            "aligned_by_eyes": self.align,
            "of_several_faces": RULES[self.several],
        }

    @property
    def asked(self) -> dict[str, Any]:
        """What tells this work from other work."""
        rows = self.manifest.table.to_csv(index=False).encode()
        known = {"layout": self.manifest.layout, "rows": hashlib.sha256(rows).hexdigest()}
        return {"command": "crop", **known, **self.how}

    def look(self, path: str) -> tuple[list[Face], UInt8[np.ndarray, "S S C"] | None]:
        """The faces in a photograph, and the pixels of the one that is taken."""
        pixels_HWC = decode(self.manifest.file(path))
        image_HW3 = as_photograph(pixels_HWC)
        detector = self.detector if self.said is None else partial(_as_said, self.said[path])
        faces = faces_in(image_HW3, detector)
        if not faces or (len(faces) > 1 and self.several == "refuse"):
            return faces, None
        taken = max(faces, key=lambda face: (face.width * face.height, face.score))
        cut_SS3 = crop_face(image_HW3, taken, margin=self.margin, align=self.align)
        return [taken, *(face for face in faces if face is not taken)], (
            cut_SS3 if pixels_HWC.shape[2] == 3 else cut_SS3[..., :1]
        )


def _said_boxes(manifest: Manifest) -> dict[str, Face] | None:
    """Path -> where the set's own table says that the face is; None for a set that says nothing."""
    table = manifest.table
    if not set(SAID_BOX) <= set(table.columns):
        return None
    numbers = table[list(SAID_BOX)].apply(pd.to_numeric, errors="coerce")
    known = numbers.where(numbers.notna().all(axis=1), 0.0)
    boxes = known.to_numpy(np.float64).tolist()
    return {
        path: Face(left, top, width, height, 1.0)
        for path, (left, top, width, height) in zip(table["path"], boxes, strict=True)
    }


def _as_said(face: Face, image_HW3: np.ndarray) -> list[Face]:
    """A box without an area, or whose numbers are not all there, is no face."""
    return [face] if face.width > 0 and face.height > 0 else []


def _cut_parts(cutter: _Cutter, folder: Path, *, quiet: bool) -> None:
    """Look at the photographs of the parts that are not there yet."""
    paths = cutter.manifest.table["path"].tolist()
    starts = range(0, len(paths), PART_PHOTOS)
    parts = {part: paths[start : start + PART_PHOTOS] for part, start in enumerate(starts)}
    threads = min(8, os.cpu_count() or 1)
    look = partial(attempt, cutter.look, root=cutter.manifest.root)
    done = 0
    with progress("finding faces", quiet=quiet) as advance:
        for part, names in parts.items():
            file = part_file(folder, part, "csv")
            if not file.is_file():
                looked = prefetched(names, look, threads=threads)
                rows = [
                    _row(name, found, folder / "set")
                    for name, found in zip(names, looked, strict=True)
                ]
                with atomic_path(file) as temporary:
                    pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
            done += len(names)
            advance(done, len(paths))


def _row(photograph: str, looked: Any, root: Path) -> dict[str, Any]:
    """What came of a photograph; its crop is written below `root`."""
    row: dict[str, Any] = {"photograph": photograph, "path": "", "reason": "", "faces": ""}
    row |= dict.fromkeys(BOX, "")
    if isinstance(looked, Failure):
        return row | {"status": ERROR, "reason": looked.reason}
    faces, cut = looked
    row["faces"] = len(faces)
    if not faces:
        return row | {"status": NO_FACE, "reason": "no face was found"}
    if cut is None:
        return row | {"status": SEVERAL_FACES, "reason": f"{len(faces)} faces were found"}
    path = f"{FACES}/{photograph}" + ("" if photograph.endswith(".png") else ".png")
    _save(cut, root / path)
    box = {name: round(value, 2) for name, value in zip(BOX, faces[0][:5], strict=True)}
    return row | {"status": OK, "path": path, **box}


def _save(cut_SSC: np.ndarray, file: Path) -> None:
    pixels = cut_SSC if cut_SSC.shape[2] == 3 else cut_SSC[..., 0]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    except OSError as error:
        raise UserError(
            f"out must be a writable place with free space, got {file}: {error.strerror} (what is "
            "finished is kept: repeat the command to go on)"
        ) from error


def _write_set(cutter: _Cutter, folder: Path, out: Path) -> Cut:
    """Table, record and readme beside the crops, then all of it under its name."""
    made, manifest = folder / "set", cutter.manifest
    made.mkdir(exist_ok=True)
    numbers = range(-(-len(manifest.table) // PART_PHOTOS))
    read = partial(pd.read_csv, dtype=str, keep_default_na=False)
    looked = pd.concat([read(part_file(folder, part, "csv")) for part in numbers])
    table = _joined(manifest, looked)
    found = Cut(dict(sorted(Counter(looked["status"]).items())))
    with atomic_path(made / TABLE) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    if is_generated(manifest.root):
        words = "Generated data: these faces were cut out of drawn pictures. Nobody is real.\n"
        write_text(made / README, words)
    record = {"layout": manifest.layout, **cutter.how, "photographs": found.by_status}
    write_json(made / RECORD, record)
    if out.is_dir():  # empty, as was required
        out.rmdir()
    made.replace(out)
    return found


def _joined(manifest: Manifest, looked: pd.DataFrame) -> pd.DataFrame:
    """A row for each photograph: its columns, and what came of it."""
    own: Sequence[str] = [name for name in looked.columns if name != "path"]
    known = manifest.table.drop(columns=[name for name in own if name in manifest.table.columns])
    both = known.rename(columns={"path": "photograph"}).merge(looked, on="photograph")
    first = ["path", "photograph", "status", "reason", "faces", *BOX]
    return both[[*first, *(name for name in both.columns if name not in first)]]
