"""From options to a snapshot: what the compiler is told, what is kept, what is refused."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayd.resources.gateway import Gateway
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.runtime.configuration import Refused, compile_options, load_configuration, read_configuration
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.summary import set_aside_lines, shortened
from tests.runtime.running import DIRECT, GATEWAY, configuration


def options(folder: Path, **changes: object) -> RunOptions:
    return replace(RunOptions(paths=(str(folder),)), **changes)  # type: ignore[arg-type]


def test_the_compiler_is_told_every_flag_that_concerns_it(tmp_path: Path) -> None:
    asked = options(
        tmp_path,
        port_map={80: 8080},
        port_offset=5,
        bind=("127.0.0.1",),
        namespace="edge",
        labels={"a": "b"},
        cluster_domain="corp",
        unknown_hosts="reject",
        extended_connect=True,
        misdirected=421,
        endpoints=(
            ("reviews", "", "127.0.0.1", 1),
            ("reviews", "v2", "127.0.0.1", 2),
            ("reviews", "", "127.0.0.1", 3),
        ),
    )
    told = compile_options(asked, MeshConfig(root_namespace="root"))
    assert (told.port_map, told.port_offset, told.bind) == ({80: 8080}, 5, ("127.0.0.1",))
    assert (told.namespace, told.labels, told.cluster_domain) == ("edge", {"a": "b"}, "corp")
    assert told.unknown_hosts == "reject"
    assert (told.extended_connect, told.misdirected_request) == (True, True)
    assert told.mesh.root_namespace == "root"
    assert told.endpoint_pins == {
        "reviews": [("127.0.0.1", 1), ("127.0.0.1", 3)],
        "reviews:v2": [("127.0.0.1", 2)],
    }


def test_documents_are_let_go_once_they_are_compiled(tmp_path: Path) -> None:
    made = read_configuration(options(configuration(tmp_path)), adopt=lambda spec: spec)
    assert made.resources == 2
    assert made.kinds == {"Gateway", "VirtualService"}
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Gateway]
    assert len(made.snapshot.listeners) == 1


def test_clusters_are_adopted_once_each(tmp_path: Path) -> None:
    adopted: list[str] = []
    read_configuration(options(configuration(tmp_path)), adopt=lambda spec: adopted.append(spec.name))
    assert adopted == ["outbound|80||backend.test"]


def test_findings_are_printed_as_validate_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = DIRECT.replace("hosts:", "hostz:")
    made = load_configuration(options(configuration(tmp_path, GATEWAY, broken)), adopt=lambda spec: spec)
    error = capsys.readouterr().err
    assert 'unknown field "hostz" (did you mean "hosts"?)' in error
    assert f"--> {tmp_path}/1.yaml:5:3" in error
    assert error.splitlines()[-1].startswith("2 files, 1 resource, ")
    assert len(made.set_aside) == 1


def test_without_findings_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    direct = DIRECT.rpartition("  - route")[0]
    load_configuration(
        options(configuration(tmp_path, GATEWAY, direct), labels={"a": "b"}), lambda spec: spec
    )
    assert capsys.readouterr().err == ""


def test_a_mesh_configuration_with_an_error_is_refused(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.conf"
    mesh.write_text("rootNamespace: [a]\n")
    with pytest.raises(Refused, match="has an error") as caught:
        load_configuration(options(configuration(tmp_path), mesh_config=str(mesh)), adopt=lambda spec: spec)
    assert caught.value.exit_code == 78


def test_a_long_list_of_what_is_set_aside_is_cut(tmp_path: Path) -> None:
    documents = [
        GATEWAY,
        *(DIRECT.replace("name: shop", f"name: s{i}").replace("http:", "htp:") for i in range(30)),
    ]
    made = read_configuration(options(configuration(tmp_path, *documents)), adopt=lambda spec: spec)
    lines = set_aside_lines(made)
    assert lines[1] == "!! NOT SERVED: 30 documents set aside because of 30 errors (listed above)"
    assert lines[-1] == "!!   and 10 more"
    assert len(lines) == 23


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b, c and 1 more"), ([], "")],
)
def test_lists_of_names_are_cut(names: list[str], text: str) -> None:
    assert shortened(names, 3) == text
