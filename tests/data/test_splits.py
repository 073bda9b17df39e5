"""Splits, standardisation and the two bundled sources."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.preprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from logreg.core.errors import UserError
from logreg.core.options.rows import SplitOptions
from logreg.data import BreastCancerData, ToyData
from logreg.data.splits import dealt, stratified
from logreg.data.tables.preparing.assign import evenly_spaced
from logreg.data.tables.preparing.preprocessor import Preprocessor


@given(st.integers(10, 60), st.integers(10, 60), st.integers(0, 100))
@settings(deadline=None)
def test_splits_partition_the_rows_and_keep_the_share_of_each_class(zeros: int, ones: int, seed: int) -> None:
    y = np.array([0] * zeros + [1] * ones)
    rows = stratified(y, {"train": 0.6, "val": 0.2, "test": 0.2}, seed)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(len(y)))
    for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        for count, label in ((zeros, 0), (ones, 1)):
            assert abs(int((y[rows[name]] == label).sum()) - share * count) <= 2


def test_the_split_depends_on_the_seed_and_on_nothing_else() -> None:
    y = np.arange(100) % 2
    fractions = {"train": 0.5, "test": 0.5}
    first, again, other = (stratified(y, fractions, seed)["test"].tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("fractions", "named"),
    [
        ({"train": 0.5}, "add up to 1"),
        ({"val": 1.0}, "train above 0"),
        ({"train": 1.2, "val": -0.2}, "data.split.train"),
        ({"train": 0.9, "tset": 0.1}, "data.split.tset"),
    ],
)
def test_fractions_that_make_no_sense_are_refused(fractions: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        SplitOptions(fractions).fractions()


def test_too_few_rows_of_a_class_are_refused_with_the_counts() -> None:
    with pytest.raises(UserError, match=r"label 0 has 9 rows, label 1 has 1;"):
        stratified(np.array([0] * 9 + [1]), {"train": 0.8, "val": 0.2}, 0)


def test_standardised_like_scikit_learn_by_training_rows_only() -> None:
    data = BreastCancerData("bc", seed=3, split={"train": 0.6, "val": 0.2, "test": 0.2})
    data.setup()
    scaler = sklearn.preprocessing.StandardScaler().fit(data.source.x[data.rows["train"]])
    for split in ("train", "val", "test"):
        expected = scaler.transform(data.source.x[data.rows[split]])
        np.testing.assert_allclose(data.tensors(split)[0].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_constant_column_is_left_at_zero() -> None:
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(Preprocessor.fit(x, ["a", "b"], True).transform_numbers(x), [[-1, 0], [1, 0]])


def test_the_fingerprint_is_of_the_content() -> None:
    toy, cancer = ToyData("toy"), BreastCancerData("bc")
    assert toy.source.fingerprint == ToyData("other name", seed=9).source.fingerprint != cancer.source.fingerprint


def test_folds_are_stratified_disjoint_and_all_rows() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 203)
    parts = [dealt(labels, {}, 10, fold, seed=3) for fold in range(10)]
    assert sorted(np.concatenate([part["val"] for part in parts])) == list(range(203))
    for part in parts:
        assert sorted(np.concatenate([part["train"], part["val"]])) == list(range(203))
        assert abs(labels[part["val"]].mean() - labels.mean()) < 0.06
        assert len(part["test"]) == 0
    assert not np.array_equal(parts[0]["val"], dealt(labels, {}, 10, 0, seed=4)["val"])


@pytest.mark.parametrize(("folds", "fold"), [(None, 1), (5, None), (1, 0), (5, 5), (5, -1)])
def test_folds_that_cannot_be_are_refused(folds: int | None, fold: int | None) -> None:
    with pytest.raises(UserError, match=r"data\.fold"):
        SplitOptions(folds=folds, fold=fold)


@pytest.mark.parametrize("most", [1, 7, 1000, 10**7])
def test_evenly_spaced_rows_of_a_part_are_found_in_blocks(most: int) -> None:
    part = np.random.default_rng(0).integers(-1, 3, 3 * 2**20 + 5).astype(np.int8)
    expected = np.flatnonzero(part == 1)
    expected = expected[:: max(1, len(expected) // most)]
    np.testing.assert_array_equal(evenly_spaced(part, 1, most), expected)
