"""RelationalModel: trimmed and shared computation against the long way, and databases with odd names and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import MODEL, make_task, open_tables, schema, tables, train_fast
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models import ModelConfig, RelationalModel, frame_encoder
from graphlearn.nn.aggr import order_parameters
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Column, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.training import Seeds, predict_seeds
from graphlearn.training.loop import TrainConfig, make_optimizer
from graphlearn.training.scoring import forward, seed_loader

DEEP = replace(MODEL, num_neighbors=(4, 3, 2))


@pytest.fixture(scope="module")
def graph() -> HeteroData:
    return build_graph(open_tables(tables()))


def model(config: ModelConfig = DEEP, task_type: str = "binary_classification", **kwargs) -> RelationalModel:
    db = open_tables(tables())
    torch.manual_seed(0)
    made = RelationalModel(db.schema, fit_statistics(db), "customers", task_type, config, **kwargs)
    torch.nn.init.normal_(made.unseen)
    return made.eval()


def seeds_of(graph: HeteroData, *, same_time: bool = False) -> Seeds:
    """Every customer, at times through the year; some before they joined, some that look at an older database."""
    count = graph["customers"].num_nodes
    low, high = (int(pd.Timestamp(day).value // 1000) for day in ("2021-03-01", "2021-12-01"))
    time = torch.linspace(low, high, count, dtype=torch.float64).long()
    time = torch.full_like(time, int(time[count // 2])) if same_time else time
    stale = 0 if same_time else 86_400_000_000 * (torch.arange(count) % 3) * 20
    label = torch.arange(count) % 2
    return Seeds("customers", torch.arange(count), time, time - stale, label=label)


def batch_of(made: RelationalModel, graph: HeteroData, seeds: Seeds) -> HeteroData:
    sampler = TemporalNeighborSampler(graph, made.fan_out)
    return next(iter(seed_loader(graph, sampler, seeds, batch_size=len(seeds))))


def untrimmed(made: RelationalModel, graph: HeteroData, batch: HeteroData) -> torch.Tensor:
    """Every copy of every row on every level through every layer, each encoded for itself."""
    h, age = {}, {}
    for name in graph.node_types:
        store, n_id = graph[name], batch[name].n_id
        h[name] = made.encoder[made._key[name]](store.tf[n_id])
        since = torch.zeros_like(n_id)
        if "time" in store:
            since = (batch.seed_time[batch[name].batch] - store.time[n_id]).clamp_min(0)
            since[n_id < store.num_undated] = 0
        age[name] = made.age(since)
    stale = made.stale(made.age(batch.seed_time - batch.input_time))
    own = dict(h)
    own["customers"] = torch.cat([h["customers"][: len(stale)] + stale, h["customers"][len(stale) :]])
    for conv in made.convs:
        csr = {}
        for e in graph.edge_types:
            rowptr, col = batch[e].rowptr, batch[e].col
            rest = len(batch[e[2]].n_id) + 1 - len(rowptr)
            csr[e] = (torch.cat([rowptr, rowptr[-1:].expand(rest)]), col, col)
        own = h = conv(h, age, own, csr)
    known = batch.seed_known.unsqueeze(-1)
    return made.head(torch.where(known, h["customers"][: len(stale)], made.unseen + stale))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_trimming_and_sharing_rows_changes_nothing(graph, depth):
    made = model(replace(MODEL, num_neighbors=(4, 3, 2)[:depth]))
    seeds = seeds_of(graph)
    batch = batch_of(made, graph, seeds)
    assert 0 < batch.seed_known.sum() < len(seeds)  # both kinds take part
    torch.testing.assert_close(forward(made, graph, batch), untrimmed(made, graph, batch), rtol=1e-4, atol=1e-5)


def test_a_seed_does_not_know_the_others_of_its_batch(graph):
    made, seeds = model(), seeds_of(graph)
    together = predict_seeds(made, graph, seeds)
    some = [0, 7, 20, 39]
    for i in some:
        one = Seeds("customers", seeds.index[i : i + 1], seeds.seed_time[i : i + 1], seeds.input_time[i : i + 1])
        torch.testing.assert_close(predict_seeds(made, graph, one)[0], together[i], rtol=0, atol=1e-6)


def test_each_distinct_row_is_encoded_once(graph):
    made = model()
    counts: dict[str, int] = {}
    for name in graph.node_types:
        made.encoder[made._key[name]].register_forward_pre_hook(
            lambda module, args, name=name: counts.__setitem__(name, counts.get(name, 0) + args[0].num_rows)
        )
    batch = batch_of(made, graph, seeds_of(graph))
    forward(made, graph, batch)
    assert counts == {name: len(batch[name].n_id.unique()) for name in graph.node_types}
    assert counts["products"] < len(batch["products"].n_id)


def test_what_stands_for_a_missing_time_means_nothing(graph):
    made, seeds = model(), seeds_of(graph)
    before = predict_seeds(made, graph, seeds)
    store = graph["customers"]
    assert store.num_undated
    kept = store.time.clone()
    store.time[: store.num_undated] = 123_456_789
    changed = predict_seeds(made, graph, seeds)
    store.time = kept
    assert torch.equal(before, changed)


def test_an_unseen_seed_is_its_staleness_alone(graph):
    made, seeds = model(), seeds_of(graph)
    late = torch.full_like(seeds.index, int(pd.Timestamp("2020-06-01").value // 1000))
    undated = seeds.index < graph["customers"].num_undated
    found = predict_seeds(made, graph, Seeds("customers", seeds.index, late, late))
    assert len(found[~undated].unique()) == 1
    assert len(found[undated].unique()) == undated.sum()


def test_the_age_of_a_seeds_dates_is_known_with_its_row():
    """Two people who differ in their birth alone: told apart from the day on which they joined, not before."""
    born, joined = pd.to_datetime(["1950-01-01", "1990-01-01"]), pd.to_datetime(["2020-01-01"] * 2)
    db = connect({"people": pd.DataFrame({"id": [1, 2], "born": born, "joined": joined})})
    assert db.schema["people"].time_col == "joined"
    torch.manual_seed(0)
    made = RelationalModel(db.schema, fit_statistics(db), "people", "regression", MODEL).eval()
    torch.nn.init.normal_(made.unseen)
    graph = build_graph(db)
    assert made.since is not None
    torch.nn.init.zeros_(made.encoder["t0"].timestamp.weight)  # the row itself says nothing else

    def predicted(day: str) -> list[float]:
        time = torch.full((2,), int(pd.Timestamp(day).value // 1000))
        return predict_seeds(made, graph, Seeds("people", torch.arange(2), time, time)).tolist()

    before, since, later = predicted("2019-12-31"), predicted("2020-01-01"), predicted("2030-01-01")
    assert before[0] == pytest.approx(before[1], abs=1e-6)
    assert abs(since[0] - since[1]) > 1e-3
    assert abs(later[0] - since[0]) > 1e-3


@pytest.mark.parametrize(
    ("task_type", "classes"),
    [
        ("binary_classification", 1),
        ("regression", 1),
        ("multiclass_classification", 3),
        ("multilabel_classification", 3),
    ],
)
def test_gradients_reach_every_parameter_and_are_finite(graph, task_type, classes):
    made = model(task_type=task_type, num_classes=classes).train()
    out = forward(made, graph, batch_of(made, graph, seeds_of(graph)))
    assert out.shape == ((40, 3) if classes > 1 else (40,))
    out.pow(2).sum().backward()
    for name, parameter in made.named_parameters():
        # Some convolutions of tables far away are never needed.
        assert parameter.grad is not None or name.startswith("convs"), name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("own_encoder", [False, True])
def test_bfloat16_autocast(graph, own_encoder):
    """What training does on a GPU, on the CPU."""
    from torch_frame.nn.models import ResNet

    made = model(encoder=frame_encoder(ResNet, num_layers=1, dropout_prob=0.0) if own_encoder else None)
    batch = batch_of(made, graph, seeds_of(graph))
    exact = forward(made, graph, batch)
    with torch.autocast("cpu", torch.bfloat16):
        out = forward(made, graph, batch)
        loss = made.head.loss(out, batch.label)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)
    torch.testing.assert_close(out.float(), exact, rtol=0.1, atol=0.1)


def test_no_seeds_reach_a_table(graph):
    """One hop from customers: items and products stay empty, and their encoders take no rows."""
    made = model(replace(MODEL, num_neighbors=(4,)))
    batch = batch_of(made, graph, seeds_of(graph))
    assert len(batch["products"].rows) == 0
    assert torch.isfinite(forward(made, graph, batch)).all()


def test_a_learned_norm_pools_neighbours(graph):
    """It starts as the mean, and its orders are learned without decay."""
    plain, learned = model(), model(replace(DEEP, aggr="gnp"))
    learned.load_state_dict(plain.state_dict(), strict=False)
    batch = batch_of(plain, graph, seeds_of(graph))
    torch.testing.assert_close(forward(learned, graph, batch), forward(plain, graph, batch), rtol=1e-3, atol=1e-4)
    forward(learned.train(), graph, batch).pow(2).sum().backward()
    orders = list(order_parameters(learned))
    assert orders
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in orders)
    assert all(torch.isfinite(p.grad).all() for p in learned.parameters() if p.grad is not None)
    weights, kept = make_optimizer(learned, TrainConfig()).param_groups
    assert {id(p) for p in kept["params"]} == {id(p) for p in orders}
    assert kept["weight_decay"] == 0
    assert weights["weight_decay"] == TrainConfig().weight_decay
    assert len(make_optimizer(plain, TrainConfig()).param_groups) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"channels": 0}, r"'channels' must be > 0, got 0"),
        ({"num_neighbors": ()}, r"'num_neighbors' must hold a number for each hop, at least one, -1 for all; got \(\)"),
        ({"num_neighbors": (4, -2)}, r"'num_neighbors' must hold .* got \(4, -2\)"),
        ({"aggr": "gpn"}, "no aggregation 'gpn'. Did you mean 'gnp'. Known: gnp, mean"),
        ({"dropout": 1.0}, r"'dropout' must be in \[0, 1\), got 1.0"),
    ],
)
def test_what_a_config_refuses(change, says):
    with pytest.raises(ValueError, match=says):
        replace(MODEL, **change)


def odd_frames() -> dict[str, pd.DataFrame]:
    """Names that are words of SQL and torch, keys of two columns, a table that names itself, two keys to one table."""
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 300, 120), unit="D")
    return {
        "select.from": pd.DataFrame({"t.id": [f"k {i}" for i in range(20)], "items": rng.random(20)}),
        "keys": pd.DataFrame({"a": np.repeat([1, 2], 5), "b": list("vwxyz") * 2, 'say "hi"': rng.random(10)}),
        "values": pd.DataFrame(
            {
                "id": np.arange(120),
                "when": days.sort_values(),
                "home": rng.choice([f"k {i}" for i in range(20)], 120),
                "away": rng.choice([f"k {i}" for i in range(20)], 120),
                "reply to": np.where(np.arange(120) > 5, np.arange(120) - 5, np.nan),
                "a": rng.choice([1, 2], 120),
                "b": rng.choice(list("vwxyz"), 120),
            }
        ),
        "nothing here": pd.DataFrame({"id": [1]}),
    }


def test_odd_names_and_keys(tmp_path):
    tied = Schema(
        "odd",
        {
            "select.from": Table(
                "select.from", ("t.id",), columns=(Column("t.id"), Column("items", stype="numerical"))
            ),
            "keys": Table(
                "keys", ("a", "b"), columns=(Column("a"), Column("b"), Column('say "hi"', stype="numerical"))
            ),
            "values": Table(
                "values",
                ("id",),
                fkeys=(
                    ForeignKey(("home",), "select.from"),
                    ForeignKey(("away",), "select.from"),
                    ForeignKey(("reply to",), "values"),
                    ForeignKey(("a", "b"), "keys"),
                ),
                time_col="when",
            ),
            "nothing here": Table("nothing here", ("id",), columns=(Column("id"),)),
        },
    )
    frames = odd_frames()
    db = connect(frames, schema=tied)
    anchors = pd.date_range("2021-02-01", "2021-09-01", freq="MS")
    rows = pd.DataFrame([(key, at) for at in anchors for key in frames["select.from"]["t.id"]], columns=["t.id", "at"])
    rows["y"] = np.random.default_rng(1).integers(0, 2, len(rows))
    task = Task.from_labels(
        db,
        rows,
        entity_table="select.from",
        time_col="at",
        target_col="y",
        val_timestamp="2021-07-01",
        test_timestamp="2021-08-01",
    )
    run = train_fast(db, task, tmp_path / "run")
    assert np.isfinite(run.evaluate("test")["auroc"])
    assert len(run.predict(at="2021-09-01")) == 20


def test_a_table_alone(tmp_path):
    """No foreign key at all: the entity's own columns are all there is."""
    people = tables()["customers"]
    db = connect({"customers": people}, schema=replace(schema(), tables={"customers": schema()["customers"]}))
    run = train_fast(db, make_task(db, tables()), tmp_path / "run")
    assert np.isfinite(run.evaluate("test")["auroc"])
    assert run.predict(at="2021-12-24")["prediction"].nunique() > 5
