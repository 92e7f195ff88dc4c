"""`sdiag encoders`: the catalogue on the terminal and as JSON."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from degradation.encoders.catalogue import ENCODERS, PAIRS
from degradation.encoders.registry import pairs
from degradation.errors import ConfigError
from sdiag.cli import app


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["encoders", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_every_pair_and_encoder_is_listed_on_one_line() -> None:
    lines = run().splitlines()
    first = [line.split()[0].rstrip("*") for line in lines if line]
    for name in (*pairs(), *PAIRS, *ENCODERS):
        assert first.count(name) == 1, name
    assert max(map(len, lines)) <= 110


def test_the_list_shows_what_decides_a_choice() -> None:
    lines = {line.split()[0]: line for line in run().splitlines() if line}
    assert lines["molmoe"].split() == [
        "molmoe", "clip-l-336", "molmoe:post", "21", "336", "confirmed",
    ]  # fmt: skip
    assert lines["llava-1.5"].split()[-2:] == ["0", "confirmed"]
    assert lines["tiny"].split() == ["tiny", "tiny:pre", "tiny:post", "last", "shipped"]
    assert lines["dfn-h-378"].split() == [
        "dfn-h-378", "apple/DFN5B-CLIP-ViT-H-14-378", "2.53+", "apple-amlr",
    ]  # fmt: skip
    assert "paligemma:post*" in lines
    assert "1.26 " in lines["qwen2-vl:post"]


def test_a_pair_is_shown_in_full_with_both_encoders() -> None:
    text = run("sail-vl")
    assert [line for line in text.splitlines() if line and line[0] != " "] == [
        "sail-vl",
        "internvit-300m",
        "sail-vl:post",
    ]
    flat = " ".join(text.split())
    assert PAIRS["sail-vl"].lineage in flat
    assert PAIRS["sail-vl"].source in flat
    assert "not naive of language" in flat
    assert "304,012,288" in flat
    assert "block 23" in flat
    assert ENCODERS["sail-vl:post"].needs in flat
    assert max(map(len, text.splitlines())) <= 100


def test_a_known_delta_of_zero_is_shown_and_unset_fields_are_not() -> None:
    control, open_question = (" ".join(run(name).split()) for name in ("llava-1.5", "molmoe"))
    assert "expected delta 0.0 same the whole tower" in control
    assert "expected delta" not in open_question
    assert "gated" not in control


@pytest.mark.parametrize("name", ["clip-l-336", "molmoe:pre", "molmoe:pre@./folder"])
def test_an_encoder_is_shown_with_the_pairs_that_it_is_in(name: str) -> None:
    text = run(name)
    assert text.splitlines()[0] == "clip-l-336"
    assert "llava-1.5" in text
    assert "gated" not in text


def test_what_has_to_be_accepted_is_said() -> None:
    assert "Accept the terms at huggingface.co/google/paligemma-3b-pt-224" in " ".join(
        run("paligemma:post").split()
    )


def test_json_holds_everything() -> None:
    everything = json.loads(run("--json"))
    assert [one["name"] for one in everything["encoders"]] == list(ENCODERS)
    assert [one["name"] for one in everything["pairs"]] == [*pairs(), *PAIRS]
    one = json.loads(run("qwen2-vl", "--json"))
    assert one["pairs"][0]["candidates"] == ["dfn-h-224"]
    assert [encoder["name"] for encoder in one["encoders"]] == ["dfn-h-378", "qwen2-vl:post"]
    assert one["encoders"][1]["bytes_to_read"] == 1_262_366_720


def test_a_shipped_pair_has_no_published_encoders() -> None:
    shown = json.loads(run("tiny", "--json"))
    assert shown["pairs"][0]["post"] == "tiny:post"
    assert shown["encoders"] == []


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no pair or encoder 'molmo_e'\. Did you mean .*molmoe"):
        run("molmo_e")


def test_listing_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from sdiag.cli import app\n"
        "assert CliRunner().invoke(app, ['encoders']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['encoders', 'qwen2-vl']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'h5py', 'numpy', 'jaxtyping',\n"
        "         'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
