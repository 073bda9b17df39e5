"""Tables from files against polars, pandas and scikit-learn: preparation, prediction, training from the map.

The table is drawn once, rows x 20 float32 columns and labels from a logistic model of them, as Parquet and as CSV.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import Pair
from benchmarks.training import configuration
from logreg.cli.assemble import assemble, make_classifier
from logreg.core.files import write_atomically
from logreg.core.options.rows import ServingOptions, SplitOptions
from logreg.core.options.tables import ReadOptions, RoleOptions, TablePaths
from logreg.data import InMemoryData, Table, TableData
from logreg.data.tables.reading.source import open_source
from logreg.records.record import PREPROCESSING, RunRecord, write_settings
from logreg.report.run import report_run
from logreg.runs.load import load_run
from logreg.runs.tables import predict_table
from logreg.training.loop import train

FEATURES, BATCH = 20, 1_024
NAMES = [f"x{i}" for i in range(FEATURES)]


class Files:
    """The table in files, below a folder.

    Args:
        rows: how many; the issue's figures are for 5,000,000.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.parquet, self.csv = folder / "table.parquet", folder / "table.csv"
        self.gaps = folder / "gaps.parquet"
        random = np.random.default_rng(0)
        x = random.standard_normal((rows, FEATURES), dtype=np.float32)
        p = 1 / (1 + np.exp(-x @ random.standard_normal(FEATURES)))
        frame = pl.DataFrame(
            {name: x[:, i] for i, name in enumerate(NAMES)} | {"y": (random.random(rows) < p).astype(int)}
        )
        frame.write_parquet(self.parquet)
        frame.write_csv(self.csv)
        for i in range(0, FEATURES, 4):  # one value in twenty is missing in every fourth column
            x[random.integers(0, rows, rows // 20), i] = np.nan
        frame.with_columns(pl.Series(NAMES[i], x[:, i]).fill_nan(None) for i in range(0, FEATURES, 4)).write_parquet(
            self.gaps
        )

    def pairs(self) -> list[Pair]:
        amount, unit = self.rows, "rows"
        return [
            Pair("prepare parquet", lambda: self.prepare(self.parquet), self.read_parquet, amount, unit, 2.0),
            Pair("prepare parquet with gaps", lambda: self.prepare(self.gaps), self.read_gaps, amount, unit, 2.0),
            Pair("prepare csv", lambda: self.prepare(self.csv), self.read_csv, amount, unit, 1.3),
            Pair("predict parquet", self.predict, self.predict_with_scikit_learn, amount, unit, 0.5),
            Pair("train from the map", self.train_from_map, self.train_from_memory, amount, unit, 1.25),
        ]

    # --- preparation --------------------------------------------------------------------------------------------------

    def data(self, path: Path, cache: str = "cache") -> TableData:
        return TableData(
            TablePaths(str(path), cache_dir=str(self.folder / cache)),
            ServingOptions("table", seed=1, batch_size=BATCH),
            SplitOptions({"train": 1.0}),  # all rows: what is timed is then the same on both sides
            roles=RoleOptions(target="y"),
        )

    def prepare(self, path: Path) -> float:
        """Seconds until a table that was never seen is ready for training."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        data = self.data(path)
        started = time.perf_counter()
        data.prepare_data()
        return time.perf_counter() - started

    def read_parquet(self) -> float:
        return self._read_and_copy(self.parquet)

    def read_gaps(self) -> float:
        return self._read_and_copy(self.gaps)

    def _read_and_copy(self, path: Path) -> float:
        started = time.perf_counter()
        pl.read_parquet(path)
        return time.perf_counter() - started + self.copy()

    def read_csv(self) -> float:
        started = time.perf_counter()
        pl.read_csv(self.csv)
        return time.perf_counter() - started + self.copy()

    def copy(self) -> float:
        """Seconds to copy as many float32 values into a mapped file."""
        started = time.perf_counter()
        target = np.memmap(self.folder / "copy", dtype=np.float32, mode="w+", shape=self._values.shape)
        target[:] = self._values
        return time.perf_counter() - started

    @cached_property
    def _values(self) -> np.ndarray:
        return np.ones((self.rows, FEATURES), dtype=np.float32)

    # --- prediction ---------------------------------------------------------------------------------------------------

    @cached_property
    def run_directory(self) -> Path:
        """A trained run of this table."""
        directory = self.folder / "run"
        overrides = ["data=table", f"data.path='{self.parquet}'", "data.target=y", "epochs=1", "figures=false"]
        settings = configuration(*overrides, f"data.cache_dir='{self.folder / 'kept'}'", "optimizer.max_iter=5")
        record = RunRecord()
        parts = assemble(settings, directory)
        write_atomically(directory / PREPROCESSING, parts.data.needs_blocks("a table").preprocessor.to_json())
        train(parts.data, parts.classifier, parts.trainer, record=record)
        write_settings(directory, parts.settings)
        report_run(record, parts.classifier, parts.data, None, directory, with_figures=False, brief=True)
        record.write(directory)
        return directory

    def predict(self) -> float:
        run = load_run(self.run_directory)
        started = time.perf_counter()
        source = open_source(str(self.parquet), ReadOptions(), "data.path")
        rows = predict_table(run, source, str(self.folder / "ours.parquet"))
        assert rows == self.rows
        return time.perf_counter() - started

    def predict_with_scikit_learn(self) -> float:
        """The same in memory: pandas reads, a fitted pipeline of imputation, scaling and regression predicts."""
        import pandas as pd

        pipeline, threshold = self._pipeline, 0.5
        started = time.perf_counter()
        frame = pd.read_parquet(self.parquet, columns=NAMES)
        p = pipeline.predict_proba(frame)[:, 1]
        pd.DataFrame({"probability": p, "prediction": (p >= threshold).astype(np.int8)}).to_parquet(
            self.folder / "theirs.parquet"
        )
        return time.perf_counter() - started

    @cached_property
    def _pipeline(self):  # type: ignore[no-untyped-def]
        import pandas as pd
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        frame = pd.read_parquet(self.parquet).iloc[:100_000]
        steps = SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression()
        return make_pipeline(*steps).fit(frame[NAMES], frame["y"])

    # --- training -----------------------------------------------------------------------------------------------------

    def train_from_map(self) -> float:
        """Seconds in fit of a pass in mini-batches over the mapped table, by `train` with its default loggers."""
        return self._fit(self.data(self.parquet, "kept"))

    def train_from_memory(self) -> float:
        """The same training rows as one tensor in memory."""
        return self._fit(self._in_memory())

    def _fit(self, data: InMemoryData | TableData) -> float:
        settings = configuration("epochs=1", "lr=0.1")
        data.prepare_data()
        data.setup()
        with tempfile.TemporaryDirectory(dir=self.folder) as directory:
            trainer = assemble(settings, Path(directory)).trainer
            record = train(data, make_classifier(settings, data.num_features), trainer)
        assert record.epochs == 1
        return record.seconds["fit"] / sum(record.data["rows"].values()) * self.rows

    def _in_memory(self) -> InMemoryData:
        x, y = self._training_rows

        class Memory(InMemoryData):
            def load(self) -> Table:
                return Table(x, y, NAMES)

        return Memory("memory", batch_size=BATCH, standardize=False)

    @cached_property
    def _training_rows(self) -> tuple[np.ndarray, np.ndarray]:
        mapped = self.data(self.parquet, "kept")
        mapped.prepare_data()
        mapped.setup()
        x, y = mapped.tensors("train")
        return x.numpy(), y.numpy().astype(np.int64)

    def second_start(self) -> dict[str, float]:
        """Seconds until the first batch of a table that is prepared, and of the same table from memory."""
        first = self.data(self.parquet, "kept")
        first.prepare_data()
        started = time.perf_counter()
        again = self.data(self.parquet, "kept")
        again.prepare_data()
        again.setup()
        again.train_dataloader().batch(0, 0)
        ours = time.perf_counter() - started
        memory = self._in_memory()
        started = time.perf_counter()
        memory.setup()
        memory.train_dataloader().batch(0, 0)
        return {"ours_seconds": ours, "theirs_seconds": time.perf_counter() - started}
