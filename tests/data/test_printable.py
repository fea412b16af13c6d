from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.data.printable import printable


def test_ordinary_text_stays_and_the_rest_is_escaped() -> None:
    assert printable("photo 1, Café 写真.jpg") == "photo 1, Café 写真.jpg"
    assert printable("a\n\x1b[2J") == r"a\n\x1b[2J"
    assert printable(12) == "12"


@given(st.text())
def test_any_text_can_be_printed(text: str) -> None:
    shown = printable(text + "\ud800")
    assert shown.isprintable()
    shown.encode()
