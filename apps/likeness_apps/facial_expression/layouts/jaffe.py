"""JAFFE (Lyons et al. 1998): ten women, seven expressions; the name says it all.

`KA.AN1.39.tiff`: subject, expression and take, running number. The expressions are those the
women were asked to pose.
"""

from __future__ import annotations

import re

from likeness_apps.facial_expression.expressions import require_expression
from likeness_apps.facial_expression.layouts.folds import with_subject_folds
from likeness_apps.facial_expression.layouts.tree import Reading, Tree, face_set, name_of

NAME = "jaffe"
_FILE = re.compile(
    r"^(?P<subject>[A-Z]{2})\.(?P<code>AN|DI|FE|HA|NE|SA|SU)\d?\.\d+\.(?i:tiff?|jpe?g|png|bmp)$"
)


def is_here(tree: Tree) -> bool:
    """Whether there are pictures that are called so."""
    return any(_FILE.match(name_of(path)) for path in tree.images)


def read(tree: Tree) -> Reading:
    """The set in a folder, with the columns `subject` and `fold`."""
    matches = {path: match for path in tree.images if (match := _FILE.match(name_of(path)))}
    columns = {
        "label": [require_expression(match["code"], path) for path, match in matches.items()],
        "subject": [match["subject"] for match in matches.values()],
    }
    rest = [path for path in (*tree.images, *tree.others) if path not in matches]
    return with_subject_folds(face_set(tree, NAME, list(matches), columns)), rest
