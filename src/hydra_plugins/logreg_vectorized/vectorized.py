"""A launcher that trains the jobs of a sweep together, and a sweeper that leaves their composition to it."""

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from logreg.cli._compat import BasicSweeper

LAUNCHER = {"_target_": "hydra_plugins.logreg_vectorized.vectorized.VectorizedLauncher"}
# Not a dataclass, which would refuse the settings of another sweeper also where nothing is swept.
SWEEPER = {
    "_target_": "hydra_plugins.logreg_vectorized.vectorized.VectorizedSweeper",
    "max_batch_size": None,
    "params": None,
}

ConfigStore.instance().store("vectorized", LAUNCHER, group="hydra/launcher", provider="logreg")
ConfigStore.instance().store("vectorized", SWEEPER, group="hydra/sweeper", provider="logreg")


class VectorizedLauncher(Launcher):
    """Hands the jobs to `logreg.sweeps.launch`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from logreg.sweeps.launch import Hydra, launch

        return launch(Hydra(self.hydra_context, self.task_function, self.config), job_overrides, initial_job_idx)

    def refit(self) -> None:
        """After a cross-validation: a run with what it chose on all rows."""
        from logreg.sweeps.launch import Hydra, refit

        refit(Hydra(self.hydra_context, self.task_function, self.config))


class VectorizedSweeper(BasicSweeper):
    """Hydra's own sweeper, which composes every job to see whether it can be: this launcher does that already."""

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None, **others: object
    ) -> None:
        from logreg.core.errors import UserError

        if others:
            names = ", ".join(f"hydra.sweeper.{name}" for name in others)
            raise UserError(f"{names}: these are settings of another sweeper; add hydra/sweeper=optuna for a search.")
        super().__init__(max_batch_size, params)

    def sweep(self, arguments: list[str]) -> object:
        given = {argument.partition("=")[0].lstrip("+") for argument in arguments}
        self.params = {key: value for key, value in (self.params or {}).items() if key not in given}
        returned = super().sweep(arguments)
        if self.config is not None and self.config.get("path") and isinstance(self.launcher, VectorizedLauncher):
            self.launcher.refit()
        return returned

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, VectorizedLauncher):
            super().validate_batch_is_legal(batch)

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        from logreg.sweeps.checks import check_jobs

        batches = BasicSweeper.split_arguments(overrides, max_batch_size)
        check_jobs([job for batch in batches for job in batch])
        return batches
