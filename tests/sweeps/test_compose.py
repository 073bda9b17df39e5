"""A sweep composed at once is the sweep that Hydra composes job by job: its loader and run_job are the oracle."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import II, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from logreg.cli import ClaimDirectories, plain
from logreg.core.settings import CONF
from logreg.sweeps import compose
from logreg.sweeps.compose import compose_jobs
from logreg.sweeps.fused.composed_job import ComposedJob

FILES = ("config.yaml", "overrides.yaml", "hydra.yaml")
Jobs = Sequence[Sequence[str]]


class Sweep:
    """The loader and configuration of a sweep, as Hydra hands them to a launcher; counts compositions."""

    def __init__(self, hydra: Any, name: str, overrides: Sequence[str]) -> None:
        self.compositions = 0
        self._loader = hydra.config_loader
        self.master = hydra.compose_config(name, ["hydra.mode=MULTIRUN", *overrides], RunMode.MULTIRUN)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, *arguments: Any) -> Any:
        self.compositions += 1
        return self._loader.load_sweep_config(*arguments)

    def compose(self, jobs: Jobs, first: int = 0) -> list[ComposedJob]:
        self.compositions = 0
        return list(compose_jobs(self, self.master, jobs, first))


@contextmanager
def sweep(
    directory: Path, *overrides: str, conf: Path = CONF, name: str = "train", claim: bool = True
) -> Iterator[Sweep]:
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        started = Sweep(GlobalHydra.instance().hydra, name, [f"hydra.sweep.dir={directory}", *overrides])
        if claim:
            ClaimDirectories().on_multirun_start(started.master)
        yield started


class Outcome(NamedTuple):
    """What a job of Hydra's finds and leaves behind."""

    overrides: list[str]
    directory: str
    config: str
    choices: dict[str, Any]
    files: dict[str, str]
    error: tuple[str, ...]


def described(error: BaseException | None) -> tuple[str, ...]:
    return (type(error).__name__, str(error), *described(error.__cause__)) if error else ()


def by_hydra(started: Sweep, overrides: Sequence[str], number: int) -> Outcome:
    """What BasicLauncher.launch does for a job, the task being to look around."""
    try:
        cfg = started._loader.load_sweep_config(started.master, list(overrides))
    except Exception as error:
        return Outcome([], "", "{}", {}, {}, described(error))
    with open_dict(cfg):
        cfg.hydra.job.id = number
        cfg.hydra.job.num = number
    observed: dict[str, Any] = {"config": {}, "error": None}

    def task(task_cfg: Any) -> None:
        hydra = HydraConfig.get()
        observed["choices"] = OmegaConf.to_container(hydra.runtime.choices)
        observed["directory"] = hydra.runtime.output_dir
        observed["overrides"] = OmegaConf.to_container(hydra.overrides.task)
        try:
            observed["config"] = plain(task_cfg)
        except Exception as error:
            observed["error"] = error

    context = HydraContext(config_loader=started._loader, callbacks=Callbacks())
    try:
        run_job(task, cfg, "hydra.sweep.dir", "hydra.sweep.subdir", context, configure_logging=False)
    except Exception as error:
        return Outcome([], "", "{}", {}, {}, described(error))
    saved = Path(observed["directory"], ".hydra")
    files = {name: (saved / name).read_text(encoding="utf-8") for name in FILES}
    error = described(observed["error"])
    return Outcome(
        observed["overrides"], observed["directory"], repr(observed["config"]), observed["choices"], files, error
    )


def agree(started: Sweep, jobs: Jobs, first: int = 0) -> list[ComposedJob]:
    """Every job is what Hydra makes of it; types, order of keys and NaNs included."""
    composed = started.compose(jobs, first)
    assert len(composed) == len(jobs)
    for number, (overrides, job) in enumerate(zip(jobs, composed, strict=True), first):
        hydra = by_hydra(started, overrides, number)
        assert described(job.error) == hydra.error, overrides
        assert job.number == number
        assert repr(job.config) == hydra.config
        files = job.hydra_files()
        assert list(files) == list(hydra.files)
        for name in files:
            assert files[name] == hydra.files[name]
        if files:
            assert str(job.directory) == hydra.directory
            assert (job.overrides, job.choices) == (hydra.overrides, hydra.choices)
    return composed


def product(*lists: str) -> list[list[str]]:
    """``product("lr=1|2", "seed=3")`` is the jobs of a sweep over lr."""
    split = [(text.partition("=")[0], text.partition("=")[2].split("|")) for text in lists]
    return [list(job) for job in itertools.product(*([f"{key}={value}" for value in values] for key, values in split))]


SWEEPS = {
    "groups": (2, product("optimizer=adam|torch_lbfgs", "lr=0.1|1", "seed=3")),
    "data": (1, product("data=breast_cancer", "data.batch_size=16|null", "penalty.l2=auto|0.5")[1:3]),
    "preset": (2, product("experiment=notebook/hand_written|notebook/module_class", "seed=0|1")[:3]),
    "referred to": (1, product("scheduler=cosine", "optimizer=lbfgs", "epochs=3|null|x", "trainer.precision=32-true")),
    "long key": (1, product("optimizer.lr=1e-3|.5", "accelerator=cpu|auto", "monitor=val/loss")[1:3]),
    "added": (2, product("+trainer.limit_train_batches=0.5|1", "lr=1|2|3", "~callbacks.progress_bar=null")[1:4]),
    "left out": (1, product("~callbacks=null", "lr=1|2", "seed=1")),
    "mapping set to null": (1, product("callbacks.progress_bar=null", "seed=1|2")),
    "list and mapping": (3, [*product("optimizer=adam", "optimizer.betas=[0.5,0.6]|[0.9,0.99]", "seed=1|2")[:3],
                             ["data.split={train:0.5,val:0.5}", "seed=2"]]),
    "table": (1, product("data=table", "data.path=a.csv|b.csv", "data.seed=3")),
    "group later": (2, product("optimizer.lr=1|2", "optimizer=sgd|adam")),
    "a value for a mapping": (2, [["costs=5", "seed=1"], ["costs=7", "seed=1"], ["costs.false_positive=5", "seed=1"]]),
    "twice": (2, [["lr=1", "lr=2"], ["lr=1", "lr=3"], ["lr=2", "lr=3"]]),
    "undone": (3, [["optimizer.lr=1", "+optimizer={lr:2}"], ["optimizer.lr=2", "+optimizer={lr:2}"],
                   ["++seed=1", "seed=2"], ["++seed=1", "seed=3"]]),
    "texts": (1, product("name='a b'|ü-☃|'007'|true|null|'😀'|'a: b'", "resume=x")),
    "shortened": (1, product(f"+note='{'long ' * 30}'", "lr=1e-05", f"resume={'x' * 90}|'{'ü y ' * 30}'")),
    "references": (3, product("seed=1|2", "+also=${seed}|'lr is ${lr}'|${optimizer}")),
    "directories": (3, product("hydra.sweep.subdir=${hydra.job.num}|'s${seed}'|${lr}/x", "lr=1|2")),
    "names of directories": (1, product("hydra.job.config.override_dirname.kv_sep=-",
                                        "hydra.job.config.override_dirname.exclude_keys=[seed]", "lr=1|2", "seed=3")),
    "environment": (2, product("hydra.job.env_set.HERE=x", "+here=${oc.env:HERE}", "seed=1|2")),
    "of the job": (1, product("+number='${hydra:job.num}'", "+where='${hydra:runtime.output_dir}'", "seed=1|2")),
    "none": (1, [[], []]),
}  # fmt: skip


@pytest.mark.parametrize(("compositions", "jobs"), SWEEPS.values(), ids=SWEEPS)
def test_jobs_are_those_of_hydra(tmp_path: Path, compositions: int, jobs: Jobs) -> None:
    with sweep(tmp_path / "sweep", "seed=5") as started:
        agree(started, jobs, first=7)
        assert started.compositions == compositions


NOTATIONS = """
1 -1 +1 0 -0 007 0x10 1_000 1e-3 1E5 1e+5 .5 5. -0.0 1.50 1e400 inf -inf nan NaN 1e16 1e-7 123456789012345678901 '1e3'
true TRUE false yes no on off Null null ~ y '' '1' 'true' 'null' '2020-01-01' 2020-01-01 '012' '=' '<<' a=b '#b' '[1]'
'{a}' ü '😀' '"' -- --- ... '@a' '%a' '`' '!t' '&a' '*a' '|' '>' '-' '?' a/b/c /abs/path 1:30 '1:30.5' 0b1 0o7 1__0 .1.2
val/loss 64-true _ '0_' a= /= '~' 'y' 12e 'é=' '/é' '\\'' '\\\\' 'a\\\\b'
"""
TEXTS = """
'a: b'/'- c'/'?x'/'naïve ☃ text'/'x😀y z'/' a'/'a '/' '/'tab\tand\rline'/': '/'ends:'/'a #b'/'\x07'/'\u2028'/'\ufeff'
""".strip("\n").split("/")
LONG = ["x" * 200, f"'{'words ' * 50}'", f"'{'ü ☃ 😀 ' * 40}'", f"'{'it: is ' * 40}'", "'12\n'", "'/x\n'"]
VALUES = [*NOTATIONS.split(), *TEXTS, *LONG]


def config(directory: Path, text: str) -> Path:
    """A folder with a configuration of its own."""
    directory.mkdir(exist_ok=True)
    (directory / "own.yaml").write_text(text, encoding="utf-8")
    return directory


def test_values_in_all_notations(tmp_path: Path) -> None:
    """By type in the configuration, and as text at three depths, in lists, and in the names of directories."""
    keys = ("v0", "a.v1", "a.b.v2", "a.b.v3", "v4", "v5")
    conf = config(
        tmp_path / "conf", "{v0: 1, r: '${v0}', a: {v1: 2, b: {v2: 3, v3: [4], r: '${a.v1}'}}, v4: {x: 1}, v5: }"
    )
    values = [*VALUES, *VALUES[: -len(VALUES) % len(keys)]]
    jobs = [
        [f"{key}={value}" for key, value in zip(keys, values[start : start + len(keys)], strict=True)]
        for start in range(0, len(values), len(keys))
    ]
    with sweep(tmp_path / "sweep", conf=conf, name="own", claim=False) as started:
        agree(started, jobs)
        assert started.compositions == 1


INTERPOLATIONS = """
x: 1
chain: {y: "${x}", z: "${.y}", up: "${..chain.y}"}
listed: [0, "${x}", {deep: "${chain.z}", no: 1}]
group: {x: 2, inner: {x: 3}}
alias: ${group}
through: ${alias.inner.x}
"""
SPECIAL = {
    "references": "",
    "embedded": "text: a ${x} b",
    "embedded constant": "text: a ${group.x} b",
    "nested": "which: ${group.${name}}\nname: x",
    "resolver": "env: ${oc.decode:${x}}",
    "of the job": "number: ${hydra:job.num}",
    "cached": "when: ${now:%Y}",
    "escaped": "text: \\${x}",
    "not one": "price: 5$",
    "missing": "needed: ???",
    "nowhere": "lost: ${nowhere}",
    "into a value": "lost: ${x.y}",
}


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
def test_interpolations_follow_the_values(tmp_path: Path, special: str) -> None:
    conf = config(tmp_path / "conf", INTERPOLATIONS + special)
    jobs = [[f"x={x}", f"group.inner.x={inner}"] for x, inner in (("1", "a"), ("null", "null"), ("'1'", "1e3"))]
    with sweep(tmp_path / "sweep", conf=conf, name="own", claim=False) as started:
        agree(started, jobs)
        assert started.compositions == 1


ERRORS = {
    "key": (2, product("lrr=1|2", "seed=1|2")),
    "choice": (1, product("optimizer=sgdd", "seed=1|2")),
    "key of one choice": (2, product("optimizer=sgd|adam", "optimizer.momentum=0.9", "seed=1|2")),
    "one that cannot be read": (1, [["seed=1"], ["seed=1", "name={a"], ["seed=[1"], ["seed=2"]]),
    "a sweep inside": (2, [["seed=1,2"], ["seed=1"], ["seed=2"]]),
    "missing": (2, [*product("data=table", "seed=1|2"), *product("data=table", "data.path=a|b")]),
    "interpolation": (2, [["name=x"], ["name=${nowhere}"], ["name=${x"], ["name=y"]]),
    "not there": (1, product("~nowhere=null", "seed=1|2")),
    "there already": (5, [["+lr=2", "seed=1"], ["lr=1", "+optimizer.lr=2"], ["lr=null", "+optimizer.lr=2"],
                          ["lr=3", "+optimizer.lr=2"], ["lr=1", "~optimizer.lr=1"], ["lr=2", "~optimizer.lr=1"]]),
    "item of a list": (1, product("trusted_packages.0=a", "seed=1|2")),
    "no group": (2, product("optimizer=null", "seed=1|2") + product("optimizer@x=sgd", "seed=1")),
    "directory": (1, product("hydra.sweep.subdir=${nowhere}", "seed=1|2")),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("compositions", "jobs"), ERRORS.values(), ids=ERRORS)
def test_errors_are_those_of_their_job_alone(tmp_path: Path, compositions: int, jobs: Jobs) -> None:
    with sweep(tmp_path / "sweep") as started:
        composed = agree(started, jobs)
        assert any(job.error for job in composed)
        assert all(job.config == {} for job in composed if job.error)
        assert all(job.directory.parent == tmp_path / "sweep" for job in composed)
        started.compositions, jobs_until_the_end = 0, compose_jobs(started, started.master, jobs, 0)
        any(job.error is not None and not job.choices for job in jobs_until_the_end)  # which ends a sweep
        assert started.compositions <= compositions


def test_a_value_that_does_not_fit_its_type_fails_alone(tmp_path: Path) -> None:
    @dataclass
    class Typed:
        count: int = 1
        text: str = ""
        same: int = II("count")
        free: Any = None

    ConfigStore.instance().store(name="typed", node=Typed)
    conf = config(tmp_path / "conf", "defaults: [typed, _self_]\ntext: a ${free}")
    jobs = [["count=x", "free=1"], *product("count=1|'2'|2.5|null", "free=1|x"), *product("text=1|x", "free=2")]
    with sweep(tmp_path / "sweep", conf=conf, name="own", claim=False) as started:
        composed = agree(started, jobs)
    assert [job.config["count"] for job in composed if not job.error][:4] == [1, 1, 2, 2]


def test_a_thousand_jobs_are_composed_twice(tmp_path: Path) -> None:
    jobs = product("optimizer=sgd|adam", "lr=1e-4|0.001|0.01|0.1|1", "seed=" + "|".join(map(str, range(100))))
    with sweep(tmp_path / "sweep") as started:
        composed = started.compose(jobs)
        assert started.compositions == 2
        for number in (99, 500, 999):
            hydra = by_hydra(started, jobs[number], number)
            assert composed[number].hydra_files() == hydra.files
            assert repr(composed[number].config) == hydra.config
    assert len({job.directory for job in composed}) == len(jobs)


def test_jobs_share_no_part_that_is_their_own(tmp_path: Path) -> None:
    with sweep(tmp_path / "sweep") as started:
        first, second = started.compose(product("lr=1|2", "seed=3"))
    before = repr(second.config)
    for part in (first.config, first.config["optimizer"], first.config["data"]):
        part["lr"] = part["seed"] = "changed"
    assert repr(second.config) == before


def test_files_can_be_written_by_another_process(tmp_path: Path) -> None:
    with sweep(tmp_path / "sweep") as started:
        job = started.compose(product("lr=1|2", "name='a b'"))[1]
    assert pickle.loads(pickle.dumps(job)).hydra_files() == job.hydra_files()


def test_without_proof_of_its_texts_every_job_is_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "BARE", re.compile(".*"))  # a text that looks like a number is written bare
    with sweep(tmp_path / "sweep") as started:
        agree(started, product("name='1'|'2'", "seed=1"))
        assert started.compositions == 2


POOL = [
    product("optimizer=sgd|adam|lbfgs"),
    product("data=toy|breast_cancer"),
    product("scheduler=cosine|none"),
    product("lr=1|0.1|1e-3|null"),
    product("optimizer.lr=2|${lr}|x"),
    product("epochs=2|null|'3'"),
    product("seed=1|2|x"),
    product("name=a|'b c'|${mode}"),
    product("+trainer.max_time=1|null"),
    product("penalty={l2:1}|5"),
    product("penalty.l2=1|auto"),
    product("~callbacks=null|default"),
    product("optimizer.momentum=0.5|0.9"),
]


@pytest.mark.slow
@settings(
    max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)
@given(st.data())
def test_any_sweep(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    swept = data.draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=5, unique_by=id))
    jobs = data.draw(
        st.lists(st.tuples(*(st.sampled_from(one).map(lambda job: job[0]) for one in swept)), min_size=3, max_size=3)
    )
    with sweep(tmp_path_factory.mktemp("any") / "sweep") as started:
        agree(started, jobs)


@given(st.text() | st.from_regex(compose.BARE) | st.from_regex("[0-9]+") | st.integers() | st.floats() | st.none())
def test_a_value_is_written_as_omegaconf_writes_it(value: Any) -> None:
    before, after = ({"a": {"x": 1, "key": one, "y": [1]}, "z": "text"} for one in (0, value))
    try:
        written = OmegaConf.to_yaml(OmegaConf.create(after))
        listed = OmegaConf.to_yaml(OmegaConf.create([str(value), "x"]))
    except OmegaConfBaseException:  # an interpolation that is none
        return
    assert compose._filled(compose._slotted(OmegaConf.create(before), ["a.key"]), [value]) == written
    assert compose._value_text((), (str(value), "x")) == listed


@given(st.from_regex(compose.INTEGER, fullmatch=True))
def test_a_whole_number_is_read_as_hydra_reads_it(text: str) -> None:
    assert OverridesParser.create().parse_override(f"a.b={text}")._value == int(text)
