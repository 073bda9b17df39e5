"""Settings that do not go together, which is seen before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence

from logreg.core.errors import UserError
from logreg.core.optimizer_traits import traits_of
from logreg.core.settings import Settings


def check_together(settings: Settings, trusted: Sequence[str]) -> None:
    """Refuse settings that do not go together.

    Args:
        trusted: packages besides `logreg.core.components.PACKAGES`.

    Raises:
        UserError: names them.
    """
    _check_penalty(settings, trusted)
    _check_inference(settings)
    _check_optimizer(settings, trusted)
    _check_loss(settings, trusted)


def _penalised(settings: Settings) -> list[str]:
    penalty = settings.penalty
    return [f"penalty.{key}={value}" for key, value in (("l1", penalty.l1), ("l2", penalty.l2)) if value]


def _check_penalty(settings: Settings, trusted: Sequence[str]) -> None:
    penalised = _penalised(settings)
    if settings.penalty.firth and penalised:
        key = penalised[0].partition("=")[0]  # without the number, so that a sweep says it once
        raise UserError(f"{key}: Firth's penalty stands alone; penalty=firth sets the others to 0.")
    if settings.penalty.firth and not traits_of(settings.optimizer.target, trusted).fits_firth:
        raise UserError("penalty.firth=true needs optimizer=newton, which knows its gradient; penalty=firth sets both.")


def _check_inference(settings: Settings) -> None:
    """Standard errors are those of the likelihood; the sandwich estimates of Wald intervals."""
    inference, covariance, penalised = settings.inference, settings.covariance, _penalised(settings)
    asked = f"inference={inference}" if inference in ("wald", "profile") else f"covariance={covariance}"
    if settings.wants_inference and penalised:
        raise UserError(
            f"{asked}: coefficients under {penalised[0]} are biased and have no such standard errors; set "
            "penalty.l2=0, or penalty=firth."
        )
    if settings.wants_inference and settings.class_weight is not None:
        raise UserError(
            f"{asked}: under class_weight the rows' likelihood is another one than that of the labels; leave one of "
            "the two out."
        )
    if covariance == "model":
        return
    if inference in ("none", "profile"):
        raise UserError(f"covariance={covariance} is of Wald intervals; set inference=wald.")
    if settings.penalty.firth:
        raise UserError(f"covariance={covariance} is of maximum likelihood; with penalty=firth only model is valid.")
    if covariance == "cluster" and settings.data.roles.group is None:
        raise UserError("covariance=cluster: data.group=<column> is needed, which says what belongs together.")


def _check_optimizer(settings: Settings, trusted: Sequence[str]) -> None:
    if not settings.penalty.l1 and settings.scheduler is None:  # it may have to be imported
        return
    traits = traits_of(settings.optimizer.target, trusted)
    if traits.needs_smooth and settings.penalty.l1:
        raise not_smooth(traits.name)
    if traits.solves and settings.scheduler is not None:
        raise not_scheduled(traits.name)


def _check_loss(settings: Settings, trusted: Sequence[str]) -> None:
    """Solvers, standard errors, separation and certificate are worked out for the log loss alone."""
    if settings.loss == "log_loss":
        return
    loss = f"loss={settings.loss}"
    if settings.penalty.firth:
        raise UserError(f"{loss}: penalty=firth is a penalty on the log loss, the likelihood; leave one of them out.")
    if (traits := traits_of(settings.optimizer.target, trusted)).solves:
        raise UserError(f"{loss}: optimizer={traits.name} solves for the log loss; use adam, sgd or torch_lbfgs.")
    if settings.wants_inference:
        raise UserError(f"{loss}: standard errors are those of the log loss, the likelihood; leave one of them out.")
    if settings.separation is True:
        raise UserError(f"{loss}: a separation is looked for under the log loss; leave one of them out.")
    if settings.certify_every is not None:
        raise UserError(f"{loss}: certify_every measures the distance from the least log loss; leave one of them out.")


def not_smooth(optimizer: str) -> UserError:
    """What is wrong with penalty.l1 for a solver of smooth objectives."""
    others = ", or for a model that is not linear adam or sgd" if optimizer == "torch_lbfgs" else ""
    return UserError(
        f"optimizer={optimizer} needs a smooth objective, which penalty.l1 is not; use proximal_newton{others}."
    )


def not_scheduled(solver: str) -> UserError:
    """What is wrong with a scheduler for a solver, whose steps are as long as the objective falls."""
    return UserError(f"scheduler: optimizer={solver} has no learning rate to schedule; leave it out (scheduler=none).")
