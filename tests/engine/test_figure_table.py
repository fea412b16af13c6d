"""Figures of columns side by side."""

from vlp_fast.engine.figure_table import in_columns

COLUMNS = ("own_text", "no_text", "far_text")


def test_columns_stand_side_by_side_and_others_apart() -> None:
    figures = {"loss": 2.0, "ap_own_text": 0.5, "ap_no_text": 0.25, "ap50_no_text": 1, "gain": 3}
    rest, table = in_columns(figures, COLUMNS)
    assert rest == {"loss": 2.0, "gain": 3}
    assert table == [
        "       own_text    no_text",
        "ap       0.5000     0.2500",
        "ap50          -     1.0000",
    ]


def test_without_columns_all_are_apart() -> None:
    figures = {"loss": 2.0, "ap_own_text": 0.5}
    assert in_columns(figures, ()) == (figures, [])
    assert in_columns({}, COLUMNS) == ({}, [])
    assert in_columns({"loss": 1.0}, COLUMNS) == ({"loss": 1.0}, [])
