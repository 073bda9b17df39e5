"""The values of the configuration that can be checked before anything heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from logreg.core.errors import UserError
from logreg.core.numbers import is_finite

CONF = Path(__file__).resolve().parents[3] / "conf"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _rate(value: Any) -> bool:
    """Whether an optimizer can multiply a float32 by it."""
    return is_finite(value) and 0 < value <= 3e38


def _positive(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: check(value) and value > 0


def _one_of(*choices: Any) -> Callable[[Any], bool]:
    return lambda value: value in choices


def _weights(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(is_finite(v) and v > 0 for v in value.values())


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple) and not any(
        isinstance(item, list | Mapping) or item is None for item in value
    )


def _folder(value: Any) -> bool:
    parts = str(value).split("/")
    return isinstance(value, str | int) and all(part.strip(". ") and "\0" not in part for part in parts)


PRECISIONS = ("32-true", "64-true", "bf16-mixed", "32", "64", 32, 64)
AUTO = "auto"  # penalty.l2: one over the number of training rows, which is scikit-learn's C = 1
THRESHOLD_RULES = ("max_f1", "max_youden", "cost")
CALIBRATIONS = ("sigmoid", "isotonic")
PATH_RULES = ("best", "one_standard_error")
ACCELERATORS = ("cpu", "gpu", "cuda", "mps", "auto")
AUTO_OPTIMIZER = "logreg.optim.auto.Auto"  # optimizer=auto
FITS_FIRTH = ("logreg.optim.newton.Newton", AUTO_OPTIMIZER)
SMOOTH_ONLY = ("newton.Newton", "newton_cg.NewtonCG", "lbfgs.PreconditionedLBFGS")  # solvers in logreg.optim
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_folder, "a name for the run's folder below outputs, without '..',"),
    "seed": (lambda value: _whole(value) and 0 <= value < 2**63, "a whole number, 0 or more,"),
    "epochs": (_positive(_whole), "a whole number above 0"),
    "lr": (_rate, "a number above 0, up to 3e38,"),
    "optimizer.lr": (_rate, "a number above 0, up to 3e38,"),
    "optimizer.tolerance": (lambda value: is_finite(value) and value >= 0, "a number, 0 or more,"),
    "optimizer.history_size": (_positive(_whole), "a whole number above 0"),
    "loss": (_one_of("log_loss", "mse"), "one of log_loss, mse"),
    "accelerator": (_one_of(*ACCELERATORS), "one of cpu, gpu, mps, auto"),
    "trainer.accelerator": (_one_of(*ACCELERATORS), "one of cpu, gpu, mps, auto"),
    "penalty.l2": (lambda value: value == AUTO or (is_finite(value) and value >= 0), "a number, 0 or more, or auto"),
    "penalty.l1": (lambda value: is_finite(value) and value >= 0, "a number, 0 or more,"),
    "class_weight": (
        _optional(lambda value: value == "balanced" or _weights(value)),
        "balanced, null, or a weight above 0 for each label, in quotes, such as 'class_weight={no:1,yes:3}',",
    ),
    "baseline": (lambda value: isinstance(value, bool), "true or false"),
    "report": (lambda value: isinstance(value, bool), "true or false"),
    "penalty.firth": (lambda value: isinstance(value, bool), "true or false"),
    "inference": (_one_of(AUTO, "wald", "profile", "none"), "one of auto, wald, profile, none"),
    "covariance": (_one_of("model", "HC0", "HC1", "cluster"), "one of model, HC0, HC1, cluster"),
    "separation": (lambda value: value == AUTO or isinstance(value, bool), "true, false or auto"),
    "certify_every": (_optional(_positive(_whole)), "a whole number of epochs above 0, or null"),
    "threshold": (
        lambda value: value in THRESHOLD_RULES or (is_finite(value) and 0 < value < 1),
        f"a number between 0 and 1, or one of {', '.join(THRESHOLD_RULES)}",
    ),
    "calibration": (_optional(_one_of(*CALIBRATIONS)), "sigmoid, isotonic or null"),
    "costs.false_positive": (lambda value: is_finite(value) and value >= 0, "a number, 0 or more,"),
    "costs.false_negative": (lambda value: is_finite(value) and value >= 0, "a number, 0 or more,"),
    "monitor": (lambda value: isinstance(value, str) and value != "", "the name of a metric, such as val/loss"),
    "mode": (_one_of("min", "max"), "min or max"),
    "resume": (_optional(lambda value: isinstance(value, str)), "a run directory or a checkpoint"),
    "figures": (lambda value: isinstance(value, bool), "true or false"),
    "path.smallest": (_positive(is_finite), "a number above 0"),
    "path.largest": (_positive(is_finite), "a number above 0"),
    "path.points": (_positive(_whole), "a whole number above 0"),
    "path.rule": (_one_of(*PATH_RULES), " or ".join(PATH_RULES)),
    "vectorized.memory": (_optional(_positive(is_finite)), "a number of bytes above 0, or null"),
    "vectorized.dry_run": (lambda value: isinstance(value, bool), "true or false"),
    "vectorized.figures": (lambda value: _whole(value) and value >= 0, "a whole number, 0 or more,"),
    "data.seed": (lambda value: _whole(value) and 0 <= value < 2**63, "a whole number, 0 or more,"),
    "callbacks.checkpoints.every_seconds": (_positive(is_finite), "a number of seconds above 0"),
    "data.batch_size": (_optional(_positive(_whole)), "a whole number above 0, or null for the full batch"),
    "data.split": (
        lambda value: isinstance(value, Mapping),
        "a mapping, in quotes, such as 'data.split={train:0.8,val:0.1,test:0.1}',",
    ),
    "data.size": (lambda value: _whole(value) and 1 <= value <= 4096, "a whole number of pixels from 1 to 4096"),
    "data.skip_bad": (lambda value: isinstance(value, bool), "true or false"),
    "data.augment": (
        lambda value: value is None or isinstance(value, Mapping),
        "null for none, or a mapping, in quotes, such as 'data.augment={flip: true, crop: 0.1, jitter: 0.2}',",
    ),
    "data.augment.flip": (lambda value: isinstance(value, bool), "true or false"),
    "data.augment.crop": (lambda value: is_finite(value) and 0 <= value < 1, "a number from 0 to below 1, 0 for none,"),
    "data.augment.jitter": (
        lambda value: is_finite(value) and 0 <= value < 1,
        "a number from 0 to below 1, 0 for none,",
    ),
    "callbacks.photos.every_n_epochs": (_positive(_whole), "a whole number of epochs above 0"),
    "data.folds": (_optional(lambda value: _whole(value) and value >= 2), "a whole number, 2 or more, or null"),
    "data.fold": (_optional(lambda value: _whole(value) and value >= 0), "a whole number, 0 or more, or null"),
    "data.min_count": (_optional(_positive(_whole)), "a whole number above 0, or null"),
    "data.reference": (
        lambda value: value in (None, "first") or isinstance(value, Mapping),
        "first, null, or a mapping, in quotes, such as 'data.reference={race: white}',",
    ),
    "data.leak_auroc": (lambda value: is_finite(value) and value > 0.5, "a number above 0.5"),
    "data.header": (_optional(lambda value: isinstance(value, bool)), "true, false or null"),
    "data.format": (_optional(_one_of("csv", "parquet", "arrow", "libsvm")), "csv, parquet, arrow, libsvm or null"),
    "data.storage": (_optional(_one_of("float32", "float64")), "float32, float64 or null"),
    "data.features": (_optional(_names), "a list of names or globs, in quotes, such as 'data.features=[age,x*]',"),
    "data.exclude": (_names, "a list of names or globs, in quotes, such as 'data.exclude=[id]',"),
    "data.categorical": (_names, "a list of names or globs, in quotes, such as 'data.categorical=[zip]',"),
    "data.missing": (_names, "a list of texts, in quotes, such as 'data.missing=[NA,-]',"),
    "trainer.precision": (_one_of(*PRECISIONS), "one of 32-true, 64-true, bf16-mixed"),
    "trainer.max_epochs": (_positive(_whole), "a whole number above 0"),
    "trainer.log_every_n_steps": (_positive(_whole), "a whole number above 0"),
    "trainer.check_val_every_n_epoch": (_positive(_whole), "a whole number above 0"),
    "trainer.accumulate_grad_batches": (_positive(_whole), "a whole number above 0"),
    "trainer.gradient_clip_val": (_optional(_positive(is_finite)), "a number above 0, or null"),
}


# Where classes may come from that a configuration names; see `logreg.core.build`.
PACKAGES = ("logreg", "torch", "torchmetrics", "lightning")


def check_target(target: str, key: str, trusted: Sequence[str]) -> None:
    """Refuse a ``_target_`` outside the packages on the allow-list.

    Raises:
        UserError: names the key, the packages, and how to trust another one.
    """
    allowed = (*PACKAGES, *trusted)
    package = target.partition(".")[0]
    if package not in allowed:
        raise UserError(
            f"{key}={target}: only classes of {', '.join(allowed)} are instantiated; to trust another package, say "
            f"trusted_packages=[{package}] on the command line."
        )


def check_targets(node: Any, trusted: Sequence[str], key: str = "") -> None:
    """`check_target` for every ``_target_`` below a node."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        path = f"{key}.{name}".lstrip(".")
        if name == "_target_":
            check_target(str(value), path, trusted)
        check_targets(value, trusted, path)


ABSENT = object()


def lookup(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value of a dotted key."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def check(config: Mapping[str, Any], only: str | None = None) -> None:
    """Hold a resolved configuration against `RULES`, or against the one for the key ``only``.

    Raises:
        UserError: names the first key whose value is not valid, and what would be.
    """
    for key, (valid, description) in RULES.items():
        value = lookup(config, key, ABSENT)
        if only in (None, key) and value is not ABSENT and not valid(value):
            raise UserError(f"{key}={value}: {description} is needed.")
    if only is None:
        _check_inference(config)
        _check_l1(config)
        _check_loss(config)
        _check_scheduler(config)
        smallest, largest = (lookup(config, f"path.{key}", 0) for key in ("smallest", "largest"))
        if smallest > largest:
            raise UserError(f"path.smallest={smallest} is above path.largest={largest}; give the smaller number first.")


def _check_l1(config: Mapping[str, Any]) -> None:
    """Refuse a solver of smooth objectives for a penalty that is not smooth.

    Raises:
        UserError: names the one that can.
    """
    target = str(lookup(config, "optimizer._target_", ""))
    name = {"torch.optim.LBFGS": "torch_lbfgs"} | {f"logreg.optim.{path}": path.split(".")[0] for path in SMOOTH_ONLY}
    if target in name and lookup(config, "penalty.l1", 0):
        raise not_smooth(name[target])


def _check_loss(config: Mapping[str, Any]) -> None:
    """Refuse what is worked out for the log loss alone.

    Raises:
        UserError: names it.
    """
    if config.get("loss", "log_loss") == "log_loss":
        return
    loss = f"loss={config['loss']}"
    if lookup(config, "penalty.firth"):
        raise UserError(f"{loss}: penalty=firth is a penalty on the log loss, the likelihood; leave one of them out.")
    target = str(lookup(config, "optimizer._target_", ""))
    if target.startswith("logreg."):
        name = "auto" if target.endswith(".Auto") else target.removeprefix("logreg.optim.").partition(".")[0]
        raise UserError(f"{loss}: optimizer={name} solves for the log loss; use adam, sgd or torch_lbfgs.")
    if wants_inference(config):
        raise UserError(f"{loss}: standard errors are those of the log loss, the likelihood; leave one of them out.")
    if config.get("separation") is True:
        raise UserError(f"{loss}: a separation is looked for under the log loss; leave one of them out.")
    if config.get("certify_every") is not None:
        raise UserError(f"{loss}: certify_every measures the distance from the least log loss; leave one of them out.")


def not_smooth(optimizer: str) -> UserError:
    """What is wrong with penalty.l1 for a solver of smooth objectives."""
    others = ", or for a model that is not linear adam or sgd" if optimizer == "torch_lbfgs" else ""
    return UserError(
        f"optimizer={optimizer} needs a smooth objective, which penalty.l1 is not; use proximal_newton{others}."
    )


def _check_scheduler(config: Mapping[str, Any]) -> None:
    """Refuse a learning-rate scheduler for a solver.

    Raises:
        UserError: names the solver.
    """
    package, _, path = str(lookup(config, "optimizer._target_", "")).partition(".optim.")
    if package == "logreg" and lookup(config, "scheduler._target_") is not None:
        raise not_scheduled(path.split(".")[0])


def not_scheduled(solver: str) -> UserError:
    """What is wrong with a scheduler for a solver, whose steps are as long as the objective falls."""
    return UserError(f"scheduler: optimizer={solver} has no learning rate to schedule; leave it out (scheduler=none).")


def most_searched(config: Mapping[str, Any], unasked: int) -> float:
    """Rows times columns up to which a separation of the labels is looked for; ``unasked`` for ``separation=auto``."""
    asked = {True: math.inf, False: 0}
    return asked[config["separation"]] if config.get("separation") in (True, False) else unasked


def is_auto(config: Mapping[str, Any]) -> bool:
    """Whether the optimizer is to be chosen when data and penalty are known."""
    return config["optimizer"].get("_target_") == AUTO_OPTIMIZER


def wants_inference(config: Mapping[str, Any]) -> bool:
    """Whether standard errors are asked for by name, so that a fit that has none is to say why."""
    return config.get("inference") in ("wald", "profile") or config.get("covariance", "model") != "model"


def _check_inference(config: Mapping[str, Any]) -> None:
    """Refuse settings of penalty and inference that do not go together.

    Raises:
        UserError: names them.
    """
    penalty, inference = config.get("penalty", {}), config.get("inference", AUTO)
    covariance, firth = config.get("covariance", "model"), bool(penalty.get("firth"))
    penalised = [f"penalty.{key}={penalty[key]}" for key in ("l1", "l2") if penalty.get(key)]
    if firth and penalised:
        key = penalised[0].partition("=")[0]  # without the number, so that a sweep says it once
        raise UserError(f"{key}: Firth's penalty stands alone; penalty=firth sets the others to 0.")
    if firth and lookup(config, "optimizer._target_") not in FITS_FIRTH:
        raise UserError("penalty=firth needs optimizer=newton, which knows its gradient; leave the other one out.")
    asked = f"inference={inference}" if inference in ("wald", "profile") else f"covariance={covariance}"
    if wants_inference(config) and penalised:
        raise UserError(
            f"{asked}: coefficients under {penalised[0]} are biased and have no such standard errors; set "
            "penalty.l2=0, or penalty=firth."
        )
    if wants_inference(config) and config.get("class_weight") is not None:
        raise UserError(
            f"{asked}: under class_weight the rows' likelihood is another one than that of the labels; leave one of "
            "the two out."
        )
    if covariance == "model":
        return
    if inference in ("none", "profile"):
        raise UserError(f"covariance={covariance} is of Wald intervals; set inference=wald.")
    if firth:
        raise UserError(f"covariance={covariance} is of maximum likelihood; with penalty=firth only model is valid.")
    if covariance == "cluster" and lookup(config, "data.group") is None:
        raise UserError("covariance=cluster: data.group=<column> is needed, which says what belongs together.")
