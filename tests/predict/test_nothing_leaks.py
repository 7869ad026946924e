"""Rows that a seed may not see change nothing: not its batch, features, statistics, baselines, weights or predictions.

Everything is compared by keys, never by row numbers, which the added rows change.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from little_shop import END, MODEL, START, TEST, VAL, labels, make_task, open_tables, tables, train_fast
from safetensors.torch import load_file
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.graph.build import node_index
from graphlearn.models import RelationalModel
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.sampling.native_backend import native_available
from graphlearn.tasks import Task
from graphlearn.training import Seeds, predict_seeds

BACKENDS = ["torch", "native"] if native_available() else ["torch"]
DAYS = (pd.Timestamp(END) - pd.Timestamp(START)).days
Frames = dict[str, pd.DataFrame]


def up_to(frames: Frames, time: pd.Timestamp) -> Frames:
    """The shop as it was: no customer, order or item after ``time``. Products have no time, so they stay."""
    orders = frames["orders"][frames["orders"]["placed"] <= time]
    return {
        "customers": frames["customers"][~(frames["customers"]["joined"] > time)],
        "orders": orders,
        "items": frames["items"][frames["items"]["order_id"].isin(orders["order_id"])],
        "products": frames["products"],
    }


def with_more(frames: Frames, seed: int, time: pd.Timestamp) -> Frames:
    """The shop with other rows after ``time``: new customers, and orders and items of old and new ones."""
    more = tables(seed, customers=15, orders=60)
    people = more["customers"]
    people = people[people["joined"] > time].assign(customer_id=lambda part: "x" + part["customer_id"], city="Atlantis")
    known = pd.concat([frames["customers"]["customer_id"], people["customer_id"]], ignore_index=True)
    orders = more["orders"]
    orders = orders[orders["placed"] > time].assign(
        order_id=lambda part: part["order_id"] + 100_000,
        customer_id=lambda part: known.sample(len(part), replace=True, random_state=seed).to_numpy(),
        amount=1e6,
        kind="telepathy",
    )
    items = more["items"].assign(order_id=more["items"]["order_id"] + 100_000, quantity=1_000)
    added = {"customers": people, "orders": orders, "items": items[items["order_id"].isin(orders["order_id"])]}
    # In front, so that the order of the rows differs too.
    return {name: pd.concat([added[name], frame]) if name in added else frame for name, frame in frames.items()}


def batch_by_key(graph: HeteroData, keys: list[str], times: torch.Tensor, backend: str, strategy: str) -> dict:
    """What the sampler and the encoder see, with primary keys in place of row numbers."""
    sampler = TemporalNeighborSampler(graph, [4, 3], backend=backend, strategy=strategy)
    index = node_index(graph, "customers", keys)
    batch = sampler.sample("customers", index, times, generator=torch.Generator().manual_seed(3))
    seen: dict = {}
    for name in graph.node_types:
        store, n_id = graph[name], batch[name].n_id
        cells = store.tf[n_id].feat_dict.items()
        seen[name, "rows"] = [(kind, [t.tolist() for t in parts_of(value)]) for kind, value in cells]
        seen[name, "seed"] = batch[name].batch.tolist()
        if "pkey" in store:
            seen[name, "pkey"] = [store.pkey[int(i)].as_py() for i in n_id]
        if "time" in store:
            seen[name, "time"] = store.time[n_id].tolist()
    for edge_type in graph.edge_types:
        seen[edge_type] = (batch[edge_type].rowptr.tolist(), batch[edge_type].col.tolist())
    return seen


def parts_of(cells: torch.Tensor | MultiNestedTensor | MultiEmbeddingTensor) -> list[torch.Tensor]:
    return [cells] if isinstance(cells, torch.Tensor) else [cells.values, cells.offset]


def same(a: object, b: object) -> bool:
    """Equal, with NaN equal to NaN."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("regime", ["rolling", "frozen"])
@given(
    seed=st.integers(0, 10_000),
    day=st.integers(30, DAYS),
    since=st.integers(0, 90),
    strategy=st.sampled_from(["last", "uniform"]),
)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # no long shrinking
def test_rows_after_the_input_time_change_nothing(regime, seed, day, since, strategy):
    seed_time = pd.Timestamp(START) + pd.Timedelta(days=day)
    input_time = seed_time if regime == "rolling" else seed_time - pd.Timedelta(days=since)
    before = up_to(tables(seed, customers=12, orders=40), input_time)
    after = with_more(before, seed + 1, input_time)
    us = int(input_time.value // 1000)
    statistics = [fit_statistics(open_tables(frames), fit_until=us) for frames in (before, after)]
    assert statistics[0] == statistics[1]

    graphs = [build_graph(open_tables(frames), statistics=statistics[0]) for frames in (before, after)]
    keys = before["customers"]["customer_id"].tolist()
    times = torch.full((len(keys),), us)
    for backend in BACKENDS:
        first, second = (batch_by_key(graph, keys, times, backend, strategy) for graph in graphs)
        assert first.keys() == second.keys()
        assert all(same(first[part], second[part]) for part in first)
        assert max((t for part, ts in first.items() if part[1] == "time" for t in ts), default=us) <= us

    torch.manual_seed(0)
    model = RelationalModel(open_tables(before).schema, statistics[0], "customers", "binary_classification", MODEL)
    late = torch.full_like(times, int(seed_time.value // 1000))
    # One seed at another time keeps the batch from being computed layer by layer; both ways must hold.
    for spread in (0, 1):
        found = []
        for graph in graphs:
            seeds = Seeds(
                "customers", node_index(graph, "customers", keys), late + spread * torch.arange(len(keys)), times
            )
            found.append(predict_seeds(model, graph, seeds))
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.fixture(scope="module", params=["frozen", "rolling"])
def trained(request, tmp_path_factory):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path_factory.mktemp("leaks") / "run", regime=request.param)
    return run, frames


def rewritten(frames: Frames, time: pd.Timestamp) -> Frames:
    """All that happens after ``time`` is another story; customers of that time stay, as strangers."""
    past = up_to(frames, time)
    people = frames["customers"].copy()
    new = people["joined"] > time
    people.loc[new, ["city", "score"]] = ["Atlantis", 7.0]
    return with_more({**past, "customers": people}, 77, time)


def test_no_test_prediction_or_baseline_knows_what_comes_after(trained):
    """Frozen: after the cut. Rolling: after the last seed."""
    run, frames = trained
    last = make_task(open_tables(frames), frames).labels("test")["seed_time"].max()
    db = open_tables(rewritten(frames, pd.Timestamp(TEST) if run.regime == "frozen" else last))
    pd.testing.assert_frame_equal(run.predict_split("test", db), run.predict_split("test"), check_exact=True)
    pd.testing.assert_frame_equal(run.compare("test", db), run.compare("test"), check_exact=True)


def test_the_same_rows_would_show_in_the_other_regime(trained):
    """The test above can fail: what frozen must not see, rolling sees."""
    run, frames = trained
    db = open_tables(rewritten(frames, pd.Timestamp(TEST)))
    changed = [run.predict_split("test", source, regime="rolling")["prediction"] for source in (db, None)]
    assert (changed[0] - changed[1]).abs().max() > 1e-4
    past = [run.compare("test", source, regime="rolling").set_index("model")["auroc"] for source in (db, None)]
    assert past[0]["this run"] != past[1]["this run"]


@pytest.mark.parametrize("at", ["2021-06-15", "2021-11-15T12:00:00"])
def test_predictions_at_a_time_do_not_look_at_later_rows(trained, at):
    run, frames = trained
    past = run.predict(open_tables(up_to(frames, pd.Timestamp(at))), at=at)
    pd.testing.assert_frame_equal(run.predict(at=at), past, check_exact=True)
    more = with_more(up_to(frames, pd.Timestamp(at)), 5, pd.Timestamp(at))
    pd.testing.assert_frame_equal(run.predict(open_tables(more), at=at), past, check_exact=True)


@pytest.mark.parametrize("regime", ["frozen", "rolling"])
def test_training_knows_nothing_of_rows_after_its_last_seed(regime, tmp_path):
    frames = tables()
    rows = labels(frames)
    rows = rows[rows["as_of"] < TEST]
    weights = []
    for name, part in (("past", up_to(frames, rows["as_of"].max())), ("all", frames)):
        db = open_tables(part)
        train_fast(db, make_task(db, frames, labels=rows), tmp_path / name, regime=regime)
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_training_does_not_read_the_labels_of_test(tmp_path):
    frames = tables()
    rows = labels(frames)
    flipped = rows.assign(y=np.where(rows["as_of"] >= TEST, 1 - rows["y"], rows["y"]))
    found = []
    for name, table in (("as they are", rows), ("flipped", flipped)):
        db = open_tables(frames)
        run = train_fast(db, make_task(db, frames, labels=table), tmp_path / name)
        found.append((run.predict_split("test"), run.evaluate("test")["auroc"]))
    pd.testing.assert_frame_equal(found[0][0], found[1][0], check_exact=True)
    assert found[0][1] == pytest.approx(1 - found[1][1])


def test_a_row_to_complete_sees_its_own_cells_and_no_other_row_after_the_cut(tmp_path):
    """Frozen, a column to complete: of two rows after the cut neither knows the other."""
    frames = tables()
    manifest = {
        "name": "kind",
        "kind": "autocomplete",
        "task_type": "multiclass_classification",
        "entity_table": "orders",
        "target_col": "kind",
    }
    db = open_tables(frames)
    run = train_fast(db, Task(db, manifest, val_timestamp=VAL, test_timestamp=TEST), tmp_path / "run")
    orders = frames["orders"]
    others = orders["placed"].gt(TEST) & (orders["order_id"] % 2 == 0)
    fewer = {
        **frames,
        "orders": orders[~others],
        "items": frames["items"][~frames["items"]["order_id"].isin(orders["order_id"][others])],
    }
    kept = run.predict_split("test").query("pkey % 2 == 1").reset_index(drop=True)
    found = run.predict_split("test", open_tables(fewer))
    pd.testing.assert_frame_equal(found, kept, rtol=0, atol=1e-6)  # a smaller batch rounds in another order
    other = open_tables({**frames, "orders": orders.assign(amount=orders["amount"] + 100 * (orders["placed"] > TEST))})
    changed = run.predict_split("test", other)["p(web)"] - run.predict_split("test")["p(web)"]
    assert changed.abs().max() > 1e-3
