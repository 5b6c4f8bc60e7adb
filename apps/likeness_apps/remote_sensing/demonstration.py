"""What `make demo` shows of remote sensing beyond the shared commands: a scene and its map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likeness.inference.predictor import Predictor
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.landscape import draw_scene
from likeness_apps.remote_sensing.map_page import write_map_page
from likeness_apps.remote_sensing.mapping.run import make_map, tell
from likeness_apps.remote_sensing.reference import evaluate_map

if TYPE_CHECKING:
    from likeness_apps.demo import Journal

WIDTH, HEIGHT = 1536, 1152  # pixels: about 0.6 square kilometres


def map_a_scene(journal: Journal, run: Path, out: Path) -> None:
    """Draw a large scene, map it with the demo's model, score the map and make its page.

    Only on generated data: somebody's own tiles come without a scene around them.

    Args:
        journal: notes commands and cards.
        run: the trained run.
        out: where the demo writes.
    """
    if not journal.generated:
        return
    scene, classes, result = out / "scene.tif", out / "map.tif", out / "map-result"
    line = f"scene {scene} --width {WIDTH} --height {HEIGHT}"
    size = {"width": WIDTH, "height": HEIGHT}
    _, truth = journal.run(line, draw_scene, scene, quiet=True, **size)
    line = f"map {run} {scene} --out {classes}"
    tell(journal.run(line, make_map, Predictor(run), scene, classes), scene, classes)
    line = f"evaluate {classes} --reference {truth} --out {result}"
    journal.run(line, evaluate_map, DOMAIN, classes, truth, result)
    page = out / "map.html"
    write_map_page(page, scene, classes, title="A scene and its classes", generated=True)
    journal.card("Map", "map.html", "Swipe between a large scene and its classes.")
    text = "Error matrix and error-adjusted areas against the true regions."
    journal.card("Map accuracy", "map-result/report.html", text)
