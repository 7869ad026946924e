"""Who will not come back?    python examples/churn.py --customers 1000

From seven tables of a shop to a probability per customer, next to the best that anyone could do: the shop is generated,
so the true probabilities are known.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import graphlearn as gl

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=1000)
    args = parser.parse_args()
    generator = runpy.run_path(str(SHOP))

    with tempfile.TemporaryDirectory() as folder:
        shop = generator["write"](Path(folder) / "shop", customers=args.customers)

        db = gl.connect(Path(folder) / "shop")
        print(db.schema)  # keys, times and kinds of columns; db.schema.save("manifest.yaml") to correct them

        task = gl.Task(db, "churn")  # no order within 30 days, asked of everyone with an order in the last 90
        print(task.labels("train").groupby("seed_time")["label"].agg(["size", "mean"]).tail(3))

        run = gl.train(db, task, model="gnn", out=Path(folder) / "run", seed=0, members=1)
        scored = run.evaluate("test")
        best = generator["best_auroc"](shop=shop)["test"]
        print(f"test AUROC {scored['auroc']:.3f} ({scored['regime']}), best possible {best:.3f}")

        predictions = run.predict(db, at="2026-06-01")
        print(predictions.sort_values("prediction", ascending=False).head())


if __name__ == "__main__":
    main()
