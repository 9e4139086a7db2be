from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dgl_mutual.errors import UsageError
from dgl_mutual.utils.plain_yaml import MAX_DEPTH, MAX_SIZE, read_yaml, read_yaml_file, yaml_text


@pytest.mark.parametrize(
    "text",
    [
        "a: 1",
        "",
        "[1, 2.5, x, null, true]",
        "a: &x [1]\nb: *x",
        "x: &x {a: 1}\ny: {<<: *x, a: 2}",
        "é: ü",
        "a: 50%\nb: |\n  %x\n18446744073709551615: 0\n-1_0: 0\n0x1F: 0\n0b11: 0\n1.5: 0\nnull: 0",
        "{1: 0, '1': 0, 'true': 0, null: 0, 'null': 0, 1.5: 0, '1.5': 0}",
        "[0, -0, 0.5, 0x1F, 08, '010', '1:30']",
    ],
)
def test_valid_yaml_gives_the_values_of_pyyaml(text: str) -> None:
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "'a' occurs twice, again in line 3"),
        ("x:\n  - {k: 1, 'k': 2}", "twice"),
        ("true: 1\nyes: 2", "'yes' occurs twice, as 'true' and again in line 2"),
        *((f"{{{first}: 1, {again}: 2}}", "twice") for first, again in [("1", "0x1"), ("~", "null"), ("1.0", "1"), ("on", "1")]),
        *(
            (f"{{{first}: 1, {again}: 2}}", "twice")
            for first, again in [("2026-01-01 0:00:00", "2026-1-1 00:00:00"), (".inf", "+.INF"), ("1.0e+3", "1000.0")]
        ),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "too deeply"),
        ("- " * 100_000, "too deeply"),
        ("a: " + "9" * 4301, "digits"),
        ("a: 0x" + "f" * 5000, "digits"),
        ("a: " + "1:1" * 50_000, "digits"),
        ("a: " + "1:" * 400 + "1.5", "base 60"),
        ("a: 1:30", "'1:30' is a number to base 60"),
        ("a: -010", "'-010' is a number to base 8"),
        ("a: 2024-13-45", "cannot be read"),
        ("a: &a [*a]", "expand"),
        ("x" * (MAX_SIZE + 1), "characters"),
        ("\ud800", "cannot be read"),
        ("%YAML 1.1\n---\na: 1", r"starts with % \('%YAML 1.1'\): leave"),
        ("# x\n\n%TAG !e! tag:x\n--- 0", "%TAG"),
        ("\ufeff%TAG !e! tag:x\n--- 0", "%TAG"),
        ("0\n...\n%TAG !e! tag:x\n--- 0", "%TAG"),
        (
            "{" + ",".join(f"{(2**61 - 1) * k}: 0" for k in range(1, 1000)) + "}",
            "the key '20752587082923245559' is a number of more than 64",
        ),
        ("{0x1FFFFFFFFFFFFFFFF: 0}", "more than 64 bits"),
        ("{" + ",".join(f"{k}: 0" for k in range(1, 10_002)) + "}", "more than 10000 keys that are not strings"),
        ("[" + ",".join(f"&a{k} 0" for k in range(10_001)) + "]", "more than 10000 anchors"),
        ("a: !!python/object/apply:os.system [x]", "constructor"),
    ],
)
def test_all_faults_raise_the_same_error(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError, match=told):
        read_yaml(text)


@pytest.mark.parametrize("text", [f"*{'x' * 100_000}", f"!<{'x' * 100_000}> 1", f"[{'&a 0, &a 1' * 9}, {{!!int {'x' * 100_000}: 1}}]"])
def test_an_error_does_not_quote_megabytes(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        read_yaml(text)
    assert len(str(caught.value)) < 1100


def test_merged_keys_expand_within_bounds() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    with pytest.raises(yaml.YAMLError, match="expand"):
        read_yaml("\n".join(lines))


def test_only_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "none"):
        with pytest.raises(OSError):
            read_yaml_file(tmp_path / name)


def test_written_values_are_read_again_in_their_order() -> None:
    values = {"b": ["\u00e9", {"a": None}], "a": "010"}
    assert list(read_yaml(yaml_text(values)).items()) == list(values.items())


@pytest.mark.parametrize("values", ["lat\udce9", {"a": [{"b": "lat\udce9"}]}, {"lat\udce9": 1}])
def test_text_that_could_not_be_read_again_is_not_written(values: object) -> None:
    with pytest.raises(UsageError, match=r"'lat\\udce9' cannot be encoded as UTF-8"):
        yaml_text(values)
