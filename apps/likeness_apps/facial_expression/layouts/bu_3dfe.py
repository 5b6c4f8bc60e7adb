"""BU-3DFE (Yin et al. 2006): 100 people, six posed expressions at four levels, and neutral.

`F0001/F0001_AN01WH_F2D.bmp`: sex and number, expression, level 00 to 04, a code of ancestry. Only
the pictures are read; the surfaces (`_F3D.wrl`, `_RAW.wrl`) and their textures are not.
"""

from __future__ import annotations

import re

from likeness_apps.facial_expression.expressions import require_expression
from likeness_apps.facial_expression.layouts.folds import with_subject_folds
from likeness_apps.facial_expression.layouts.tree import Reading, Tree, face_set, name_of

NAME = "bu-3dfe"
_STEM = r"(?P<subject>[FM]\d{4})_(?P<code>AN|DI|FE|HA|NE|SA|SU)(?P<level>0[0-4])[A-Z]{2}_"
_FILE = re.compile(rf"^{_STEM}F2D\.(?i:bmp|jpe?g|png)$")
_BESIDE = re.compile(rf"^{_STEM}(?:F3D|RAW)\b.*$")


def is_here(tree: Tree) -> bool:
    """Whether there are pictures that are called so."""
    return any(_FILE.match(name_of(path)) for path in tree.images)


def read(tree: Tree) -> Reading:
    """The set in a folder, with the columns `subject`, `level` ("00" to "04") and `fold`."""
    matches = {path: match for path in tree.images if (match := _FILE.match(name_of(path)))}
    columns = {
        "label": [require_expression(match["code"], path) for path, match in matches.items()],
        "subject": [match["subject"] for match in matches.values()],
        "level": [match["level"] for match in matches.values()],
    }
    rest = [
        path
        for path in (*tree.images, *tree.others)
        if path not in matches and not _BESIDE.match(name_of(path))
    ]
    return with_subject_folds(face_set(tree, NAME, list(matches), columns, folders=1)), rest
