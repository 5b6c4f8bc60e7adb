import pytest

from likeness.training.logs import CsvLog


def text(path):
    return path.read_text(encoding="utf-8")


def test_rows_are_there_as_soon_as_they_are_written(tmp_path):
    log = CsvLog(tmp_path / "logs/train.csv", rows=0)
    log.write({"step": 1, "loss": 0.1})
    log.write({"step": 2, "loss": float("nan")})
    assert text(tmp_path / "logs/train.csv") == "step,loss\n1,0.1\n2,nan\n"
    log.close()


@pytest.mark.parametrize(
    ("before", "rows", "kept"),
    [
        ("step,loss\n1,0.1\n2,0.2\n3,0.3\n", 2, "step,loss\n1,0.1\n2,0.2\n"),
        ("step,loss\n1,0.1\n2,0.2\n3,0.", 3, "step,loss\n1,0.1\n2,0.2\n"),
        ("step,loss\n1,0.1\n", 0, ""),
        ("step,lo", 0, ""),
        ("step,loss\n1,0.1\n", 5, "step,loss\n1,0.1\n"),
        (None, 3, ""),
    ],
    ids=["cut-back", "half-a-row", "begun-anew", "half-a-header", "rows-are-missing", "no-file"],
)
def test_a_log_is_cut_back(tmp_path, before, rows, kept):
    path = tmp_path / "train.csv"
    if before is not None:
        path.write_text(before, encoding="utf-8")
    log = CsvLog(path, rows=rows)
    log.close()
    assert text(path) == kept


def test_a_continued_log_keeps_its_columns(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("step,loss\n1,0.1\n", encoding="utf-8")
    log = CsvLog(path, rows=1)
    log.write({"step": 2, "loss": 1 / 3})
    with pytest.raises(ValueError, match="columns"):
        log.write({"step": 3, "other": 1.0})
    log.close()
    assert text(path) == f"step,loss\n1,0.1\n2,{1 / 3!r}\n"


def test_numbers_survive_exactly(tmp_path):
    number = 0.1 + 0.2
    log = CsvLog(tmp_path / "t.csv", rows=0)
    log.write({"loss": number})
    log.close()
    assert float(text(tmp_path / "t.csv").splitlines()[1]) == number
