"""`sdiag gcd --against-transfer`: conflict beside transfer, as text, JSON and a record."""

import numpy as np
import pytest
from conflict_records import conflict, planted, transfer
from typer.testing import CliRunner

from degradation.errors import DataError
from sdiag.cli import app
from sdiag.commands.against import against_text, compare, read_pairwise
from socialfusion.transfer.against_conflict import read_against
from socialfusion.transfer.records import write_transfer


def test_only_the_pair_of_the_same_encoder_is_set_beside_the_transfer(tmp_path):
    degrees, directed = planted(-1)
    pairs = {"tiny": conflict(degrees), "other": conflict(degrees, digest="third")}
    (record,) = compare(pairs, transfer(directed), tmp_path)
    assert read_against(tmp_path / "tiny") == record
    assert not (tmp_path / "other").exists()
    text = against_text(record)
    assert "tiny post against transfer tiny, equal-samples" in text
    assert "Rank correlation −1.00" in text
    assert "10 pairs of 5 tasks" in text
    degrees = [float(line.split()[-2]) for line in text.splitlines() if " x " in line]
    assert degrees == sorted(degrees)
    assert np.ptp(degrees) > 0
    with pytest.raises(DataError, match="on the same encoder"):
        compare({"other": pairs["other"]}, transfer(directed), tmp_path)


def test_a_record_without_pairs_or_none_at_all_is_refused_first(tmp_path):
    write_transfer(tmp_path, transfer({}))
    with pytest.raises(DataError, match="sdiag transfer --pairwise"):
        read_pairwise(tmp_path, "tiny")
    options = ["--results", str(tmp_path), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, ["gcd", "--against-transfer", "absent", *options])
    assert isinstance(done.exception, DataError)
    assert "absent.json" in str(done.exception)
    assert not (tmp_path / "cache").exists()
