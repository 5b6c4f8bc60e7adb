from likeness_apps.remote_sensing.sample import write_sample as write_scenes
from likeness_apps.shell.generated import is_generated
from likeness_apps.skin_lesion.sample import write_sample as write_lesions


def test_what_sample_writes_is_known_as_generated(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", per_class=1, size=16)
    assert is_generated(scenes)
    assert is_generated(scenes / "Images")  # whoever names the folder inside means the same set
    for layout in ("isic-2017", "ham10000"):
        root = write_lesions(tmp_path / layout, layout=layout, per_class=4, size=(32, 32))
        assert is_generated(root)


def test_other_readmes_are_none(tmp_path):
    (tmp_path / "set").mkdir()
    assert not is_generated(tmp_path / "set")
    (tmp_path / "set" / "readme.txt").write_text("Photographs; no generated data: none.\n")
    assert not is_generated(tmp_path / "set")
