"""Sets with one folder per class whose classes and file names are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Band names in the order of the files: B8A comes last.
EUROSAT_BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
    *("B09", "B10", "B11", "B12", "B8A"),
)


@dataclass(frozen=True)
class SceneLayout:
    """A set whose folders and file names are known.

    Attributes:
        name: the layout and its dataset card.
        classes: the class folders.
        pattern: a file name; group `stem` must be `stem_of(class)`, group `number` the number.
        stem_of: how a file name of the class begins.
        block: how many consecutive numbers form a group; 0 = each image is its own.
        first: the first number.
        band_names: the bands of a file, in its order; () where the file says enough.
    """

    name: str
    classes: frozenset[str]
    pattern: re.Pattern[str]
    stem_of: Callable[[str], str]
    block: int = 0
    first: int = 1
    band_names: tuple[str, ...] = ()

    def number(self, label: str, file_name: str) -> int | None:
        """The number in a file name of the class, or None if it is no name of this layout."""
        match = self.pattern.match(file_name)
        if match is None or match["stem"] != self.stem_of(label):
            return None
        return int(match["number"])

    def group(self, label: str, number: int) -> str:
        """What must not straddle a split; "" = the image itself."""
        return f"{label}/block-{(number - self.first) // self.block}" if self.block else ""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _names(stem: str, number: str, ending: str, between: str = "") -> re.Pattern[str]:
    return re.compile(rf"^(?P<stem>{stem}){between}(?P<number>{number})\.(?i:{ending})$")


def _same(label: str) -> str:
    return label


def _joined(label: str) -> str:
    """`baseball_field` is `baseballfield001.jpg`."""
    return label.replace("_", "")


# Neighbouring numbers of AID often show the same place: within a class, colours are most alike at
# a distance of 1 and no more alike than at random from about 12 on (measured; see the card).
AID = SceneLayout(
    "aid",
    _words(
        "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential "
        "Desert Farmland Forest Industrial Meadow MediumResidential Mountain Park Parking "
        "Playground Pond Port RailwayStation Resort River School SparseResidential Square Stadium "
        "StorageTanks Viaduct"
    ),
    _names("[a-z]+", r"\d+", "jpe?g", "_"),
    str.lower,
    block=10,
)
UC_MERCED = SceneLayout(
    "uc-merced",
    _words(
        "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest "
        "freeway golfcourse harbor intersection mediumresidential mobilehomepark overpass "
        "parkinglot river runway sparseresidential storagetanks tenniscourt"
    ),
    _names("[a-z]+", r"\d\d", "tiff?"),
    _same,
    first=0,
)
RSSCN7 = SceneLayout(
    "rsscn7",
    _words("aGrass bField cIndustry dRiverLake eForest fResident gParking"),
    _names("[a-g]", r"\d{3}", "jpe?g"),
    lambda label: label[0],
)
_EUROSAT_CLASSES = _words(
    "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential "
    "River SeaLake"
)
EUROSAT_RGB = SceneLayout(
    "eurosat-rgb",
    _EUROSAT_CLASSES,
    _names("[A-Za-z]+", r"\d+", "jpe?g", "_"),
    _same,
)
EUROSAT_13 = SceneLayout(
    "eurosat-13",
    _EUROSAT_CLASSES,
    _names("[A-Za-z]+", r"\d+", "tiff?", "_"),
    _same,
    band_names=EUROSAT_BANDS,
)
RESISC45 = SceneLayout(
    "resisc45",
    _words(
        "airplane airport baseball_diamond basketball_court beach bridge chaparral church "
        "circular_farmland cloud commercial_area dense_residential desert forest freeway "
        "golf_course ground_track_field harbor industrial_area intersection island lake meadow "
        "medium_residential mobile_home_park mountain overpass palace parking_lot railway "
        "railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg "
        "sparse_residential stadium storage_tank tennis_court terrace thermal_power_station "
        "wetland"
    ),
    _names("[a-z_]+", r"\d{3}", "jpe?g", "_"),
    _same,
)
PATTERNNET = SceneLayout(
    "patternnet",
    _words(
        "airplane baseball_field basketball_court beach bridge cemetery chaparral "
        "christmas_tree_farm closed_road coastal_mansion crosswalk dense_residential "
        "ferry_terminal football_field forest freeway golf_course harbor intersection "
        "mobile_home_park nursing_home oil_gas_field oil_well overpass parking_lot parking_space "
        "railway river runway runway_marking shipping_yard solar_panel sparse_residential "
        "storage_tank swimming_pool tennis_court transformer_station wastewater_treatment_plant"
    ),
    _names("[a-z]+", r"\d{3}", "jpe?g"),
    _joined,
)
SIRI_WHU = SceneLayout(
    "siri-whu",
    _words(
        "agriculture commercial harbor idle_land industrial meadow overpass park pond residential "
        "river water"
    ),
    _names("", r"\d{4}", "tiff?"),  # nothing but a number
    lambda label: "",
)
LAYOUTS = (
    *(AID, UC_MERCED, RSSCN7, EUROSAT_RGB, EUROSAT_13),
    *(RESISC45, PATTERNNET, SIRI_WHU),
)
