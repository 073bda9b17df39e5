"""Curves, texts and layouts for TensorBoard, read back with its own reader and shown by its own plugins."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import precision_score, recall_score
from tensorboard import plugin_util
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.util.tensor_util import make_ndarray

from logreg import BinaryClassifier, RunRecord
from logreg.models import SequentialRegression
from logreg.records.record import Certificate
from logreg.report.tensorboard.events import CATEGORY, LAYOUT_TAG, EventFile, compared_names
from logreg.report.tensorboard.texts import (
    THRESHOLDS,
    conclusion,
    configuration,
    counts_at_thresholds,
    write_curves,
    write_texts,
)
from logreg.report.terminal.sentences import is_part
from tests.helpers import breast_cancer, composed, fit, toy

HOSTILE = "<script>alert(1)</script> a|b `c` **d** [e](javascript:alert(2)) _f_ &lt; </code></pre><img src=x onerror=g>"


def read(directory: Path) -> EventAccumulator:
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    return events


def table_of(events: EventAccumulator, tag: str) -> np.ndarray:
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "pr_curves"
    parsed = pr_curve.parse_plugin_metadata(events.SummaryMetadata(tag).plugin_data.content)
    table = make_ndarray(events.Tensors(tag)[-1].tensor_proto)
    assert table.shape == (6, parsed.num_thresholds)
    return table


def text_of(directory: Path, tag: str) -> str:
    """What the Text tab shows of a tag, as TensorBoard's server makes it."""
    events = read(directory)
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    (markdown,) = make_ndarray(events.Tensors(tag)[-1].tensor_proto).reshape(-1)
    return plugin_util.markdown_to_safe_html(markdown)


def layout_of(directory: Path) -> dict[str, dict[str, list[str]]]:
    """By category the charts with their tags."""
    proto = Layout.FromString(make_ndarray(read(directory).Tensors(LAYOUT_TAG)[-1].tensor_proto).item())
    return {c.title: {chart.title: list(chart.multiline.tag) for chart in c.chart} for c in proto.category}


def check_curve(table: np.ndarray, y: np.ndarray, p: np.ndarray, weight: np.ndarray | None = None) -> None:
    """Against scikit-learn at every threshold."""
    w = np.ones(len(y)) if weight is None else weight
    for threshold, (tp, fp, tn, fn, precision, recall) in zip(THRESHOLDS, table.T, strict=True):
        positive = p >= threshold
        expected = precision_score(y, positive, sample_weight=weight, zero_division=0)
        assert precision == pytest.approx(expected, rel=1e-6)
        assert recall == pytest.approx(recall_score(y, positive, sample_weight=weight), rel=1e-6)
        masks = (positive & (y == 1), positive & (y == 0), ~positive & (y == 0), ~positive & (y == 1))
        assert [tp, fp, tn, fn] == pytest.approx([w[mask].sum() for mask in masks], rel=1e-6, abs=1e-5)


class FirstFeature(torch.nn.Module):
    """A network whose logit is the first feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.logits(x))


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_scikit_learns_also_where_probabilities_are_thresholds(weighted: bool) -> None:
    random = np.random.default_rng(0)
    p = np.concatenate([THRESHOLDS, random.uniform(size=500), [0.0, 1.0, 0.5, 0.5]])
    z = torch.logit(torch.tensor(p))
    p = torch.sigmoid(z).numpy()  # which gives most of them back
    y = (random.uniform(size=len(p)) < p).astype(float)
    weight = random.exponential(size=len(p)) if weighted else None
    parts: tuple[Any, ...] = (z[:, None], torch.tensor(y), *([torch.tensor(weight)] if weighted else []))
    batches = [tuple(part[i : i + 100] for part in parts) for i in range(0, len(p), 100)]
    check_curve(counts_at_thresholds(BinaryClassifier(FirstFeature()), batches), y, p, weight)


def test_held_out_splits_have_a_curve_in_the_event_file_and_training_rows_where_none_are(tmp_path: Path) -> None:
    for name, data in (("held out", breast_cancer()), ("none", toy())):
        record, classifier, _ = fit(tmp_path / name, data, 3)
        splits = list(dict.fromkeys(metric.partition("/")[0] for metric in record.metrics))
        events = EventFile(tmp_path / name / "board")
        write_curves(events, classifier, data, splits, record.updates)
        events.close()
        accumulator = read(tmp_path / name / "board")
        shown = [split for split in splits if split != "train"] or ["train"]
        assert accumulator.Tags()["tensors"] == [f"precision_recall/{split}" for split in shown]
        for split in shown:
            (x, y), tag = data.tensors(split), f"precision_recall/{split}"
            assert [event.step for event in accumulator.Tensors(tag)] == [record.updates]
            with torch.no_grad():
                p = classifier(x).double().numpy()
            check_curve(table_of(accumulator, tag), y.numpy(), p)


def test_a_configuration_comes_back_from_its_text_whatever_is_in_it() -> None:
    config = {"name": HOSTILE, "fence": "```\n# a\n```", "tilde": "~~~", "list": [1, None, True], HOSTILE: {"a": -0.5}}
    shown = plugin_util.markdown_to_safe_html(configuration(config))
    assert re.findall(r"<(/?\w+)", shown) == ["pre", "code", "/code", "/pre"]
    inside = html.unescape(shown.removeprefix("<pre><code>").removesuffix("</code></pre>"))
    assert yaml.safe_load(inside) == config


def hostile_record() -> RunRecord:
    return RunRecord(
        status="completed",
        overrides=[f"data.target={HOSTILE}", "lr=0.1"],
        metrics={"train/loss": 0.25, f"train/{HOSTILE.replace('/', '')}": 1.0},
        seconds={"fit": 1.0},
        optimality=Certificate(f"separated by the column {HOSTILE}"),
        updates=1200,
    )


def test_names_with_markup_do_no_harm_in_the_conclusion(tmp_path: Path) -> None:
    shown = plugin_util.markdown_to_safe_html(conclusion(hostile_record(), tmp_path / HOSTILE.replace("/", "")))
    tags = set(re.findall(r"<(\w+)", shown))
    assert tags == {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "pre", "code"}
    plain_text = html.unescape(re.sub(r"</?\w+>", "", shown))
    assert f"separated by the column {HOSTILE}" in plain_text
    assert HOSTILE.replace("/", "") in plain_text
    rows = [re.findall("<td>(.*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", shown, re.S)]
    assert [len(row) for row in rows] == [0, 2, 2]  # a | in a name makes no cell


def test_the_texts_of_a_run_in_its_event_file(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    settings = composed("seed=3")
    write_texts(events, hostile_record(), settings, tmp_path)
    events.close()
    inside = re.sub("</?(pre|code)>", "", html.unescape(text_of(tmp_path, "configuration")))
    assert yaml.safe_load(inside) == settings.as_config()
    plain_text = text_of(tmp_path, "conclusion")
    assert "completed after 1,200 updates" in html.unescape(plain_text)
    assert "python train.py" in plain_text


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        (["lr=0.1"], "python train.py lr=0.1"),
        (["experiment=path", "penalty.l2=0.1"], "python train.py experiment=path penalty.l2=0.1 hydra.mode=RUN"),
        (["experiment=lessons/learning_rate", "lr=1"],
         "python train.py experiment=lessons/learning_rate lr=1 hydra.mode=RUN"),
    ],
)  # fmt: skip
def test_the_command_runs_a_job_alone_where_its_experiment_is_a_sweep(
    tmp_path: Path, overrides: list[str], command: str
) -> None:
    record = dataclasses.replace(hostile_record(), overrides=overrides)
    assert conclusion(record, tmp_path).endswith(f"run it again:\n\n    {command}")


def test_charts_hold_training_and_validation_of_each_metric_and_nothing_else(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    events.layout()  # there is nothing to lay out, so nothing is written
    assert not list(tmp_path.iterdir())
    tags = ["val/loss", "val/a+b", "train/loss", "train/accuracy", "final/val/loss", "optimality/gap", "val/accuracy"]
    events.scalars(dict.fromkeys(tags, 1.0), 0)
    events.layout()
    events.layout()
    events.close()
    assert len(read(tmp_path).Tensors(LAYOUT_TAG)) == 1
    ((category, charts),) = layout_of(tmp_path).items()
    assert category == CATEGORY
    assert list(charts) == ["loss", "accuracy", "a+b"]
    for name, (pattern,) in charts.items():
        matched = [tag for tag in [*tags, "val/loss_of", "train/log_loss"] if re.match(pattern, tag)]
        assert sorted(matched) == sorted(tag for tag in tags if tag in (f"train/{name}", f"val/{name}"))


@pytest.mark.slow
def test_a_finished_run_has_it_all(tmp_path: Path, command: Any) -> None:
    process = command("train.py", "data=breast_cancer", "epochs=2", "hydra.run.dir=run")
    assert process.returncode == 0, process.stderr
    events, record = read(tmp_path / "run"), json.loads((tmp_path / "run" / "run.json").read_text())
    assert {"precision_recall/val", "precision_recall/test"} <= set(events.Tags()["tensors"])
    assert len(events.Tensors(LAYOUT_TAG)) == 1
    (charts,) = layout_of(tmp_path / "run").values()
    assert set(charts) == set(compared_names(events.Tags()["scalars"]))
    assert {"loss", "accuracy", "auroc"} <= set(charts)
    plain_text = html.unescape(text_of(tmp_path / "run", "conclusion"))
    sentences = [line for line in process.stdout.partition("learned W and b")[0].splitlines() if line[0] not in "┏┃┡│└"]
    assert len(sentences) >= 3
    assert all(sentence in plain_text for sentence in sentences)
    shown = [f"<td>{value:.6f}</td>" for name, value in record["metrics"].items() if not is_part(name)]
    assert all(cell in plain_text for cell in shown)
    config = html.unescape(text_of(tmp_path / "run", "configuration"))
    config = re.sub("</?(pre|code)>", "", config)
    assert yaml.safe_load(config) == json.loads((tmp_path / "run" / "config.json").read_text())


def test_a_linear_network_is_left_as_it_was(tmp_path: Path) -> None:
    data = toy()
    data.setup()
    classifier = BinaryClassifier(SequentialRegression(2))
    before = [value.clone() for value in classifier.state_dict().values()]
    write_curves(EventFile(tmp_path), classifier, data, ["train"], 0)
    assert all(torch.equal(a, b) for a, b in zip(before, classifier.state_dict().values(), strict=True))
