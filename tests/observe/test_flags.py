"""Every response flag that can occur is explained, in the product and on its page (product.md section 5)."""

from __future__ import annotations

import re
from pathlib import Path

from gatewayd import errors
from gatewayd.observe.flags import FLAGS, explained

ROOT = Path(__file__).parents[2]


def test_every_flag_of_a_failure_is_explained() -> None:
    flags = {each.flag for each in vars(errors).values() if isinstance(each, errors.Failure)} - {"", "-"}
    assert flags - FLAGS.keys() == set()


def test_every_flag_that_is_set_anywhere_is_explained() -> None:
    for path in (ROOT / "gatewayd" / "proxy").glob("*.py"):
        said = set(re.findall(r'(?:flags? = |flags? \+= |_flag\()"([A-Z]{2,5})"', path.read_text()))
        assert said - FLAGS.keys() == set(), path


def test_what_several_flags_mean() -> None:
    assert [each["flag"] for each in explained("URX,UF")] == ["URX", "UF"]
    assert explained("URX,UF")[1]["meaning"].startswith("No connection to the endpoint")
    assert explained("") == explained("-") == []


def test_the_page_says_the_same() -> None:
    rows = re.findall(
        r"^\| `([A-Z]+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs/response_flags.md").read_text(), re.M
    )
    assert rows == [(name, flag.meaning, flag.next) for name, flag in FLAGS.items()]
