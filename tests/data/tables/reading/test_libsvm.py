"""LIBSVM files hold what scikit-learn finds in them; a wrong line is named."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch
from scipy.sparse import random as random_sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from tests.data.tables.people import table as people_table
from tests.data.tables.reading.sources import table
from tests.data.tables.refusals import refusal, written

LINES = [f"{1 - i % 2 * 2} 1:{i} 3:{i / 2} 7:1" for i in range(40)]


@pytest.mark.parametrize("place", [1, 900])
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1 x:3", "'x:3' is not index:value"),
        ("1 0:3", "index 0 is below 1; data.zero_based=true"),
        ("1 -2:3", "index -2 is below 1"),
        ("1 2:3 2:4", "index 2 follows 2; indices must ascend"),
        ("1 5:3 2:4", "index 2 follows 5; indices must ascend"),
        ("1 2147483647:1", "index '2147483647' is too large"),
        ("1 99999999999999999999:1", "index '99999999999999999999' is too large"),
        ("1 1e2:1", "'1e2:1' is not index:value"),
        ("1 1_0:1", "'1_0:1' is not index:value"),
        ("1 13", "'13' is not index:value"),
        ("1 1:", "the value of '1:' is not a number"),
        ("1 1: 2", "the value of '1:' is not a number"),
        ("1 1:2:3", "the value of '1:2:3' is not a number"),
        ("1 1:1_0", "the value of '1:1_0' is not a number"),
        ("1 1:inf", "the value of '1:inf' is not finite"),
        ("1 1:nan", "the value of '1:nan' is not finite"),
        ("1 1:1e999", "the value of '1:1e999' is not finite"),
        ("1 1:2 qid:3", "'qid:3' is not index:value"),
        ("yes 1:3", "the label 'yes' is not a number"),
        ("1,2 1:3", "the label '1,2' is not a number"),
        ("1:3 2:4", "the label '1:3' is not a number"),
        ("nan 1:3", "the label 'nan' is not finite"),
        ("1 1:\u0661", "the value of '1:\u0661' is not a number"),
    ],
)
def test_a_libsvm_line_that_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, line: str, fault: str
) -> None:
    monkeypatch.setattr("logreg.data.tables.reading.text_blocks.BLOCK_BYTES", 2**11)
    lines = LINES * (1 + place // 40)
    lines[place - 1] = line
    path = written(tmp_path, "\n".join(lines), "t.svm")
    assert refusal(path, target=None).startswith(f"data.path=t.svm: line {place}: {fault}")


def test_a_libsvm_table_without_two_labels_or_features_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "1 1:2\n" * 20, "t.svm")
    assert "there is only one value, 1 (20 rows)" in refusal(path, target=None)
    path = written(tmp_path, "1\n-1\n" * 20, "t.svm")
    assert refusal(path, target=None) == "data.path=t.svm: no row has any feature."
    path = written(tmp_path, "\n".join(LINES), "t.svm")
    for setting in ("target", "weight", "group"):
        assert refusal(path, **{"target": None, setting: "y"}).startswith(
            f"data.{setting}=y: a LIBSVM file has a label"
        )


def test_a_libsvm_file_is_known_although_a_line_is_wrong(tmp_path: Path) -> None:
    lines = list(LINES)
    lines[20] = "1 oops"
    assert "line 21: 'oops' is not index:value" in refusal(written(tmp_path, "\n".join(lines), "t.txt"), target=None)


def sparse(rows: int = 90, width: int = 12) -> tuple[Any, np.ndarray]:
    random = np.random.default_rng(2)
    x = random.normal(size=(rows, width)).round(6) * (random.random((rows, width)) < 0.4)
    x[:, -1] = 1 + np.arange(rows)  # every row has the last column
    return x, np.where(np.arange(rows) % 2, 1, -1)


def libsvm(zero_based: bool = False, **settings: Any) -> bytes:
    file = io.BytesIO()
    x, y = sparse(**settings)
    dump_svmlight_file(x, y, file, zero_based=zero_based)
    return file.getvalue()


@pytest.mark.parametrize("block", [2**23, 50])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b"# a comment: 1:1\n" + text.replace(b"\n", b" # 7:7\n"),
        lambda text: text.replace(b" ", b" qid:1 ", 1),
        lambda text: b"\xef\xbb\xbf" + text.rstrip(b"\n"),
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.replace(b"\n", b"\r"),
        gzip.compress,
        lambda text: pa.compress(text, codec="zstd", asbytes=True),
    ],
)
def test_libsvm_files_hold_what_scikit_learn_finds_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], block: int
) -> None:
    monkeypatch.setattr("logreg.data.tables.reading.text_blocks.BLOCK_BYTES", block)
    path = tmp_path / "table.svm"
    path.write_bytes(change(libsvm()))
    data = table(path, target=None, storage="float64")
    expected, labels = load_svmlight_file(io.BytesIO(libsvm()))
    indptr, indices, values = data.table.csr
    assert indptr.tolist() == expected.indptr.tolist()
    assert indices.tolist() == expected.indices.tolist()
    np.testing.assert_array_equal(values, expected.data)
    assert data.table.y.tolist() == (labels > 0).astype(int).tolist()


def test_libsvm_is_known_by_its_lines_and_may_begin_at_0(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(libsvm())
    (tmp_path / "zero.txt").write_bytes(libsvm(zero_based=True))
    one, zero = table(tmp_path / "one.txt", target=None), table(tmp_path / "zero.txt", target=None, zero_based=True)
    for left, right in zip(one.table.csr, zero.table.csr, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("width", "noted"), [(5, False), (12, False), (30, True)])
def test_later_libsvm_files_have_the_width_of_training(tmp_path: Path, width: int, noted: bool) -> None:
    (tmp_path / "train.svm").write_bytes(libsvm())
    (tmp_path / "test.svm").write_bytes(libsvm(width=width))
    data = table(tmp_path / "train.svm", target=None, test_path=str(tmp_path / "test.svm"), storage="float64")
    x, _ = sparse(width=width)
    expected = np.zeros((len(x), 12))
    expected[:, : min(width, 12)] = x[:, :12]
    indptr, indices, values = data.table.csr
    rows = data.rows["test"]
    dense = np.zeros((len(rows), 12))
    for i, row in enumerate(rows):
        dense[i, indices[indptr[row] : indptr[row + 1]]] = values[indptr[row] : indptr[row + 1]]
    np.testing.assert_array_equal(dense, expected)
    assert any("30 columns" in note for note in data.table.notes) == noted


def test_a_libsvm_table_is_scikit_learns_matrix(tmp_path: Path) -> None:
    x = random_sparse(120, 40, density=0.1, format="csr", random_state=0)
    y = np.where(np.random.default_rng(0).random(120) < 0.4, 1, -1)
    dump_svmlight_file(x, y, str(tmp_path / "t.svm"), zero_based=False)
    data = people_table(tmp_path, str(tmp_path / "t.svm"), target=None)
    expected, labels = load_svmlight_file(str(tmp_path / "t.svm"))
    for split in ("train", "val", "test"):
        ours, ones = data.tensors(split)
        assert ours.is_sparse_csr
        np.testing.assert_allclose(ours.to_dense(), expected[data.rows[split]].toarray(), rtol=1e-6)
        np.testing.assert_array_equal(ones, labels[data.rows[split]] == 1)
    positions = np.array([5, 3, 5])
    batch = data.served("train").take(torch.from_numpy(positions))
    np.testing.assert_allclose(batch[0].to_dense(), expected[data.rows["train"][positions]].toarray(), rtol=1e-6)
