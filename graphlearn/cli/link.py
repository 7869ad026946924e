"""``graphlearn link``: link prediction on one graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from graphlearn.cli.source import open_database
from graphlearn.errors import UsageError, unknown_name
from graphlearn.graph.link_data import EDGE_LISTS, LinkData, check_given, is_dataset, read_dataset, read_mat
from graphlearn.graph.link_tables import read_edge_list, read_tables
from graphlearn.models.link import LinkPredictor
from graphlearn.models.link_presets import LinkModelConfig
from graphlearn.ops.heuristics import HEURISTICS
from graphlearn.predict.link_run import LINK_MODELS, LinkResult, LinkRun, run_links, save_link_run
from graphlearn.predict.train import check_out
from graphlearn.sampling.given_split import given_link_split
from graphlearn.sampling.link_split import LinkSplit, new_node_split, random_link_split, temporal_link_split
from graphlearn.sampling.split_negatives import NEGATIVES, with_negatives
from graphlearn.tasks.times import time_us
from graphlearn.training.checkpoint import to_json
from graphlearn.training.device import check_device
from graphlearn.training.link import LinkTrainConfig

SPLITS = ("random", "temporal", "new-node", "official")


def link(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="ogbl-…, Cora, CiteSeer, PubMed, Computers, Photo, CS or Physics; a SEAL .mat file; a file of edges; "
            "with --edges a database; with --pairs a run folder of this command.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="M",
            help="gcn, sage, gat, mlp, walkpool or seal; without training cn, aa, ra, katz, ppr or pa.",
        ),
    ] = "gcn",
    head: Annotated[str, typer.Option(metavar="H", help="What scores two nodes: mlp, dot or bilinear.")] = "mlp",
    split: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="random, temporal, new-node or official; by default official where one is published, else random.",
        ),
    ] = None,
    negatives: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Beside uniform and hard ones: degree or historical; repeat it for several."),
    ] = None,
    choose_by: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Of validation, against uniform (official) negatives: auc, ap, mrr or hits@K. By default auc, or the "
            "publisher's.",
        ),
    ] = None,
    test_graph: Annotated[
        str, typer.Option(metavar="G", help="What is seen when test links are scored: train, or train+val.")
    ] = "train",
    val: Annotated[float, typer.Option(metavar="SHARE", help="Share of links (or new nodes) that validate.")] = 0.05,
    test: Annotated[float, typer.Option(metavar="SHARE", help="Share of links (or new nodes) that test.")] = 0.1,
    val_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of a temporal split: the last time of training; by default 80 %."),
    ] = None,
    test_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of a temporal split: the last time of validation; by default 90 %."),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE(KEY,KEY)", help="Of a database: the table that holds the links, and its two foreign keys."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B[,TIME]", help="Of a file of edges: its columns; by default the first two."),
    ] = None,
    root: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds a published dataset.")] = Path(),
    split_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a SEAL .mat file: a published split of it.")
    ] = None,
    channels: Annotated[int, typer.Option(metavar="N", min=1, help="Size of hidden layers.")] = 64,
    layers: Annotated[int, typer.Option(metavar="N", min=1, help="Layers of gcn, sage, gat and mlp.")] = 2,
    hops: Annotated[int, typer.Option(metavar="N", min=1, help="Size of the subgraphs of walkpool and seal.")] = 2,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Most passes over the training links.")] = 100,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Links per step; by default a fifth, of subgraphs 32.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="R", help="Highest learning rate; by default 0.01, of subgraphs 0.001.")
    ] = None,
    patience: Annotated[
        int, typer.Option(metavar="N", min=1, help="Epochs without a better validation metric that end the training.")
    ] = 20,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Seed of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a run: a CSV or Parquet file of pairs to score, as CSV.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run folder to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace RUN if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Predict links of one graph, and score the model beside heuristics against easy and hard non-links."""
    if pairs is not None:
        scored = LinkRun(Path(dataset)).score(read_pairs(pairs))
        text = scored.to_json(orient="records", lines=True) if as_json else scored.to_csv(index=False)
        typer.echo(text, nl=False)
        return
    if model not in LINK_MODELS:
        raise unknown_name("link predictor", model, LINK_MODELS)
    for kind in negatives or []:
        if kind not in NEGATIVES:
            raise unknown_name("kind of negatives", kind, NEGATIVES)
    check_device(device)
    if out is not None:
        check_out(out, force=force)
    subgraphs = model in ("walkpool", "seal")
    config = None
    if model not in HEURISTICS:
        config = LinkModelConfig(model, head, channels, layers, num_hops=hops)
    data = read(dataset, root=root, split_file=split_file, edges=edges, columns=columns)
    for note in data.notes:
        typer.echo(f"note     {note}", err=True)
    name = split or ("official" if data.given else "random")
    made = make_split(
        data, name, seed=seed, val=val, test=test, val_time=val_time, test_time=test_time, test_graph=test_graph,
        kinds=negatives or [],
    )  # fmt: skip
    training = LinkTrainConfig(
        epochs=epochs,
        batch_size=batch_size or (32 if subgraphs else None),
        lr=lr or (0.001 if subgraphs else 0.01),
        patience=patience,
        metric=choose_by or (data.metric if name == "official" and data.metric else "auc"),
        negatives="official" if "official" in made.negatives["val"] else "uniform",
    )
    typer.echo("\n".join(_start(data, made, name, test_graph)), err=True)
    result = run_links(
        data, made, model, config=config, training=training, seed=seed, device=device,
        on_start=lambda fresh: typer.echo(_model_line(fresh, config, device, seed), err=True),
        on_epoch=lambda record: typer.echo(_epoch_line(record, training.metric), err=True),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "split": name, "test_graph": test_graph, "val": val, "test": test, "val_time": val_time, "test_time": test_time,
        "training": training.to_dict(),
    }  # fmt: skip
    if out is not None:
        save_link_run(out, data, result, settings, config=config, seed=seed, force=force)
    if as_json:
        sizes = {phase: links.size(1) for phase, links in made.positives.items()}
        said = {"dataset": data.name, "model": model, "split": name, "seed": seed, "links": sizes}
        found = {"best_epoch": result.best_epoch, "val": result.val, "test": result.test}
        typer.echo(to_json({**said, "test_graph": test_graph, **found}))
        return
    typer.echo(report(result, made))
    if out is not None:
        typer.echo(f"wrote  {out}        next: graphlearn link {out} --pairs pairs.csv")


def read(dataset: str, *, root: Path, split_file: Path | None, edges: str | None, columns: str | None) -> LinkData:
    """The graph that the arguments name."""
    path = Path(dataset)
    if columns is not None and (edges is not None or path.suffix not in EDGE_LISTS):
        raise UsageError(f"--columns is about a file of edges ({', '.join(EDGE_LISTS)}), not about '{dataset}'.")
    if split_file is not None and path.suffix != ".mat":
        raise UsageError(f"--split-file is about a .mat file, not about '{dataset}'.")
    if edges is not None:
        with open_database(dataset) as db:
            return read_tables(db, edges)
    if path.suffix == ".mat":
        return read_mat(path, split_file)
    if path.suffix in EDGE_LISTS:
        return read_edge_list(path, columns)
    if path.exists() and not is_dataset(dataset):
        raise UsageError(
            f"'{dataset}' is read as a database: say which table holds the links with --edges 'table(key, key)'."
        )
    return read_dataset(dataset, root)


def make_split(
    data: LinkData,
    name: str,
    *,
    seed: int,
    val: float,
    test: float,
    val_time: str | None,
    test_time: str | None,
    test_graph: str,
    kinds: list[str],
) -> LinkSplit:
    """The split by name, with uniform and hard negatives and those that were asked for."""
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)
    generator = torch.Generator().manual_seed(seed)
    if name == "official":
        check_given(data)
        options: dict[str, Any] = {"num_src": data.num_src, "test_graph": test_graph}
        made = given_link_split(data.given, data.num_nodes, generator, **options)
    elif name == "random":
        options = {"num_src": data.num_src, "test_graph": test_graph}
        made = random_link_split(data.edge_index, data.num_nodes, val, test, generator, **options)
    elif name == "new-node":
        made = new_node_split(data.edge_index, data.num_nodes, val, test, generator, num_src=data.num_src)
    else:
        made = _temporal(data, val_time, test_time, test_graph, generator, keep="historical" in kinds)
    for note in made.notes:
        typer.echo(f"note     {note}", err=True)
    for kind in dict.fromkeys(["uniform", "hard", *kinds]):
        made = with_negatives(made, kind, generator)
    return made


def _temporal(
    data: LinkData, val_time: str | None, test_time: str | None, test_graph: str, generator: torch.Generator, keep: bool
) -> LinkSplit:
    if data.time is None:
        raise UsageError(f"{data.name} has no times: take --split random or new-node, or name a time column.")
    ordered = data.time.sort().values
    cuts = [
        int(ordered[int(share * (len(ordered) - 1))]) if given is None else _time(given, option)
        for given, option, share in ((val_time, "--val-time", 0.8), (test_time, "--test-time", 0.9))
    ]
    return temporal_link_split(
        data.edge_index, data.time, *cuts, num_nodes=data.num_nodes, generator=generator, num_src=data.num_src,
        test_graph=test_graph, repeats="keep" if keep else "drop",
    )  # fmt: skip


def _time(text: str, option: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() and len(text) != 4 else time_us(text, option)


def read_pairs(file: Path) -> pd.DataFrame:
    """The rows of a file with a header, as text."""
    try:
        if file.suffix in (".parquet", ".pq"):
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype=str, sep="\t" if file.suffix == ".tsv" else ",")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"--pairs: '{file}' cannot be read: {reason}. Give a CSV file with a header.") from error


def report(result: LinkResult, split: LinkSplit) -> str:
    """The table of test scores, a block for each kind of negatives."""
    blocks = []
    for kind, pairs in split.negatives["test"].items():
        each = f"{pairs.size(-1):,} each" if pairs.dim() == 3 else f"{pairs.size(1):,}"
        rows = {name: kinds[kind] for name, kinds in result.test.items()}
        columns = list(next(iter(rows.values())))
        lines = [f"test, {split.positives['test'].size(1):,} links against {kind} non-links ({each})"]
        lines.append(" " * 10 + "".join(f"{column:>10}" for column in columns))
        lines += [f"{name:<10}" + "".join(f"{values[c]:>10.4f}" for c in columns) for name, values in rows.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _start(data: LinkData, split: LinkSplit, name: str, test_graph: str) -> list[str]:
    features = "no features" if data.x is None else f"{data.x.size(1):,} features"
    kinds = f" ({' and '.join(data.kinds)})" if data.num_src is not None else ""
    sizes = " | ".join(f"{phase} {links.size(1):,}" for phase, links in split.positives.items())
    again = f"; {split.repeated('test'):,} of the test links were known to training" if split.repeats else ""
    seen = "" if name == "new-node" else f"; test is scored in the graph of {test_graph}"
    return [
        f"data     {data.name}: {data.num_nodes:,} nodes{kinds}, {features}",
        f"split    {name}: {sizes}{seen}{again}",
    ]


def _model_line(model: LinkPredictor, config: LinkModelConfig | None, device: str, seed: int) -> str:
    assert config is not None
    parameters = sum(p.numel() for p in model.parameters())
    kind = config.model if model.hides_links else f"{config.model}, {config.head} head, {config.num_layers} layers"
    return f"model    {kind}, {config.channels} channels, {parameters:,} parameters; {device}, seed {seed}"


def _epoch_line(record: dict[str, Any], metric: str) -> str:
    return (
        f"epoch  {record['epoch']:>3}/{record['epochs']}   loss {record['loss']:.4f}   "
        f"val {metric} {record[f'val_{metric}']:.4f}   {record['seconds']:.1f} s"
    )
