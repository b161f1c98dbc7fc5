import pytest

from sidebyside.core.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a shirt, grün: 衬衫.png", "a shirt, grün: 衬衫.png"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("no text: \udcff", r"no text: \udcff"),
        ("\u2028\u202e", r"\u2028\u202e"),
    ],
)
def test_only_unprintable_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
