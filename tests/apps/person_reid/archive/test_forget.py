"""`person-reid forget`: nothing of a person stays, whatever kills the call."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fixtures.front_door import assert_refused, likeness
from fixtures.people_archive import PEOPLE, STATED, everything_in
from likeness.files import write_json
from likeness.search.index import open_index
from likeness_apps.person_reid.archive import forget as module

ANNA, BERT = PEOPLE[:2]


def forget(*words: object):
    return likeness("forget", *words, application="person-reid")


def traces(index: Path, gone) -> list[bytes]:
    """Whatever could be found of the rows that `gone` is true for."""
    opened = open_index(index)
    gone_G = gone(opened.rows)
    rows = opened.rows[gone_G]
    found = [row_D.tobytes() for row_D in opened.embeddings_GD[gone_G]]
    found += [
        cell.encode() for name in ("tracklet", "path", "sha256", "crop") for cell in rows[name]
    ]
    for crop in rows["crop"]:
        picture = (index / crop).read_bytes()
        middle = len(picture) // 2
        found += [picture, picture[middle : middle + 40]]
    return found


def of_anna(rows):
    return (rows["label"] == ANNA).to_numpy()


def log_of(index: Path) -> list[dict]:
    return [json.loads(line) for line in (index / "audit.jsonl").read_text().splitlines()]


def test_nothing_of_a_person_is_left_in_any_byte(copied, scene):
    sought = [ANNA.encode(), *traces(copied, of_anna)]
    before = everything_in(copied, weights=True)
    assert all(trace in before for trace in sought)
    ended = forget(copied, "--id", ANNA)
    assert ended.code == 0, ended.err
    assert ANNA not in ended.out
    after = everything_in(copied.parent, weights=True)  # beside it, too
    assert not [trace for trace in sought if trace in after]
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]
    entry = log_of(copied)[-1]
    assert (entry["event"], entry["tracklets"], entry["pictures"]) == ("forget", 2, 2)
    assert entry["left"] == 6
    assert "6 tracklets" in (copied / "README.md").read_text(encoding="utf-8")
    found = likeness("search", copied, scene.queries, application="person-reid")
    assert found.code == 0, found.err
    assert f"{ANNA}/cam-b" not in found.out


def test_who_stays_is_as_before_bit_for_bit(copied, kept):
    tracklet = f"{BERT}/cam-b/t1"
    assert forget(copied, "--id", tracklet, "--id", ANNA, "--quiet").code == 0
    old, new = open_index(kept), open_index(copied)
    keep_G = ((old.rows["label"] != ANNA) & (old.rows["tracklet"] != tracklet)).to_numpy()
    assert keep_G.sum() == 5
    assert new.rows.equals(old.rows[keep_G].reset_index(drop=True))
    np.testing.assert_array_equal(new.embeddings_GD, old.embeddings_GD[keep_G])
    assert f"{BERT}/cam-b/t0" in new.rows["tracklet"].tolist()
    for crop in new.rows["crop"]:
        assert (copied / crop).read_bytes() == (kept / crop).read_bytes()
    assert len(list((copied / "crops").iterdir())) == 5


def test_an_unknown_name_removes_nobody(copied, kept):
    refused = forget(copied, "--id", ANNA, "--id", "walker")
    assert_refused(refused, "id must be an identity or tracklet of the index", "'walker'")
    assert everything_in(copied) == everything_in(kept)
    assert_refused(forget(copied), "--expired")
    assert_refused(forget(copied, "--id", ""), "id must be")


def test_expired(copied, scene, kept):
    ended = forget(copied, "--expired")
    assert ended.code == 0
    assert "not expired" in ended.out
    assert everything_in(copied) == everything_in(kept)
    sought = [name.encode() for name in PEOPLE]
    sought += traces(copied, lambda rows: np.ones(len(rows), dtype=bool))
    facts = json.loads((copied / "index.json").read_text(encoding="utf-8"))
    changed = facts["facts"] | {"retention": "2001-01-01"}
    write_json(copied / "index.json", facts | {"facts": changed})
    assert forget(copied, "--expired").code == 0
    assert [path.name for path in copied.iterdir()] == ["audit.jsonl"]
    assert not [trace for trace in sought if trace in everything_in(copied.parent)]
    entry = log_of(copied)[-1]
    assert (entry["why"], entry["tracklets"], entry["left"]) == ("retention", 8, 0)
    emptied = likeness("search", copied, scene.queries, application="person-reid")
    assert_refused(emptied, "index must be one that holds somebody")
    # A new index in its place goes on with the log.
    words = ("index", scene.model, scene.queries, "--out", copied, *STATED)
    assert likeness(*words, application="person-reid").code == 0
    assert [entry["event"] for entry in log_of(copied)] == ["index", "forget", "index"]


@pytest.mark.parametrize("step", ["write_index", "write_readme", "write_log"])
def test_a_call_that_ends_early_leaves_the_old_index(copied, kept, monkeypatch, step):
    def stop(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, stop)
    with pytest.raises(KeyboardInterrupt):
        module.forget(copied, [ANNA])
    assert everything_in(copied.parent) == b"copied\0" + everything_in(kept)


def test_a_kill_between_the_renames_leaves_one_whole_index(copied, scene, kept):
    """By hand: what a killed process leaves at either side of the second renaming."""
    aside = copied.with_name(".copied.old")
    copied.rename(aside)
    (copied.with_name(".copied.new")).mkdir()
    found = likeness("search", copied, scene.queries, "--quiet", application="person-reid")
    assert found.code == 0, found.err
    assert forget(copied, "--id", ANNA).code == 0
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]
    shutil.copytree(kept, aside, copy_function=os.link)  # killed before the old one was removed
    assert ANNA.encode() in everything_in(copied.parent)
    refused = forget(copied, "--id", ANNA)  # who is gone already
    assert_refused(refused, "id must be")
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]
    assert ANNA.encode() not in everything_in(copied.parent)
