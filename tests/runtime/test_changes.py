"""What a reload changed, in words."""

from __future__ import annotations

from pathlib import Path

from gatewayd.runtime.changes import Changes, Difference, changes
from gatewayd.runtime.configuration import Configuration, ConfigurationReader
from gatewayd.runtime.options import RunOptions
from tests.runtime.running import DIRECT, GATEWAY


def test_differences_are_counted_and_named() -> None:
    made = Difference.of({"gone": 1, "same": 1, "other": 1}, {"same": 1, "other": 2, "new": 1})
    assert made == Difference(("new",), ("gone",), ("other",))
    assert made.words("clusters") == "clusters +1 -1 ~1"
    assert not Difference.of({"same": 1}, {"same": 1})


class Reading:
    """A folder that is read again after each change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader = ConfigurationReader(RunOptions(paths=(str(folder),), status=None))
        self.write("gateway.yaml", GATEWAY)
        self.write("shop.yaml", DIRECT)
        self.last: Configuration = self.read()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def read(self) -> Configuration:
        configuration = self.reader.read(lambda: lambda spec: spec)
        self.reader.put_in_force(configuration)
        return configuration

    def changed(self) -> Changes:
        before, self.last = self.last, self.read()
        return changes(before, self.last)


def test_each_kind_of_change_has_its_word(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    assert str(reading.changed()) == "nothing changed"

    reading.write("shop.yaml", DIRECT.replace("hello", "good day"))
    assert str(reading.changed()) == "resources ~1 (VirtualService shop/shop)"

    reading.write("shop.yaml", DIRECT.replace("shop.test", "store.test").replace("backend.test", "else.test"))
    assert str(reading.changed()) == ("hosts +1 -1, clusters +1 -1, resources ~1 (VirtualService shop/shop)")

    reading.write("gateway.yaml", GATEWAY.replace("number: 80", "number: 81"))
    assert str(reading.changed()).startswith("listeners +1 -1, hosts +1 -1, ")
    (tmp_path / "shop.yaml").unlink()
    assert "resources -1 (VirtualService shop/shop)" in str(reading.changed())


def test_a_file_written_anew_with_the_same_content_changes_nothing(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    snapshot = reading.last.snapshot
    reading.write("shop.yaml", DIRECT + "# a remark at the end\n")
    assert not reading.changed()
    assert reading.last.snapshot is snapshot


def test_of_many_names_the_first_are_said(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    for number in range(9):
        text = DIRECT.replace("name: shop,", f"name: shop{number},").replace("shop.test", f"{number}.test")
        reading.write(f"{number}.yaml", text)
    assert "VirtualService shop/shop3 and 5 more)" in str(reading.changed())


def test_secrets_are_not_named_by_their_content(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    reading.write("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: hidden}\n")
    assert "hidden" not in str(reading.changed())
