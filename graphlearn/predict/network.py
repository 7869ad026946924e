"""The training of a network in two parts: one that chooses the number of epochs, one on all labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from graphlearn.training.checkpoint import load_state, save_state
from graphlearn.training.loop import Lessons, TrainConfig, TrainState, make_optimizer, run_epochs
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import seed_dropout

Labelled = TypeVar("Labelled")
"""What a network learns from: seeds with labels, or sources with the items that came true."""
Model = TypeVar("Model", bound=torch.nn.Module)


class NetworkTraining(Generic[Labelled, Model]):
    """One network in training; after each epoch it is kept in ``partial``.

    Args:
        fresh: Makes the model for what it is to learn from, on its device.
        lessons: Gives what (model, train, validation or None) are trained with.
        settings: Of the optimisation.
        train: What to learn from.
        seed: Of everything drawn.
        partial: The file that keeps the training.
        agreed: Digest of all that the numbers depend on; only the same training goes on from ``partial``.
        progress: Show a bar on stderr.
        on_epoch: Called with the record of each epoch.

    Attributes:
        model: The network; after :meth:`choose` with the weights that validation chose.
        state: Where the training stands.
    """

    def __init__(
        self,
        fresh: Callable[[Labelled], Model],
        lessons: Callable[[Model, Labelled, Labelled | None], Lessons],
        settings: TrainConfig,
        *,
        train: Labelled,
        seed: int,
        partial: Path,
        agreed: str,
        progress: bool = True,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.fresh, self.lessons, self.settings, self.seed = fresh, lessons, settings, seed
        self.partial, self.agreed, self.progress, self.on_epoch = partial, agreed, progress, on_epoch
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

    def choose(self, val: Labelled) -> None:
        """Trains until validation has chosen an epoch; nothing to do if that was done before the interruption."""
        if not self.state.refit:
            self._run(self.train, val, "epoch")

    def refit(self, labelled: Labelled, decided: dict[str, Any] | None = None) -> None:
        """Trains anew, or goes on to, for the chosen number of epochs on all labels.

        Args:
            labelled: Train and validation.
            decided: What is to be known again if this is interrupted.
        """
        if not self.state.refit:
            self.model = self._fresh(labelled)
            self.optimizer = make_optimizer(self.model, self.settings)
            self.state = replace(self.state, epoch=0, refit=self.state.best_epoch, best={}, decided=dict(decided or {}))
        self._run(labelled, None, "refit")

    def _fresh(self, labelled: Labelled) -> Model:
        seed_dropout(self.seed, -1)
        return self.fresh(labelled)

    def _run(self, labelled: Labelled, val: Labelled | None, name: str) -> None:
        lessons = self.lessons(self.model, labelled, val)
        steps, epochs = lessons.plan()
        epochs = self.state.refit or epochs
        with ProgressBar(steps * epochs, shown=self.progress) as bar:

            def after_epoch(now: TrainState, optimizer: torch.optim.AdamW) -> None:
                save_state(self.partial, self.model.state_dict(), optimizer, now, self.agreed)
                if self.on_epoch is not None:
                    with bar.paused():
                        self.on_epoch(now.history[-1])

            self.state = run_epochs(
                self.model,
                lessons,
                self.settings,
                seed=self.seed,
                state=self.state,
                optimizer=self.optimizer,
                after_epoch=after_epoch,
                after_step=lambda epoch, step, _: bar.show(epoch * steps + step, f"{name} {epoch + 1}/{epochs}"),
            )
