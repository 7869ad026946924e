"""Can I use my own PyG model?    python examples/own_pyg_model.py --customers 500

graphlearn reads the database, makes the graph and draws the batches; the model, the loss and the loop are plain PyG.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch_frame import stype
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, Linear, SAGEConv

import graphlearn as gl

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"


class OwnModel(torch.nn.Module):
    """Numbers of each row, two rounds of SAGEConv over every foreign key, one score per seed."""

    def __init__(self, graph: HeteroData, channels: int = 32) -> None:
        super().__init__()
        self.encode = torch.nn.ModuleDict({name: Linear(-1, channels) for name in graph.node_types})
        self.convs = torch.nn.ModuleList(
            HeteroConv({edge_type: SAGEConv(channels, channels) for edge_type in graph.edge_types}) for _ in range(2)
        )
        self.score = Linear(channels, 1)

    def forward(self, graph: HeteroData, batch: HeteroData) -> Tensor:
        x = {name: self.encode[name](numbers(graph[name], batch, name)).relu() for name in graph.node_types}
        edge_index = {edge_type: as_edge_index(batch[edge_type]) for edge_type in batch.edge_types}
        for conv in self.convs:
            new = conv(x, edge_index)
            x = {name: (x[name] + new[name]).relu() if name in new else x[name] for name in x}
        return self.score(x[batch.seed_type][: len(batch.seed_time)]).squeeze(-1)  # the seeds come first


def numbers(table, batch: HeteroData, name: str) -> Tensor:
    """The numerical columns of each sampled row, and how many days before its seed the row was written."""
    n_id = batch[name].n_id
    columns = [torch.ones(len(n_id), 1)]
    if stype.numerical in table.tf.feat_dict:
        values = table.tf.feat_dict[stype.numerical][n_id]
        columns.append((values.sign() * values.abs().log1p()).nan_to_num())
    if "time" in table:
        age = batch.seed_time[batch[name].batch] - table.time[n_id]  # microseconds: subtract first, then to float
        columns.append((age.unsqueeze(-1) / 86_400_000_000).float().clamp_min(0).log1p())
    return torch.cat(columns, dim=-1)


def as_edge_index(lists) -> Tensor:
    return torch.stack([lists.col, torch.arange(len(lists.rowptr) - 1).repeat_interleave(lists.rowptr.diff())])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=1000)
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(str(SHOP))["write"](Path(folder) / "shop", customers=args.customers)
        db = gl.connect(Path(folder) / "shop")
        task = gl.Task(db, "churn")
        graph = gl.build_graph(db, fit_until=task.val_time)
        labels = {split: task.labels(split) for split in ("train", "test")}

    seeds = {}
    for split, table in labels.items():
        index = pc.index_in(pa.array(table["pkey"]), value_set=graph["customers"].pkey)  # key -> node
        time = table["seed_time"].to_numpy().astype("datetime64[us]").astype("int64")
        seeds[split] = [torch.tensor(v).long() for v in (index.to_numpy(), time, table["label"].to_numpy())]

    sampler = gl.TemporalNeighborSampler(graph, num_neighbors=[8, 4], strategy="last")
    model = OwnModel(graph)
    index, time, label = seeds["train"]
    model(graph, sampler.sample("customers", index[:2], time[:2]))  # sets the sizes of the lazy layers
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for part in torch.randperm(len(index)).split(256):
        logits = model(graph, sampler.sample("customers", index[part], time[part]))
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, label[part].float()).backward()
        optimizer.step()

    index, time, label = seeds["test"]
    score = model(graph, sampler.sample("customers", index, time)).detach()
    print(f"test AUROC of an own PyG model after one pass: {roc_auc_score(label.numpy(), score.numpy()):.3f}")


if __name__ == "__main__":
    main()
