"""How good is a recommender made from one query?    python benchmarks/shop_recommender.py --seeds 0 1 2 3 4

MAP@12 on test of what customers of the generated shop buy within 14 days, over all products on sale. Every kind of
ranking is trained with the defaults of `graphlearn train`; validation alone chooses epochs, and among the kinds. `auto`
trains the same models with the same seeds and takes the one that ranks validation best (a test holds it to that), so
its row is that one's. Beside them: the baselines, and two ceilings from the generator. `truth` orders products by what
each customer likes at that moment, which no table holds; `knowable` by what the purchases say about it, to one who
knows every constant of the generator: Bayes' rule over the 64 pairs of favourite departments.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import emit, versions
from shop_ceiling import load_shop

import graphlearn as gl
from graphlearn.models.ranker import RANKERS
from graphlearn.predict import RankingRun
from graphlearn.tasks.ranking import ranking_scores
from graphlearn.training.pairs import Pairs, by_time, split_pairs

QUERY = "PREDICT LIST_DISTINCT(order_items.product_id, 0, 14, days) RANK TOP 12 FOR EACH customers.customer_id"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--models", nargs="+", default=list(RANKERS), choices=list(RANKERS))
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--regime", default="frozen", choices=["frozen", "rolling"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a small shop, one model, one minute")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.customers, args.seeds, args.models = 300, [0], ["two-tower"]
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "shop_recommender"
    generator = load_shop()
    with tempfile.TemporaryDirectory() as folder:
        shop = generator.write(Path(folder) / "shop", customers=args.customers)
        db = gl.connect(Path(folder) / "shop")
        task = gl.Task(db, QUERY)
        found: dict[str, list[dict[str, Any]]] = {}
        for seed in args.seeds:
            for model in args.models:
                out = Path(folder) / f"{model}-{seed}"
                run = gl.train(
                    db, task, out=out, model=model, regime=args.regime, seed=seed, device=args.device,
                    max_minutes=0.1 if args.tiny else None, progress=False,
                )  # fmt: skip
                assert isinstance(run, RankingRun)
                table = run.compare("test", db).set_index("model")
                row = {"model": model, "seed": seed, "val": run.meta["metrics"]["val"]}
                row |= {"test": table.loc["this run", "map"], "seconds": run.meta["timings"]["network"]}
                row |= {name: round(table.loc[name, "map"], 4) for name in table.index[1:]}
                emit({"case": "shop recommender", "regime": args.regime, **row, **versions(args.device)}, store)
                found.setdefault(model, []).append(row)
        emit({**summary(found, args), **ceilings(run, db, shop, args.regime), **versions(args.device)}, store)


def summary(found: dict[str, list[dict[str, Any]]], args: argparse.Namespace) -> dict[str, Any]:
    """Mean and deviation over seeds of each model and of the one that validation chooses."""
    chosen = [max(rows, key=lambda row: row["val"]) for rows in zip(*found.values(), strict=True)]
    means = {name: _spread([row["test"] for row in rows]) for name, rows in {**found, "auto": chosen}.items()}
    baselines = {
        name: value for name, value in chosen[0].items() if name not in ("model", "seed", "val", "test", "seconds")
    }
    auto, best = means["auto"][0], max(mean for name, (mean, _) in means.items() if name != "auto")
    return {
        "case": "shop recommender, all seeds",
        "regime": args.regime,
        "seeds": len(args.seeds),
        "test_map": means,
        "baselines": baselines,
        "auto_less_best": round(auto - best, 4),
        "auto_over_baseline": round(auto / max(baselines.values()), 3),
    }


def _spread(values: list[float]) -> tuple[float, float]:
    return round(statistics.mean(values), 4), round(statistics.stdev(values) if len(values) > 1 else 0.0, 4)


def ceilings(run: RankingRun, db: Any, shop: Any, regime: str) -> dict[str, float]:
    """MAP on test of the generator's own order, and of what purchases tell of it up to each anchor."""
    graph = run.graph(db)
    pairs = split_pairs(graph, run.labelled_task(db), "test", regime)
    keys = {name: np.array(graph[name].pkey.to_pylist()) for name in ("products", "customers")}
    found: dict[str, list[torch.Tensor]] = {"truth": [], "knowable": []}
    for input_time, seed_time, at in by_time(pairs.seeds):
        part: Pairs = pairs.take(at)
        who = keys["customers"][part.seeds.index.numpy()]
        scores = {"truth": shop.preference(seed_time, who), "knowable": knowable(shop, input_time, seed_time, who)}
        for name, score in scores.items():
            order = torch.from_numpy(score[:, keys["products"]])
            found[name].append(ranking_scores(order, part.relevant, 12)["map"])
    return {name: round(float(torch.cat(values).nanmean()), 4) for name, values in found.items()}


def knowable(shop: Any, input_time: int, seed_time: int, who: np.ndarray) -> np.ndarray:
    """The preference that follows from purchases up to ``input_time``, for the block of ``seed_time``."""
    generator = load_shop()
    first, second, drift = *generator.TASTE, generator.DRIFT
    tables = {name: shop.tables[name].to_pandas() for name in ("order_items", "orders", "products", "categories")}
    parent = tables["categories"].set_index("category_id")["parent_id"]
    department = tables["products"]["category_id"].map(parent).to_numpy(dtype=int)
    items = tables["order_items"].merge(tables["orders"][["order_id", "customer_id"]], on="order_id")
    time = items["ordered_at"].astype("datetime64[us]").astype("int64").to_numpy()
    bought = pd.DataFrame({"time": time, "who": items["customer_id"], "what": department[items["product_id"]]})
    customers, number = shop.taste.shape[1], shop.demand.shape[1]
    signed = shop.tables["customers"]["signed_up_at"].cast("int64").to_numpy()
    belief = np.full((customers, number, number), number**-2.0)  # favourite, second
    here = np.eye(number)
    last = int(np.searchsorted(shop.anchors, seed_time, side="right"))
    for block, start in enumerate(shop.anchors[:last]):
        end = shop.anchors[block + 1] if block + 1 < len(shop.anchors) else np.iinfo(np.int64).max
        moved = (1 - drift) * belief + drift * belief.sum(axis=2)[:, None, :] / number
        belief = np.where((signed < end)[:, None, None], moved, belief)
        seen = bought[(bought["time"] > start) & (bought["time"] <= min(end, input_time))]
        count = np.zeros((customers, number))
        np.add.at(count, (seen["who"].to_numpy(), seen["what"].to_numpy()), 1)
        chance = first * here[:, None, :] + second * here[None, :, :] + (1 - first - second) * shop.fashion[block]
        log = np.einsum("cd,fsd->cfs", count, np.log(chance))
        belief = belief * np.exp(log - log.max(axis=(1, 2), keepdims=True))
        belief /= belief.sum(axis=(1, 2), keepdims=True)
    mixed = first * belief[who].sum(axis=2) + second * belief[who].sum(axis=1)
    mixed = mixed + (1 - first - second) * shop.fashion[last - 1]
    return np.asarray(mixed @ shop.demand[last - 1])


if __name__ == "__main__":
    main()
