"""The training of a network in two parts: one that chooses the number of epochs, one on all labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import HeteroData

from graphlearn.graph import Statistics
from graphlearn.models import Ensemble, ModelConfig, RelationalModel
from graphlearn.models.rdl import EncoderFactory
from graphlearn.predict.run import make_model
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.training.checkpoint import load_state, save_state
from graphlearn.training.loop import TrainConfig, TrainState, fit, make_optimizer, plan
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import seed_dropout
from graphlearn.training.seeds import Seeds, labels_of


class NetworkTraining:
    """One network in training; after each epoch it is kept in ``partial``.

    Args:
        db: The database.
        task: The task.
        statistics: Of the rows.
        graph: On the device.
        sizes: Of the model.
        settings: Of the optimisation.
        seed: Of everything drawn.
        device: Where to compute.
        longest_age: See :func:`~graphlearn.training.loop.fit`.
        partial: The file that keeps the training.
        agreed: Digest of all that the numbers depend on; only the same training goes on from ``partial``.
        encoder: Makes the row encoder of a table.
        progress: Show a bar on stderr.
        on_epoch: Called with the record of each epoch.

    Attributes:
        model: The network; after :meth:`choose` with the weights that validation chose.
        state: Where the training stands.
    """

    def __init__(
        self,
        db: Database,
        task: Task,
        statistics: Statistics,
        graph: HeteroData,
        sizes: ModelConfig,
        settings: TrainConfig,
        *,
        train: Seeds,
        seed: int,
        device: str,
        longest_age: int,
        partial: Path,
        agreed: str,
        encoder: EncoderFactory | None = None,
        progress: bool = True,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.db, self.task, self.statistics, self.graph = db, task, statistics, graph
        self.sizes, self.settings, self.seed, self.device = sizes, settings, seed, device
        self.longest_age, self.partial, self.agreed, self.encoder = longest_age, partial, agreed, encoder
        self.progress, self.on_epoch = progress, on_epoch
        self.train = train
        self.state = TrainState()
        self.model = self._fresh(train)
        self.optimizer = make_optimizer(self.model, settings)

    def resume(self) -> None:
        """Goes on from what ``partial`` keeps.

        Raises:
            RunError: If there is nothing, or it was another training.
        """
        self.state = load_state(self.partial, self.model, self.optimizer, self.agreed)

    def choose(self, val: Seeds) -> None:
        """Trains until validation has chosen an epoch; nothing to do if that was done before the interruption."""
        if not self.state.refit:
            self._run(self.train, val, "epoch")

    def refit(self, labelled: Seeds, decided: dict[str, Any] | None = None) -> None:
        """Trains anew, or goes on to, for the chosen number of epochs on all labels.

        Args:
            labelled: The seeds of train and validation.
            decided: What is to be known again if this is interrupted.
        """
        if not self.state.refit:
            self.model = self._fresh(labelled)
            self.optimizer = make_optimizer(self.model, self.settings)
            self.state = replace(self.state, epoch=0, refit=self.state.best_epoch, best={}, decided=dict(decided or {}))
        self._run(labelled, None, "refit")

    def _fresh(self, labelled: Seeds) -> RelationalModel | Ensemble:
        seed_dropout(self.seed, -1)
        made = make_model(self.db.schema, self.statistics, self.task, self.sizes, self.encoder)
        if "regression" in self.task.task_type:
            made.head.fit_range(labels_of(labelled))
        if labelled.features is not None:
            made.fit_features(labelled.features)
        return made.to(torch.device(self.device))

    def _run(self, labelled: Seeds, val: Seeds | None, name: str) -> None:
        steps, epochs = plan(len(labelled), self.settings)
        epochs = self.state.refit or epochs
        with ProgressBar(steps * epochs, shown=self.progress) as bar:

            def after_epoch(now: TrainState, optimizer: torch.optim.AdamW) -> None:
                save_state(self.partial, self.model.state_dict(), optimizer, now, self.agreed)
                if self.on_epoch is not None:
                    with bar.paused():
                        self.on_epoch(now.history[-1])

            self.state = fit(
                self.model,
                self.graph,
                labelled,
                val,
                self.settings,
                seed=self.seed,
                longest_age=self.longest_age,
                age_step=self.task.timedelta,
                state=self.state,
                optimizer=self.optimizer,
                after_epoch=after_epoch,
                after_step=lambda epoch, step, _: bar.show(epoch * steps + step, f"{name} {epoch + 1}/{epochs}"),
            )
