from likeness.data.findings import COLUMNS, Finding, condense, findings_table, sort_findings


def finding(level, code, path):
    return Finding(level, code, path, "what", "do")


def test_errors_come_first_then_code_then_path():
    given = [
        finding("warning", "a", "1"),
        finding("error", "z", "2"),
        finding("error", "b", "9"),
        finding("error", "b", "1"),
    ]
    order = [(f.level, f.code, f.path) for f in sort_findings(given)]
    assert order == [
        ("error", "b", "1"),
        ("error", "b", "9"),
        ("error", "z", "2"),
        ("warning", "a", "1"),
    ]


def test_a_table_without_findings_still_has_its_columns():
    table = findings_table([])
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 0


def test_the_table_keeps_order_and_text():
    given = (finding("warning", "a", "1"), finding("error", "b", ""))
    table = findings_table(given)
    assert table["path"].tolist() == ["1", ""]
    assert table["level"].tolist() == ["warning", "error"]


def test_condense_counts_what_it_leaves_out_and_keeps_rare_kinds():
    many = [finding("warning", "foreign-file", f"{n:03d}") for n in range(600)]
    kept = condense([*many, finding("error", "rare", "x")], limit=3)
    assert [f.path for f in kept] == ["x", "000", "001", "002", ""]
    assert kept[-1].message == "597 more of this kind"
    assert (kept[-1].level, kept[-1].code) == ("warning", "foreign-file")


def test_condense_leaves_a_full_list_alone():
    many = [finding("warning", "a", str(n)) for n in range(3)]
    assert condense(many, limit=3) == sort_findings(many)
