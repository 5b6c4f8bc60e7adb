"""Which names of files and folders can name nobody, and stand-ins for all others.

A name is plain if it is a public archive's identifier, or made of words of this field (`_WORDS`),
each with a short number behind it at most: `nevus`, `IMG_0012`, `ISIC-2017_Test_v2_Data`. Every
other name may be a patient's, or hold a number or a date that leads to one, and is replaced by a
hash of it: the same name has the same stand-in everywhere, in folders, tables and lists.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from likeness.data.listing import IMAGE_SUFFIXES
from likeness.data.masks import image_of_mask
from likeness.data.tables import TABLE_SUFFIXES
from likeness_apps.skin_lesion.privacy.pseudonyms import hashed

_SUFFIXES = IMAGE_SUFFIXES | TABLE_SUFFIXES | {".txt", ".tab", ".xlsx", ".pdf", ".json", ".md"}
_DIGITS = 6  # a longer number may be a patient's, or a date
_ARCHIVED = re.compile(
    r"(?:ISIC_\d{7}(?:_downsampled|_superpixels|_attribute_[a-z_]+)?"
    r"|IMD\d{3}(?:_(?:Dermoscopic_Image|lesion|roi|R\d+_Label\d+))?"
    r"|PAT_\d+_\d+_\d+"  # PAD-UFES-20
    r"|(?:HAM|MSK\d|BCN|IL|IP|SL)_\d{7}"  # lesions and patients of the ISIC archive
    r"|HAM10000_segmentations_lesion_tschandl|hmnist_\d+_\d+_(?:L|RGB)"
    r"|[0-9a-f]{16}|(?:image|folder|file)-[0-9a-f]{16})"  # hashes of this program
)
_SIGNS = re.compile(r"[A-Za-z0-9_ .,()&+-]+")
_TOKEN = re.compile(r"[A-Za-z]+|[0-9]+")
# No word that is somebody's name: no eponyms (a folder may be called Bowen), no colours but one.
_WORD_LIST = """
img image images picture pictures pic photo photos photograph photographs dermoscopy dermoscopic
dermatoscopy clinical close closeup overview sample samples case cases lesion lesions item data
dataset set part task input metadata groundtruth truth label labels class classes category type
kind group fold split mask masks segmentation segmentations superpixels annotation annotations
lesiongroupings groupings train training val valid validation dev test testing query gallery
public archive original resized cropped generated list table readme license licence attribution
notes isic isbi ham ph pad ufes v b x y benign malignant melanoma melanocytic nevus nevi naevus
naevi common atypical dysplastic congenital acquired junctional compound dermal intradermal
combined recurrent halo blue acral lentiginous superficial spreading nodular desmoplastic
metastasis metastatic invasive situ in of and or the not with without no non other others rest
unknown none normal healthy skin abnormal control positive negative basal squamous cell cells
carcinoma keratosis keratoses seborrheic seborrhoeic actinic solar benignkeratosis lichenoid
lentigo lentigines simplex maligna like intraepithelial dermatofibroma dermatofibromas vascular
hemangioma haemangioma angioma angiomas angiokeratoma pyogenic granuloma tumor tumour cyst wart
warts verruca pigmented nonpigmented amelanotic mole moles freckle freckles scar eczema psoriasis
acne dermatitis rosacea urticaria vitiligo tinea impetigo rash infection inflammatory mel nv bcc
akiec ak bkl df vasc scc unk sk nev ack
"""
_WORDS = frozenset(_WORD_LIST.split())


def is_plain(name: str) -> bool:
    """Whether a name, without its ending, can name nobody."""
    return bool(_ARCHIVED.fullmatch(name)) or _of_words(name, _WORDS)


def is_phrase(text: str, more: frozenset[str]) -> bool:
    """Whether a text is of words of this field and of `more` only, with short numbers."""
    return _of_words(text.replace("/", " "), _WORDS | more)


def _of_words(name: str, words: frozenset[str]) -> bool:
    if not _SIGNS.fullmatch(name):
        return False
    before = ""  # what stands before a token: a number needs a word there, so that no date passes
    for token in _TOKEN.findall(name):
        if token.isdigit():
            if len(token) > _DIGITS or not before or before.isdigit():
                return False
        elif token.lower() not in words:
            return False
        before = token
    return bool(before)


def hidden_path(path: str, salt: str) -> str:
    """A path in which every folder and the file have plain names; itself if they have.

    Args:
        path: of an image or another file, as a table or a folder has it; a backslash counts as `/`.
        salt: of the hashes.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return path
    shown = [*(_hidden(part, "folder", salt) for part in parts[:-1]), hidden_file(parts[-1], salt)]
    return path if shown == parts else "/".join(shown)


def hidden_file(name: str, salt: str) -> str:
    """The stand-in of a file's name: its kind stays, and whose mask it is; itself if plain."""
    masked = image_of_mask(name)
    if masked is not None:  # a mask is found by the name of its image
        return _hidden(masked, "image", salt) + name[len(masked) :]
    suffix = PurePosixPath(name).suffix
    if suffix.lower() not in _SUFFIXES:
        suffix = ""  # whatever it is: a DICOM file may be called 1.2.840.1
    kind = "image" if not suffix or suffix.lower() in IMAGE_SUFFIXES else "file"
    return _hidden(name.removesuffix(suffix), kind, salt) + suffix


def hidden_group(name: str, salt: str) -> str:
    """A stand-in for what a table calls a patient or a lesion; itself if plain.

    An image that is a group of its own is called by its path.
    """
    shown = hidden_path(name, salt)
    own_path = PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    return shown if shown == name or own_path else hashed(f"group {name}", salt)


def _hidden(name: str, kind: str, salt: str) -> str:
    return name if is_plain(name) else f"{kind}-{hashed(f'name {name}', salt)}"
