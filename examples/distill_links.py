"""Can links of nodes that nobody has linked yet be found?    python examples/distill_links.py --nodes 600

A network of people with interests, some of whom come later. A SAGE teacher learns from the links of the others, an MLP
student from the teacher and the features alone. Both then score links of known and of new people; the student is
exported and asked without any graph. `--folder` keeps what is exported.
"""

import argparse
import tempfile

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GraphSAGE

from graphlearn.compress import (
    DistillConfig,
    DistillData,
    LinkDistiller,
    LLPLoss,
    MLPStudent,
    ProductionLinkSplit,
    export_student,
)
from graphlearn.nn import MLPHead
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.tasks.link_metrics import hits_at


def network(num_nodes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """People link with those whose interests are near; what is known of them is a noisy view of these."""
    interests = torch.randn(num_nodes, 4, generator=generator)
    near = torch.cdist(interests, interests).fill_diagonal_(torch.inf)
    dst = near.topk(6, largest=False).indices
    edge_index = torch.stack([torch.arange(num_nodes).repeat_interleave(6), dst.flatten()])
    views = torch.randn(4, 32, generator=generator)
    return interests @ views + torch.randn(num_nodes, 32, generator=generator), edge_index


def train_teacher(data: DistillData, epochs: int) -> tuple[GraphSAGE, MLPHead]:
    teacher, head = GraphSAGE(data.x.size(1), 32, num_layers=2), MLPHead(32, 32)
    optimizer = torch.optim.Adam([*teacher.parameters(), *head.parameters()], lr=0.01)
    generator, free = torch.Generator().manual_seed(0), FreePairs(data.train, len(data.x))
    label = (torch.arange(2 * data.train.size(1)) < data.train.size(1)).float()
    for _ in range(epochs):
        negatives = free.draw(data.train.size(1), generator)
        src, dst = torch.cat([data.train, negatives], dim=1)
        z = teacher(data.x, data.edge_index)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(head(z[src], z[dst]), label).backward()
        optimizer.step()
    return teacher.eval(), head.eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--folder")
    args = parser.parse_args()
    torch.manual_seed(0)
    x, edge_index = network(args.nodes, torch.Generator().manual_seed(0))
    split = ProductionLinkSplit(new_node_ratio=0.2, test_ratio=0.2, seed=0)(edge_index, args.nodes)
    data = split.distill_data(x)  # nothing of new people is in here
    teacher, head = train_teacher(data, args.epochs)

    student, student_head = MLPStudent(32, 32), MLPHead(32, 32)
    loss = LLPLoss(w_rank=1.0, w_dist=1.0, use_logits=True)
    config = DistillConfig(epochs=args.epochs, k=3, lr=0.01)  # validation has few pairs to rank links among
    distiller = LinkDistiller(teacher, student, student_head, teacher_head=head, loss=loss, config=config)
    result = distiller.fit(data)
    print(f"the student's best epoch is {result.best_epoch}, Hits@3 of validation {result.best_hits:.2f}")

    with tempfile.TemporaryDirectory() as aside:
        files = export_student(student, student_head, args.folder or aside, onnx=False)
        scorer = torch.export.load(files.program).module()  # needs neither the graph nor this package
    with torch.no_grad():
        z = teacher(x, split.inference_edge_index)
        ways = {
            "teacher, with all links of new people that are known": lambda pair: head(z[pair[0]], z[pair[1]]),
            "student, without any graph": lambda pair: scorer(x[pair[0]], x[pair[1]]),
        }
        for name, score in ways.items():
            negative = score(split.test_negatives)
            kinds = {"old-old": split.test_old_old, "old-new": split.test_old_new, "new-new": split.test_new_new}
            hits = (f"{kind} {hits_at(score(links), negative, 20):.2f}" for kind, links in kinds.items())
            print(f"Hits@20 of hidden links, {name}:", *hits, sep="  ")


if __name__ == "__main__":
    main()
