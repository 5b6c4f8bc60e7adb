"""Which configurations fit which labels."""

import pytest

from likeness.config import parse
from likeness.errors import UserError
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs
from likeness_apps.shell.tasks import require_fit, task_of

ONE = task_of(["a", "b"], multilabel=False)
SEVERAL = task_of(["a", "b"], multilabel=True)


def spec(*changes, app="skin_lesion", name="focal"):
    return parse(RunSpec, configs.load(app, name, changes))


@pytest.mark.parametrize("name", ["focal", "cross_entropy", "attention_triplet", "smoke"])
def test_configurations_for_one_class_per_image(name):
    require_fit(spec(name=name), ONE, "")
    with pytest.raises(UserError, match="config must be for a multi-label set"):
        require_fit(spec(name=name), SEVERAL, "")


def test_every_option_for_other_labels_is_named():
    with pytest.raises(UserError, match=r"objective\.classification\.name=focal"):
        require_fit(spec("monitor=macro_ap"), SEVERAL, "")
    told = "monitor=average_accuracy, objective.classification.name=cross_entropy, sampler.name="
    with pytest.raises(UserError, match=told):
        require_fit(spec(name="smoke"), SEVERAL, "multilabel_triplets")
    several = spec(app="remote_sensing", name="multilabel_triplets")
    require_fit(several, SEVERAL, "")
    with pytest.raises(UserError, match=r"objective\.classification\.name=binary_cross_entropy"):
        require_fit(several, ONE, "")
    binary = spec("objective.classification.name=binary_cross_entropy", name="smoke")
    with pytest.raises(UserError, match=r"got objective\.classification\.name=[a-z_]*$"):
        require_fit(binary, ONE, "")


@pytest.mark.parametrize("monitor", ["accuracy", "average_accuracy"])
def test_what_needs_a_class_layer(monitor):
    without = spec(f"monitor={monitor}", "objective.classification=null", name="smoke")
    with pytest.raises(
        UserError, match=f"monitor must be one of map_at_r .*'{monitor}'; set monitor"
    ):
        require_fit(without, ONE, "")
    require_fit(spec("monitor=map_at_r", "objective.classification=null", name="smoke"), ONE, "")
    require_fit(spec("monitor=null", "objective.classification=null", name="smoke"), ONE, "")
