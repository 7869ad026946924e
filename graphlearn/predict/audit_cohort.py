"""Who is in the label table: what membership alone gives away, and what train and test have in common."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import torch_frame
from torch_geometric.data import HeteroData

from graphlearn.models.baselines import constant, entity_columns
from graphlearn.predict.finding import AuditFinding
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import bootstrap, primary_metric, score
from graphlearn.tasks.times import duration_text
from graphlearn.training.seeds import Seeds, labels_of

KNOWN_FACTS = ("rows of the anchor", "share of earlier anchors", "in the anchor before")
"""Facts about who is in the label table that can be known at the seed time."""
LATER_FACTS = ("share of later anchors", "in the anchor after")
"""Facts that cannot: only the table as a whole knows them."""
_UNIQUE = 0.9


def cohort(task: Task, splits: dict[str, Seeds], split: str, achieved: float) -> AuditFinding:
    """How well trees do that know nothing but who is in the label table when.

    Args:
        task: The task.
        splits: Seeds with labels.
        split: The split to score on.
        achieved: The run's own first metric there.
    """
    kind = str(task.task_type.value)
    metric, higher = primary_metric(kind)
    facts = _facts(splits)
    known, all_facts = list(KNOWN_FACTS), [*KNOWN_FACTS, *LATER_FACTS]
    labels = {name: labels_of(seeds).numpy() for name, seeds in splits.items()}
    val = "val" if "val" in splits and split != "val" else "train"
    same = constant(kind, labels["train"], len(splits[split]), num_classes=task.num_outputs)
    found = {"constant": _scored(kind, splits[split], labels[split], same)}
    for name, columns in (("known", known), ("all", all_facts)):
        train, stop, rows = (facts[part][columns].to_numpy(float) for part in ("train", val, split))
        data = (train, labels["train"]), (stop, labels[val])
        said = entity_columns(kind, *data, rows, num_classes=task.num_outputs)
        found[name] = _scored(kind, splits[split], labels[split], said)
    better = max if higher else min
    choice = better(("known", "all"), key=lambda name: found[name][metric])
    base, best = found["constant"][metric], found[choice][metric]
    gain = (achieved - base) if higher else (base - achieved)
    part = ((best - base) if higher else (base - best)) / gain if gain > 0 else float("nan")
    numbers = {"metric": metric, "scores": found, "run": achieved, "share_of_gain": part}
    low, high = found[choice]["low"], found[choice]["high"]
    name = metric.upper()
    text = (
        f"Knowing only {'when' if choice == 'known' else 'when, and when later,'} an entity is asked about gives "
        f"{name} {best:.3f} [{low:.3f}, {high:.3f}] on {split}; a constant has {base:.3f}, this run {achieved:.3f}."
    )
    if np.isnan(best) or np.isnan(base):
        return AuditFinding("cohort", "warn", f"Not checked: {name} has no value on {split}.", numbers)
    beyond = low > base if higher else high < base
    if beyond and (not gain > 0 or part > 0.5):
        advice = "Being asked about says much of the answer: look at how the label table chooses its rows."
        return AuditFinding("cohort", "warn", text, numbers, advice)
    return AuditFinding("cohort", "ok", text, numbers)


def members(graph: HeteroData, task: Task, splits: dict[str, Seeds]) -> AuditFinding:
    """Which share of the entities that exist at an anchor the label table is about."""
    store = graph[task.entity_table]
    shares: dict[str, float] = {}
    for split, seeds in splits.items():
        at, rows = np.unique(seeds.seed_time.numpy(), return_counts=True)
        if "time" in store:
            dated = store.time[store.num_undated :]
            existing = store.num_undated + torch.searchsorted(dated, torch.from_numpy(at), right=True).numpy()
        else:
            existing = np.full(len(at), store.num_nodes)
        shares[split] = float(rows.sum() / max(existing.sum(), 1))
    numbers = {"share_of_existing": shares}
    if task.completes:
        return AuditFinding("members", "ok", "Each row is asked about once, at its own time.", numbers)
    shown = ", ".join(f"{split} {share:.1%}" for split, share in shares.items())
    what = f"The label table is about {shown} of the entities that exist at its anchors."
    values = list(shares.values())
    if max(values) > 2 * min(values):
        advice = "Train and test choose their rows differently, so the metrics of one say little about the other."
        return AuditFinding("members", "warn", what, numbers, advice)
    return AuditFinding("members", "ok", what, numbers)


def overlap(task: Task, labels: dict[str, pa.Table], *, refit: bool) -> AuditFinding:
    """Labels of an entity in train and test that are about the same time."""
    known = [name for name in ("train", "val") if name in labels and (name == "train" or refit)]
    if "test" not in labels:
        return AuditFinding("overlap", "ok", "There are no test labels that could overlap with train.")
    tables = {name: labels[name].select(["pkey", "seed_time"]).to_pandas() for name in [*known, "test"]}
    past = pd.concat([tables[name] for name in known]).sort_values("seed_time", kind="stable")
    test = tables["test"].sort_values("seed_time", kind="stable")
    nearest = past.rename(columns={"seed_time": "near"})
    near = pd.merge_asof(
        test, nearest, left_on="seed_time", right_on="near", by="pkey", direction="nearest",
        tolerance=task.timedelta - 1,
    )  # fmt: skip
    shared = int(near["near"].notna().sum())
    window = duration_text(task.timedelta)
    numbers = {"rows": len(test), "overlapping": shared, "against": known}
    if shared:
        what = f"{shared:,} of {len(test):,} test labels share days with labels of {' or '.join(known)}."
        advice = f"Leave {window} between the splits: the model was taught a part of these answers."
        return AuditFinding("overlap", "fail", what, numbers, advice)
    what = f"No window of {window} of a test label overlaps with one of {' or '.join(known)} for the same entity."
    return AuditFinding("overlap", "ok", what, numbers)


def twins(graph: HeteroData, task: Task, splits: dict[str, Seeds]) -> AuditFinding:
    """Entities of test whose row equals that of another entity of train."""
    if "test" not in splits or "train" not in splits:
        return AuditFinding("duplicates", "ok", "There are no test labels that could repeat train.")
    tf = graph[task.entity_table].tf
    parts = [
        tf.feat_dict[kind].reshape(tf.num_rows, -1).double().numpy()
        for kind in (torch_frame.numerical, torch_frame.categorical, torch_frame.timestamp, torch_frame.embedding)
        if kind in tf.feat_dict and isinstance(tf.feat_dict[kind], torch.Tensor)
    ]
    if not parts:
        return AuditFinding("duplicates", "ok", f"'{task.entity_table}' has no columns that could repeat.")
    matrix = np.nan_to_num(np.concatenate(parts, axis=1), nan=-1e300)
    row = pd.util.hash_pandas_object(pd.DataFrame(matrix), index=False).to_numpy()
    train, test = (np.unique(splits[split].index.numpy()) for split in ("train", "test"))
    unique = len(np.unique(row)) / max(len(row), 1)
    fresh = np.setdiff1d(test, train)
    count = int(np.isin(row[fresh], row[train]).sum())
    numbers = {"test_entities": len(test), "not_in_train": len(fresh), "same_row": count, "distinct_rows": unique}
    seen = f"{len(test) - len(fresh):,} of {len(test):,} entities of test are in train as well, at other times"
    if count and unique >= _UNIQUE:
        what = f"{seen}; of the others, {count:,} have the very columns of an entity of train."
        advice = f"'{task.entity_table}' seems to hold rows twice under different keys: merge them."
        return AuditFinding("duplicates", "warn", what, numbers, advice)
    if unique < _UNIQUE:
        what = f"{seen}. The columns of '{task.entity_table}' do not tell rows apart ({unique:.0%} distinct)."
        return AuditFinding("duplicates", "ok", what, numbers)
    return AuditFinding("duplicates", "ok", f"{seen}; none of the others has the columns of one.", numbers)


def _facts(splits: dict[str, Seeds]) -> dict[str, pd.DataFrame]:
    """The facts of each row, worked out over the anchors of all splits together."""
    rows = pd.concat(
        {s: pd.DataFrame({"entity": p.index.numpy(), "time": p.seed_time.numpy()}) for s, p in splits.items()},
        names=["split", "row"],
    ).reset_index()
    rows["anchor"] = rows["time"].rank(method="dense").astype(int) - 1
    last = int(rows["anchor"].max())
    ordered = rows.sort_values(["entity", "anchor"], kind="stable")
    groups = ordered.groupby("entity")
    before, after = groups["anchor"].diff() == 1, groups["anchor"].diff(-1) == -1
    earlier = groups.cumcount()
    later = groups["anchor"].transform("size") - 1 - earlier
    anchor = ordered["anchor"]
    facts = pd.DataFrame(
        {
            "rows of the anchor": ordered.groupby("anchor")["entity"].transform("size"),
            "share of earlier anchors": earlier / anchor.where(anchor > 0),
            "in the anchor before": before.where(anchor > 0).astype(float),
            "share of later anchors": later / (last - anchor).where(anchor < last),
            "in the anchor after": after.where(anchor < last).astype(float),
        }
    ).sort_index()
    return {split: facts[rows["split"] == split] for split in splits}


def _scored(kind: str, seeds: Seeds, label: np.ndarray, said: np.ndarray) -> dict[str, float]:
    metric, _ = primary_metric(kind)
    value = score(kind, label, said)[metric]
    if np.isnan(value):
        return {metric: value, "low": value, "high": value}
    low, high = bootstrap(kind, label, said, metric=metric, seed=0, groups=seeds.index.numpy())
    return {metric: value, "low": low, "high": high}
