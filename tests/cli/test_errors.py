"""Every user error: one or two sentences that name the key and what would be valid, exit status 1, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from logreg.cli.configuration import compose, plain
from logreg.core.errors import UserError
from logreg.runs.commands import COMMANDS, parse
from tests.commands import ROOT, Command, assert_refused

# What is refused before torch is imported, and what the answer must name.
AT_ONCE = [
    (["lrr=0.1"], ["lrr", "did you mean lr?"]),
    (["optimizer.momentm=0.9"], ["optimizer.momentm", "optimizer.momentum"]),
    (["optimizer=adam", "optimizer.beta=[1,2]"], ["optimizer.beta", "optimizer.betas"]),
    (["batch_size=3"], ["batch_size", "data.batch_size"]),
    (["optimizer.learning_rate=3"], ["optimizer.learning_rate", "did you mean lr?"]),
    (["scheduler.gamma=0.5"], ["scheduler.gamma", "scheduler=exponential, scheduler=step"]),
    (["path.points=5"], ["path.points", "experiment=path"]),
    (["vectorized.memory=x", "-m", "lr=1,2"], ["vectorized.memory=x", "bytes"]),
    (["--cfg", "nothing"], ["--cfg", "'nothing'", "key=value"]),
    (["-m", "experiment=search/penalty"], ["hydra.sweeper.n_trials", "add hydra/sweeper=optuna"]),
    (["trainer=gpu"], ["trainer=gpu", "accelerator=gpu"]),
    (["trainer=ddp"], ["trainer=ddp", "several devices"]),
    (["ckpt_path=last.ckpt"], ["ckpt_path=last.ckpt", "resume="]),
    (["+train=false"], ["train=false", "scripts/evaluate.py"]),
    (["paths.output_dir=x"], ["paths.output_dir=x", "hydra.run.dir"]),
    (["++extras.print_config=true"], ["extras.print_config", "--cfg job"]),
    (["debug=default"], ["debug=default", "debug=fast"]),
    (["tags=first"], ["tags=first", "tags=[baseline,v2]"]),
    (["optimizer=adm"], ["optimizer=adm", "adam", "lbfgs", "sgd"]),
    (["experiment=notebook/sequental"], ["notebook/sequential", "notebook/module_class"]),
    (["epochs=many"], ["epochs=many", "whole number"]),
    (["epochs=0"], ["epochs=0", "above 0"]),
    (["epochs=2.5"], ["epochs=2.5", "whole number"]),
    (["lr=-1"], ["lr=-1", "above 0"]),
    (["lr=true"], ["lr=true", "number"]),
    (["optimizer.lr=nan"], ["optimizer.lr=nan", "number"]),
    (["seed=x"], ["seed=x", "whole number"]),
    (["penalty.l2=-0.1"], ["penalty.l2=-0.1", "0 or more"]),
    (["inference=walt"], ["inference=walt", "auto, wald, profile, none"]),
    (["covariance=HC9"], ["covariance=HC9", "model, HC0, HC1, cluster"]),
    (["inference=wald", "penalty.l2=0.1"], ["inference=wald", "penalty.l2=0.1", "penalty=firth"]),
    (["covariance=HC0", "penalty.l2=0.1"], ["covariance=HC0", "penalty.l2=0.1"]),
    (["inference=profile", "data=table", "data.path=t.csv"], ["inference=profile", "penalty.l2=auto"]),
    (["inference=profile", "covariance=HC0"], ["covariance=HC0", "inference=wald"]),
    (["inference=none", "covariance=HC0"], ["covariance=HC0", "inference=wald"]),
    (["covariance=cluster"], ["covariance=cluster", "data.group"]),
    (["penalty=firth", "covariance=HC0"], ["covariance=HC0", "penalty=firth"]),
    (["penalty=firth", "optimizer=adam"], ["penalty=firth", "optimizer=newton"]),
    (["penalty.firth=true"], ["penalty.firth=true", "penalty=firth sets both"]),
    (["penalty=firth", "penalty.l2=1"], ["penalty.l2: ", "penalty=firth"]),
    (["penalty.firth=maybe"], ["penalty.firth=maybe", "true or false"]),
    (["penalty=firt"], ["penalty=firt", "default, firth"]),
    (["data=table", "data.path=t.csv", "data.reference=last"], ["data.reference=last", "first"]),
    (["separation=maybe"], ["separation=maybe", "true, false or auto"]),
    (["certify_every=0"], ["certify_every=0", "above 0"]),
    (["optimizer=newton", "penalty.l1=0.1"], ["optimizer=newton", "penalty.l1", "proximal_newton"]),
    (["optimizer=torch_lbfgs", "penalty.l1=0.1"], ["optimizer=torch_lbfgs", "penalty.l1", "adam or sgd"]),
    (["optimizer=lbfgs", "scheduler=cosine"], ["scheduler", "optimizer=lbfgs", "scheduler=none"]),
    (["optimizer=auto", "optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
    (["optimizer=newton", "optimizer.tolerance=-1"], ["optimizer.tolerance=-1", "0 or more"]),
    (["threshold=1.5"], ["threshold=1.5", "between 0 and 1"]),
    (["calibration=platt"], ["calibration=platt", "sigmoid, isotonic or null"]),
    (["mode=most"], ["mode=most", "min or max"]),
    (["accelerator=abacus"], ["accelerator=abacus", "cpu, gpu, mps, auto"]),
    (["data.batch_size=0"], ["data.batch_size=0", "above 0"]),
    (["resume=no/such/run"], ["resume=no/such/run", "no such file or directory"]),
    (["resume=neverran"], ["resume=neverran", "outputs/runs"]),
    (["model._target_=os.system"], ["model._target_=os.system", "torch", "trusted_packages=[os]"]),
    (["hydra.run.dir=/dev/null/run"], ["hydra.run.dir=/dev/null/run", "written to"]),
    (["epochs=1,2"], ["epochs=1,2", "-m"]),
    (["logger=null"], ["logger=null", "csv, default, none, tensorboard"]),
    (["data.split=x"], ["data.split=x", "mapping"]),
    (["data.split={_target_:subprocess.Popen}"], ["data.split._target_", "no such key"]),
    (["name=../elsewhere"], ["name=../elsewhere", "below outputs"]),
    (["trainer.precision=128"], ["trainer.precision=128", "64-true"]),
    (["--config-name=nope"], ["nope", "evaluate", "train"]),
    (["epochs"], ["epochs", "key=value"]),
    (["--lr", "0.1"], ["--lr", "lr=value"]),
    (["penalty=0.1"], ["penalty=0.1", "firth", "penalty.<key>="]),
    (["vectorized=3"], ["vectorized=3", "one by one"]),
    (["-m", "lr=1,2", "sweep=null"], ["sweep=null", "one by one"]),
    (["penalty=[1]"], ["penalty=[1]", "firth", "penalty.<key>="]),
    (["costs=3"], ["costs=3", "one by one"]),
    (["sweep=[1]"], ["sweep=[1]", "one by one"]),
    (["tags={a:1}"], ["tags={a:1}", "list of words"]),
    (["lr='0.1'"], ["lr='0.1'", "a number above 0"]),
    (["experiment=path", "data.fold=0", "hydra.mode=RUN", "~path.rule"], ["path.rule", "best or one_standard_error"]),
    (["trainer.gradient_clip_algorithm=most"], ["trainer.gradient_clip_algorithm=most", "norm, value or null"]),
    (["trainer.enable_model_summary=3"], ["trainer.enable_model_summary=3", "true or false"]),
    (["trainer.deterministic=maybe"], ["trainer.deterministic=maybe", "true, false or warn"]),
    (["trainer.devices=0"], ["trainer.devices=0", "a whole number above 0, -1 for all"]),
    (["trainer.num_sanity_val_steps=-2"], ["trainer.num_sanity_val_steps=-2", "-1 for all"]),
    (["data.split={train:0.5}"], ["data.split", "add up to 1"]),
    (["data.split=[0.8,0.2]"], ["data.split=[0.8,0.2]", "mapping", "train:0.8"]),
    (["data.split.train=abc"], ["data.split.train=abc", "between 0 and 1"]),
    (["data=breast_cancer", "data.folds=3"], ["data.folds and data.fold belong together"]),
    (["data=digits", "data.folds=3", "data.fold=3"], ["data.fold=3", "from 0 to 2"]),
    (["data=digits", "data.positive=10"], ["data.positive=10", "a digit from 0 to 9"]),
    (
        ["data=table", "data.path=t.csv", "data.folds=3", "data.fold=0", "data.val_path=v.csv"],
        ["data.val_path", "data.folds"],
    ),
    (
        ["data=table", "data.path=t.csv", "data._target_=logreg.data.tables.table.TableData", "data.quote=ab"],
        ["data.quote=ab", "a single character"],
    ),
    (["data=table", "data.path=t.csv", "+data.fromat=csv"], ["data.fromat", "did you mean format?"]),
    (["data=images", "data.path=nowhere"], ["data.path=nowhere", "no such folder"]),
    (["data=images", "data.path=.", "data.augment.crop=2"], ["data.augment.crop=2", "from 0 to below 1"]),
    (["epochs=3", "+epocs=9", "+costs.fp=3"], ["epocs", "did you mean epochs?"]),
    (["+costs.fp=3"], ["costs.fp", "false_positive, false_negative"]),
    (["-m", "+epocs=1,2"], ["epocs", "did you mean epochs?"]),
    (["+learning_rate=0.1"], ["learning_rate", "did you mean lr?"]),
    (["+trainer.max_epoch=5"], ["trainer.max_epoch", "Trainer takes no such argument (did you mean max_epochs?)"]),
    (["optimizer=newton", "+optimizer.momentum=1"], ["optimizer.momentum", "valid: lr, tolerance"]),
    (["+callbacks.checkpoints.evry=1"], ["callbacks.checkpoints.evry", "valid: monitor, mode, every_seconds"]),
    (["+chosen=3"], ["chosen", "no such key"]),
    (["+chosen.name=adam"], ["chosen", "no such key"]),
    (["data=digits", "callbacks.photos.every_n_epochs=0"], ["callbacks.photos.every_n_epochs=0", "above 0"]),
]
# What needs the heavy imports.
LATER = [
    (["accelerator=gpu"], ["accelerator=gpu", "cpu"]),
    (["model._target_=torch.load"], ["model._target_=torch.load", "Module"]),
    (["model._target_=torch.hub.load"], ["torch.hub.load", "Module"]),
    (["optimizer._target_=torch.nn.Linear"], ["optimizer._target_=torch.nn.Linear", "Optimizer"]),
    (["+optimizer.speed=3"], ["optimizer.speed", "momentum"]),
    (["optimizer.momentum=fast"], ["optimizer.momentum", "float"]),
    (["monitor=val/los", "data=breast_cancer", "epochs=1"], ["monitor=val/los", "val/loss"]),
    (["monitor=val/loss"], ["monitor=val/loss", "no validation rows"]),
]


@pytest.mark.parametrize(("arguments", "parts"), AT_ONCE, ids=lambda value: " ".join(value))
def test_refused_at_once(command: Command, arguments: list[str], parts: list[str]) -> None:
    # A torch that cannot be imported proves that nobody asked for it.
    process = command("train.py", *arguments, without_torch=True)
    assert_refused(process, parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [("epocs: 5", ["epocs", "did you mean epochs?"]), ("penalty: {l3: 1}", ["penalty.l3", "l1, l2, firth"])],
)
def test_a_key_of_a_file_that_nothing_reads_is_refused(
    command: Command, tmp_path: Path, content: str, parts: list[str]
) -> None:
    write_experiment(tmp_path, content)
    assert_refused(command("train.py", "--config-dir=own", "experiment=mine", without_torch=True), parts)


def test_a_variable_of_a_user_is_valid(command: Command, tmp_path: Path) -> None:
    write_experiment(
        tmp_path, "passes: {few: 2}\nfolder: mine\nepochs: ${passes.few}\nhydra: {run: {dir: '${folder}'}}"
    )
    assert command("train.py", "--config-dir=own", "experiment=mine", "figures=false").returncode == 0
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["passes"] == {"few": 2}


def write_experiment(folder: Path, content: str) -> None:
    path = folder / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{content}\n")


@pytest.mark.parametrize(("arguments", "parts"), LATER, ids=lambda value: " ".join(value))
def test_refused_by_the_objects(command: Command, tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    if arguments == ["accelerator=gpu"]:
        import torch

        if torch.cuda.is_available() or torch.backends.mps.is_available():
            pytest.skip("this machine has the device whose absence is tested")
    process = command("train.py", *arguments, "hydra.run.dir=run", "figures=false")
    assert_refused(process, parts)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert f"error: {record['error']}" == process.stderr.strip()


def test_help_and_configuration_import_nothing_heavy(command: Command) -> None:
    for arguments in (["--help"], ["--cfg", "job"], ["lr=1", "--cfg", "job", "epochs=3"]):
        process = command("train.py", *arguments, without_torch=True)
        assert process.returncode == 0, process.stderr
        assert "optimizer" in process.stdout


def test_a_traceback_on_request(command: Command) -> None:
    process = command("train.py", "lr=-1", HYDRA_FULL_ERROR="1")
    assert process.returncode == 1
    assert "Traceback" in process.stderr


def test_a_directory_that_holds_a_run_is_not_overwritten(command: Command, tmp_path: Path) -> None:
    assert command("train.py", "lr=-1", "hydra.run.dir=run").returncode == 1
    before = (tmp_path / "run" / "run.json").read_bytes()
    process = command("train.py", "lr=-2", "hydra.run.dir=run")
    assert_refused(process, ["hydra.run.dir=run", "already holds a run"])
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_sweep_over_an_unknown_key_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    process = command("train.py", "-m", "lrr=1,2", "hydra.sweep.dir=sweep")
    assert_refused(process, ["lrr", "did you mean lr?"])
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["run", "run directory"]),
        (["run=nowhere"], ["nowhere", "not a run directory"]),
        (["run=.", "checkpoint=middle"], ["checkpoint=middle", "best or last"]),
        (["rum=x"], ["rum", "did you mean run?"]),
    ],
)
def test_evaluate_refuses(command: Command, arguments: list[str], parts: list[str]) -> None:
    assert_refused(command("scripts/evaluate.py", *arguments), parts)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("predict", {"foo": 1}, r"^foo: there is no such key.*; valid: run, "),
        ("predict", {"data": {"path": "x", "keep": [], "foo": 1}}, r"^data\.foo: there is no such key"),
        ("predict", {"data": None}, r"^data\.\w+: .* is needed\.$"),
        ("export", {"data": {"path": None, "foo": 1}}, r"^data\.foo: there is no such key.*; valid: path\."),
        ("evaluate", {"seed": ...}, r"^seed: a whole number, 0 or more, is needed\."),
        ("report", {"data": {"foo": 3}}, "^data: there is no such key"),
    ],
)
def test_the_other_commands_have_no_further_keys(name: str, changes: dict[str, object], sentence: str) -> None:
    required = {"export": ["format=onnx"], "predict": ["data.path=x"]}
    config = plain(compose(name, [*required.get(name, []), "run=r"]))
    parse(COMMANDS[name], config)
    changed = {key: value for key, value in (config | changes).items() if value is not ...}
    with pytest.raises(UserError, match=sentence):
        parse(COMMANDS[name], changed)


def test_the_package_imports_without_torch() -> None:
    code = "import logreg, sys; assert 'torch' not in sys.modules; from logreg import load_run"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
