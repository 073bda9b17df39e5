"""A table in a file becomes what scikit-learn's own preprocessing makes of it, split and cached as promised."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from logreg.core.errors import UserError
from logreg.data import TableData, cache
from logreg.data.tables.columns import MISSING, RARE
from logreg.data.tables.preparing.statistics import weighted_median
from logreg.data.tables.preprocessor import Preprocessor
from logreg.optim.newton import Newton
from logreg.optim.objective import linear_coefficients
from tests.helpers import fit, table_data


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Numbers with gaps, texts with rare levels and gaps, a boolean, a date, an id, a constant, and labels."""
    random = np.random.default_rng(seed)
    age = random.normal(40, 12, rows).round(1)
    city = random.choice(["Bonn", "Köln", "Ulm", "Hof"], rows, p=[0.5, 0.3, 0.18, 0.02])
    member = random.random(rows) < 0.4
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 700, rows), unit="D")
    z = (age - 40) / 12 + member - (city == "Ulm")
    label = np.where(random.random(rows) < 1 / (1 + np.exp(-z)), "yes", "no")
    frame = pd.DataFrame({"id": np.arange(rows) + 1000, "age": age, "income": random.lognormal(10, 1, rows).round(2)})
    frame = frame.assign(city=city, member=member, day=day, planet="earth", bought=label)
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.05, "city"] = None
    return frame


def written(folder: Path, frame: pd.DataFrame, name: str = "people.csv") -> str:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return str(path)


def table(folder: Path, path: str, **settings: Any) -> TableData:
    settings = {"target": "bought", "seed": 1, **settings}
    data = table_data(path=path, cache_dir=str(folder / "cache"), **settings)
    data.prepare_data()
    data.setup()
    return data


def test_the_features_are_scikit_learns_fitted_on_training_rows_only(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame), min_count=10)
    train = frame.iloc[data.rows["train"]]
    numbers, texts = ["age", "income"], ["city", "member"]
    oracle = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", add_indicator=False), StandardScaler()),
                numbers,
            ),
            ("texts", OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False), texts),
        ]
    )
    as_text = frame.assign(member=frame.member.map({True: "true", False: "false"}), city=frame.city.fillna("zz"))
    oracle.fit(as_text.iloc[data.rows["train"]])
    named = {
        f"{column}={level}" if level else column: i for i, (column, level) in enumerate(data.preprocessor.features)
    }
    for split in ("train", "val", "test"):
        x = data.tensors(split)[0].double().numpy()
        expected = oracle.transform(as_text.iloc[data.rows[split]])
        names = [name.partition("__")[2] for name in oracle.get_feature_names_out()]
        ours = {
            "age": "age",
            "income": "income",
            "city_Bonn": "city=Bonn",
            "city_Köln": "city=Köln",
            "city_Ulm": "city=Ulm",
            "city_zz": f"city={MISSING}",
            "city_infrequent_sklearn": f"city={RARE}",
            "member_false": "member=false",
            "member_true": "member=true",
        }
        for name, column in ours.items():
            np.testing.assert_allclose(x[:, named[column]], expected[:, names.index(name)], atol=1e-6, err_msg=name)
        gaps = frame.age.isna().to_numpy()[data.rows[split]]
        np.testing.assert_array_equal(x[:, named[f"age={MISSING}"]], gaps)
        weekday = frame.day.dt.isocalendar().day.to_numpy()[data.rows[split]].astype(float)
        reference = frame.day.dt.isocalendar().day.to_numpy()[data.rows["train"]].astype(float)
        np.testing.assert_allclose(
            x[:, named["day=weekday"]], (weekday - reference.mean()) / reference.std(), atol=1e-6
        )
    assert "all its values are different whole numbers" in data.preprocessor.left_out["id"]
    assert data.preprocessor.left_out["planet"] == "it has one value only in the training rows"
    assert train.planet.nunique() == 1
    assert data.preprocessor.target.labels == ("no", "yes")
    np.testing.assert_array_equal(data.tensors("test")[1], (frame.bought == "yes").to_numpy()[data.rows["test"]])


def test_a_frame_of_raw_columns_gets_the_features_of_training(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame), storage="float64")
    import polars as pl

    from logreg.runs.frames import as_frame

    again = Preprocessor.from_json(data.preprocessor.to_json())
    assert again == data.preprocessor
    for raw in (pl.read_csv(tmp_path / "people.csv", try_parse_dates=True), as_frame(frame, again.raw_columns, "")):
        x = again.transform(raw)
        np.testing.assert_allclose(x[data.rows["train"]], data.table.x[data.rows["train"]], atol=1e-12)
        weight = np.random.default_rng(0).normal(size=again.width)
        np.testing.assert_allclose(again.logits(raw, weight, 0.3), x @ weight + 0.3, atol=1e-12)


def test_a_pandas_frame_of_objects_is_read_like_any_other(tmp_path: Path) -> None:
    frame = people()
    pre = table(tmp_path, written(tmp_path, frame)).preprocessor
    from logreg.runs.frames import as_frame

    objects = frame.astype(object).where(frame.notna(), None)
    expected = pre.transform(as_frame(frame, pre.raw_columns, ""))
    np.testing.assert_allclose(pre.transform(as_frame(objects, pre.raw_columns, "")), expected, atol=1e-12)


def test_coefficients_in_raw_units_give_the_same_logits(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame))
    weight = np.random.default_rng(0).normal(size=data.num_features)
    raw, intercept = data.preprocessor.raw_coefficients(weight, 0.3)
    by_name = dict(zip(data.preprocessor.features, raw, strict=True))
    import polars as pl

    row = frame.dropna().iloc[0]
    z = intercept + row.age * by_name["age", ""] + row.income * by_name["income", ""]
    z += by_name["city", row.city] + by_name["member", str(row.member).lower()]
    for part in ("year", "month", "day"):
        z += getattr(row.day, part) * by_name.get(("day", part), 0.0)
    z += row.day.isoweekday() * by_name["day", "weekday"]
    first = pl.from_pandas(frame.dropna().iloc[:1])
    assert data.preprocessor.logits(first, weight, 0.3)[0] == pytest.approx(z, abs=1e-9)


def test_unseen_levels_are_none_and_gaps_take_the_median(tmp_path: Path) -> None:
    data = table(tmp_path, written(tmp_path, people()))
    pre = data.preprocessor
    import polars as pl

    row = {"age": None, "income": 1.0, "city": "Atlantis", "member": True, "day": "2024-05-01"}
    x = dict(zip(pre.features, pre.transform(pl.DataFrame([row]))[0], strict=True))
    age = next(c for c in pre.numeric if c.feature == "age")
    assert x["age", ""] == pytest.approx((age.fill - age.mean) / age.scale)
    assert x["age", MISSING] == 1
    assert all(value == 0 for (column, _), value in x.items() if column == "city")
    with pytest.raises(UserError, match="city, day are missing"):
        pre.transform(pl.DataFrame([{"age": 1, "income": 2, "member": True}]))


def test_missing_values_and_other_labels_do_not_depend_on_the_file_format(tmp_path: Path) -> None:
    frame = people()
    csv, parquet = table(tmp_path, written(tmp_path, frame)), table(tmp_path, written(tmp_path, frame, "p.parquet"))
    assert csv.preprocessor == parquet.preprocessor
    np.testing.assert_array_equal(csv.table.x, parquet.table.x)


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_a_large_offset_costs_no_digits(tmp_path: Path, storage: str) -> None:
    random = np.random.default_rng(0)
    x = 1.7e9 + random.normal(size=1000)
    path = written(tmp_path, pd.DataFrame({"time": x, "bought": random.integers(0, 2, 1000)}))
    data = table(tmp_path, path, storage=storage)
    train = x[data.rows["train"]]
    np.testing.assert_allclose(data.tensors("train")[0][:, 0], (train - train.mean()) / train.std(), atol=2e-6)


def assert_alike(ours: Preprocessor, theirs: Preprocessor) -> None:
    for a, b in zip(ours.columns, theirs.columns, strict=True):
        assert a.feature == b.feature
        if a.kind == "numeric":
            np.testing.assert_allclose(*[(c.mean, c.scale, c.fill, c.indicator) for c in (a, b)], rtol=1e-12)
        else:
            assert a == b


def test_integer_weights_are_repeated_rows_inside_folds_too(tmp_path: Path) -> None:
    frame = people(300).drop(columns="id")
    weights = np.random.default_rng(1).integers(0, 4, len(frame))
    folds = {"group": "row", "folds": 3, "fold": 1, "exclude": ["row"], "min_count": 6}
    frame["row"] = np.arange(len(frame))
    repeated = frame.loc[np.repeat(frame.index, weights)]
    # The same assignment to folds: the groups of the repeated table are those of the rows that have weight.
    kept = frame.assign(w=weights)[weights > 0]
    a = table(tmp_path, written(tmp_path, kept, "weighted.csv"), weight="w", **folds)
    b = table(tmp_path, written(tmp_path, repeated, "repeated.csv"), **folds)
    assert set(repeated.row.to_numpy()[b.rows["val"]]) == set(kept.row.to_numpy()[a.rows["val"]])
    assert_alike(a.preprocessor, b.preprocessor)
    fitted = [
        fit(tmp_path / name, data, 50, Newton, l2=0.01, precision="64-true") for name, data in (("a", a), ("b", b))
    ]
    pairs = [linear_coefficients(classifier.network) for _, classifier, _ in fitted]
    coefficients = [np.concatenate([p.detach().numpy().reshape(-1) for p in pair or ()]) for pair in pairs]
    np.testing.assert_allclose(*coefficients, rtol=1e-8, atol=1e-12)
    for name in ("train/loss", "train/accuracy", "val/log_loss", "val/accuracy", "val/auroc"):
        ours, theirs = (record.metrics[name] for record, *_ in fitted)
        assert ours == pytest.approx(theirs, rel=1e-6), name


def test_weighted_statistics_are_those_of_repeated_rows(tmp_path: Path) -> None:
    frame = people(300).drop(columns="id")
    weights = np.random.default_rng(1).integers(0, 4, len(frame))
    one = {"split": {"train": 1.0}, "min_count": 6}
    a = table(tmp_path, written(tmp_path, frame.assign(w=weights), "weighted.csv"), weight="w", **one)
    b = table(tmp_path, written(tmp_path, frame.loc[np.repeat(frame.index, weights)], "repeated.csv"), **one)
    assert_alike(a.preprocessor, b.preprocessor)
    assert a.training_weight == b.training_weight == weights.sum()


@pytest.mark.parametrize("seed", range(20))
def test_the_weighted_median_is_that_of_repeated_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.integers(0, 6, 9).astype(float), random.integers(0, 4, 9)
    expected = np.median(np.repeat(values, weights)) if weights.any() else np.nan
    np.testing.assert_equal(weighted_median(values, weights.astype(float)), expected)


@pytest.mark.parametrize(("sorted_at_once", "sampled"), [(50, 2**16), (50, 100), (2**23, 2**16), (2**23, 100)])
def test_medians_of_a_table_too_large_to_sort_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sorted_at_once: int, sampled: int
) -> None:
    from logreg.data.tables.preparing import statistics

    monkeypatch.setattr(statistics, "EXACT_VALUES", 8)
    monkeypatch.setattr(statistics, "SAMPLED_ROWS", sampled)
    monkeypatch.setattr(statistics, "SORTED_AT_ONCE", sorted_at_once)
    monkeypatch.setattr(statistics, "BINS", 8)
    frame = people(1000)
    frame["many"] = np.where(np.arange(1000) % 3 == 0, 7.0, np.random.default_rng(0).lognormal(3, 3, 1000))
    frame.loc[5, ["age", "income", "many"]] = np.nan  # of columns without gaps the sample's median is taken
    data = table(tmp_path, written(tmp_path, frame))
    train = frame.iloc[data.rows["train"]]
    fills = {c.feature: c.fill for c in data.preprocessor.numeric if c.part is None}
    for name in ("age", "income", "many"):
        assert fills[name] == np.nanmedian(train[name])


def test_folds_partition_the_rows_and_refit_the_preprocessing(tmp_path: Path) -> None:
    frame = people(200)
    path = written(tmp_path, frame)
    folds = [table(tmp_path, path, folds=5, fold=i) for i in range(5)]
    held_out = np.concatenate([data.rows["val"] for data in folds])
    assert sorted(held_out) == list(range(200))
    share = (frame.bought == "yes").mean()
    for data in folds:
        assert sorted(np.concatenate([data.rows["train"], data.rows["val"]])) == list(range(200))
        assert len(data.rows["test"]) == 0
        assert abs((frame.bought == "yes").to_numpy()[data.rows["val"]].mean() - share) < 0.03
        mean = next(c.mean for c in data.preprocessor.numeric if c.feature == "income")
        assert mean == pytest.approx(frame.income.to_numpy()[data.rows["train"]].mean(), rel=1e-12)


def test_groups_stay_together(tmp_path: Path) -> None:
    frame = people(300)
    frame["household"] = np.random.default_rng(2).integers(0, 60, 300)
    data = table(tmp_path, written(tmp_path, frame), group="household")
    groups = [set(frame.household.to_numpy()[data.rows[split]]) for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == frame.household.nunique()
    assert "household" not in data.preprocessor.raw_columns
    assert 200 < len(data.rows["train"]) < 270


def test_files_of_their_own_are_the_splits_they_are_given_for(tmp_path: Path) -> None:
    frame = people(300)
    paths = [written(tmp_path, part, f"{i}.csv") for i, part in enumerate((frame[:200], frame[200:250], frame[250:]))]
    data = table(tmp_path, paths[0], val_path=paths[1], test_path=paths[2])
    assert [data.rows[split].tolist() for split in ("train", "val", "test")] == [
        list(range(200)),
        list(range(200, 250)),
        list(range(250, 300)),
    ]
    assert len(table(tmp_path, paths[0], test_path=paths[2]).rows["val"]) == pytest.approx(22, abs=1)


def test_the_seed_decides_the_split_and_nothing_else_does(tmp_path: Path) -> None:
    path = written(tmp_path, people(200))
    a, b, c = (table(tmp_path, path, seed=seed, min_count=n) for seed, n in ((1, 2), (1, 9), (2, 2)))
    assert a.rows["train"].tolist() == b.rows["train"].tolist() != c.rows["train"].tolist()


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_table_is_prepared_once_and_again_when_its_file_has_changed(tmp_path: Path) -> None:
    frame = people(200)
    path = written(tmp_path, frame)
    first = table(tmp_path, path)
    before = (first.table.folder / "x").stat().st_mtime_ns
    assert table(tmp_path, path).table.folder == first.table.folder
    assert (first.table.folder / "x").stat().st_mtime_ns == before
    frame.loc[0, "income"] += 1  # of the same length: neither size nor, restored, the time of the change tell
    stat = os.stat(path)
    text = Path(path).read_text().replace("yes", "ye5", 1).replace("ye5", "yes", 1)
    Path(path).write_text(text.replace(",earth,", ",earTh,", 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = table(tmp_path, path)
    assert again.table.folder != first.table.folder
    assert again.fingerprint != first.fingerprint
    copy = written(tmp_path, people(200), "copy.csv")
    assert table(tmp_path, copy).fingerprint == first.fingerprint


def test_what_a_crash_leaves_is_not_trusted(tmp_path: Path) -> None:
    path = written(tmp_path, people(200))
    folder = table(tmp_path, path).table.folder
    whole = (folder / "x").read_bytes()
    (folder / "x").write_bytes(whole[:-8])
    assert table(tmp_path, path).table.x.tobytes() == whole
    (folder / cache.MANIFEST).write_text("{")
    assert table(tmp_path, path).table.x.tobytes() == whole
    shutil.rmtree(folder)
    (folder.parent / f".{folder.name}.part").mkdir()
    (folder.parent / f".{folder.name}.part" / "x").write_bytes(b"half")
    assert table(tmp_path, path).table.x.tobytes() == whole
    assert not list(folder.parent.glob(".*.part"))


def test_an_error_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    frame = people(200)
    frame.loc[7, "income"] = np.inf
    with pytest.raises(UserError, match="column income is infinite in row 8"):
        table(tmp_path, written(tmp_path, frame, "p.parquet"))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def _prepare(path: str, folder: str, made: Any) -> None:
    data = table_data(path=path, target="bought", seed=1, cache_dir=folder)
    data.prepare_data()
    data.setup()
    made.put(float(data.tensors("train")[0].sum()))


@pytest.mark.slow
def test_two_runs_that_prepare_at_once_get_the_same_table(tmp_path: Path) -> None:
    path = written(tmp_path, people(3000))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    runs = [context.Process(target=_prepare, args=(path, str(tmp_path / "cache"), queue)) for _ in range(3)]
    for run in runs:
        run.start()
    sums = {queue.get(timeout=120) for _ in runs}
    for run in runs:
        run.join(60)
    assert len(sums) == 1
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 1


def test_no_space_for_the_cache_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from logreg.data.tables.preparing import convert

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert, "append", full)
    with pytest.raises(UserError, match=r"data\.cache_dir=.*no space is left"):
        table(tmp_path, written(tmp_path, people(100)))
    monkeypatch.undo()
    assert len(table(tmp_path, written(tmp_path, people(100))).rows["train"]) == 80


# --- sparse -----------------------------------------------------------------------------------------------------------


def test_a_libsvm_table_is_scikit_learns_matrix(tmp_path: Path) -> None:
    from scipy.sparse import random as random_sparse
    from sklearn.datasets import dump_svmlight_file, load_svmlight_file

    x = random_sparse(120, 40, density=0.1, format="csr", random_state=0)
    y = np.where(np.random.default_rng(0).random(120) < 0.4, 1, -1)
    dump_svmlight_file(x, y, str(tmp_path / "t.svm"), zero_based=False)
    data = table(tmp_path, str(tmp_path / "t.svm"), target=None)
    expected, labels = load_svmlight_file(str(tmp_path / "t.svm"))
    for split in ("train", "val", "test"):
        ours, ones = data.tensors(split)
        assert ours.is_sparse_csr
        np.testing.assert_allclose(ours.to_dense(), expected[data.rows[split]].toarray(), rtol=1e-6)
        np.testing.assert_array_equal(ones, labels[data.rows[split]] == 1)
    positions = np.array([5, 3, 5])
    import torch

    batch = data.served("train").take(torch.from_numpy(positions))
    np.testing.assert_allclose(batch[0].to_dense(), expected[data.rows["train"][positions]].toarray(), rtol=1e-6)


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    data = table(tmp_path, written(tmp_path, people(100)))
    manifest = json.loads((data.table.folder / cache.MANIFEST).read_text())
    assert manifest["rows"] == {"train": 80, "val": 10, "test": 10}


# --- numbers that are hard to keep ------------------------------------------------------------------------------------


def test_a_median_between_two_values_of_half_the_rows_each_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logreg.data.tables.preparing import statistics

    monkeypatch.setattr(statistics, "SORTED_AT_ONCE", 8)
    monkeypatch.setattr(statistics, "EXACT_VALUES", 8)
    frame = pd.DataFrame({"a": [0.0] * 20 + [1.0] * 20 + [np.nan] * 2, "b": np.arange(42) % 5, "bought": [0, 1] * 21})
    data = table(tmp_path, written(tmp_path, frame), split={"train": 1.0})
    assert next(c.fill for c in data.preprocessor.numeric if c.feature == "a") == 0.5


@pytest.mark.parametrize("late", [1e39, 1.6e9])
def test_float32_is_not_used_for_numbers_that_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    from logreg.data.tables.preparing import pipeline

    monkeypatch.setattr(pipeline, "FLOAT64_BYTES", 0)  # every table is a large one
    random = np.random.default_rng(0)
    x = random.normal(size=100_000)
    if late < 1e10:
        x[:70_000] = np.nan
        x[70_000:] = late + 20 * x[70_000:]
    else:
        x[-1] = late
    frame = pd.DataFrame({"x": x, "bought": random.integers(0, 2, 100_000)})
    data = table(tmp_path, written(tmp_path, frame, "t.parquet"))
    assert data.table.manifest.dtype == "float64"
    train = x[data.rows["train"]]
    column = data.preprocessor.numeric[0]
    filled = np.where(np.isnan(train), column.fill, train)
    np.testing.assert_allclose(data.tensors("train")[0][:, 0], (filled - filled.mean()) / filled.std(), atol=1e-5)


def test_a_row_id_is_one_whatever_other_files_number_their_rows(tmp_path: Path) -> None:
    frame = people(200)
    path, other = written(tmp_path, frame), written(tmp_path, people(200, seed=1), "test.csv")
    assert "id" in table(tmp_path, path, test_path=other).preprocessor.left_out


def test_levels_beyond_a_thousand_share_a_feature(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    zips = random.integers(0, 3000, 60_000).astype(str)
    frame = pd.DataFrame({"zip": zips, "x": random.normal(size=60_000), "bought": random.integers(0, 2, 60_000)})
    data = table(tmp_path, written(tmp_path, frame), categorical=["zip"], split={"train": 1.0})
    zipped = next(c for c in data.preprocessor.columns if c.feature == "zip")
    assert zipped.width == 1001
    common = frame.zip.value_counts()
    assert common[zipped.levels].min() >= common[zipped.rare].max()


def test_booleans_may_be_written_as_numbers_and_unseen_levels_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import polars as pl

    from logreg.runs.tables import UnseenLevels

    pre = table(tmp_path, written(tmp_path, people())).preprocessor
    raw = pl.read_csv(tmp_path / "people.csv", try_parse_dates=True)
    as_numbers = raw.with_columns(pl.col("member").cast(pl.Int64))
    np.testing.assert_array_equal(pre.transform(as_numbers), pre.transform(raw))
    weight = np.random.default_rng(0).normal(size=pre.width)
    np.testing.assert_allclose(pre.logits(as_numbers, weight, 0.0), pre.logits(raw, weight, 0.0), atol=1e-12)
    levels = UnseenLevels(pre)
    levels.add(raw.with_columns(city=pl.lit("Atlantis")))
    levels.report("t.csv")
    assert "t.csv: 100 % of the values of column city are levels that training did not see" in caplog.text
    assert "member" not in caplog.text


def test_a_folder_of_two_formats_and_parts_that_disagree_are_refused(tmp_path: Path) -> None:
    frame = people(100)
    folder = tmp_path / "parts"
    folder.mkdir()
    written(folder, frame[:50], "a.parquet")
    written(folder, frame[50:], "b.csv")
    with pytest.raises(UserError, match="several formats"):
        table(tmp_path, str(folder))
    (folder / "b.csv").unlink()
    (folder / "notes.txt").write_text("what these files are")
    written(folder, frame[50:].assign(income="much"), "b.parquet")
    with pytest.raises(UserError, match=r"column income holds strings there and floats in a\.parquet"):
        table(tmp_path, str(folder))
    written(folder, frame[50:], "b.parquet")
    assert len(table(tmp_path, str(folder)).rows["train"]) == 80


def test_a_table_is_prepared_the_same_from_memory_and_from_a_scratch_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logreg.data.tables.preparing import column_store

    monkeypatch.setattr(column_store, "batch_rows", lambda width: 64)
    path = written(tmp_path, people(300))
    kept = table(tmp_path, path)
    monkeypatch.setattr(column_store, "KEPT_BYTES", 0)
    spilled = table(tmp_path / "other", path)
    assert spilled.preprocessor.to_json() == kept.preprocessor.to_json()
    assert np.array_equal(spilled.table.x, kept.table.x)


# --- what the columns are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("first", [1, 10**18])
def test_large_ids_and_ids_with_gaps_are_ids(tmp_path: Path, name: str, first: int) -> None:
    random = np.random.default_rng(0)
    ids = pd.Series(random.permutation(200) + first, dtype="Int64")
    ids[3] = pd.NA
    other = pd.Series(random.integers(0, 5, 200))
    frame = pd.DataFrame({"key": ids, "other": other, "bought": random.integers(0, 2, 200)})
    data = table(tmp_path, written(tmp_path, frame, name))
    assert "row id" in data.preprocessor.left_out["key"]
    assert data.preprocessor.raw_columns == ["other"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_weights_does_not_decide_which_levels_are_rare(tmp_path: Path, scale: float) -> None:
    frame = people(300).drop(columns=["id", "planet"])
    frame["w"] = scale * np.random.default_rng(0).uniform(0.5, 1.5, 300)
    data = table(tmp_path, written(tmp_path, frame), weight="w")
    city = next(c for c in data.preprocessor.columns if c.feature == "city")
    assert city.levels == ["Bonn", "Hof", "Köln", "Ulm"]


@pytest.mark.parametrize("dtype", ["float64", "object"])
def test_a_column_without_any_value_is_refused_in_parquet_too(tmp_path: Path, dtype: str) -> None:
    frame = people(100).assign(nothing=pd.Series([None] * 100, dtype=dtype))
    with pytest.raises(UserError, match="column nothing has no value at all"):
        table(tmp_path, written(tmp_path, frame, "t.parquet"))


def test_a_date_with_gaps_has_one_indicator(tmp_path: Path) -> None:
    frame = people(200)
    frame.loc[::7, "day"] = pd.NaT
    data = table(tmp_path, written(tmp_path, frame))
    day = [level for column, level in data.preprocessor.features if column == "day"]
    assert day == ["year", "(missing)", "month", "day", "weekday"]
    raw = frame.drop(columns="bought")
    x = data.preprocessor.transform(pl.from_pandas(raw.assign(day=frame.day.dt.strftime("%Y-%m-%d"))))
    rows = data.rows["train"]
    np.testing.assert_allclose(x[rows], data.tensors("train")[0], atol=1e-6)


def test_more_levels_than_features_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logreg.data.tables.preparing import fit as prepare

    monkeypatch.setattr(prepare, "MOST_FEATURES", 3)
    data = table(tmp_path, written(tmp_path, people(300)), min_count=1)
    assert "column city has 4 levels: the commonest 3 have a feature each" in data.table.manifest.notes


def test_folders_that_name_columns_are_read(tmp_path: Path) -> None:
    frame = people(300)
    years = np.repeat([2020, 2021, 2022], 100)
    for year in (2020, 2021, 2022):
        folder = tmp_path / "t" / f"year={year}" / "land=S%C3%BCd"
        folder.mkdir(parents=True)
        frame[years == year].to_parquet(folder / "part.parquet")
    data = table(tmp_path, str(tmp_path / "t"), features=["year", "age"])
    assert data.preprocessor.raw_columns == ["age", "year"]
    flat = table(tmp_path, written(tmp_path, frame.assign(year=years), "flat.parquet"), features=["year", "age"])
    assert_alike(data.preprocessor, flat.preprocessor)
    by_glob = table(tmp_path, str(tmp_path / "t" / "*" / "*" / "*.parquet"), features=["year", "age"])
    assert_alike(by_glob.preprocessor, flat.preprocessor)
    land = table(tmp_path, str(tmp_path / "t"), features=["land", "age"])
    assert "one value only" in land.preprocessor.left_out["land"]


def test_leftovers_of_killed_preparations_are_removed_by_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".0123.part"
    left.mkdir(parents=True)
    (left / "x").write_bytes(b"0" * 100)
    table(tmp_path, written(tmp_path, people(100)))
    assert not left.exists()


def test_a_million_columns_of_a_sparse_table_cost_no_object_each(tmp_path: Path) -> None:
    lines = [f"{i % 2} {i + 1}:1 {999_000 + i}:2" for i in range(60)]
    (tmp_path / "t.svm").write_text("\n".join(lines))
    data = table_data(path=str(tmp_path / "t.svm"), cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup()
    again = type(data.preprocessor).from_json(data.preprocessor.to_json())
    assert again.width == data.num_features == 999_059
    assert again.feature(999_058) == ("column_999059", "")
    assert len(data.preprocessor.to_json()) < 300
