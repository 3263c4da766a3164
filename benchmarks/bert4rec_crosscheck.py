"""Our BERT4Rec beside RecBole's: ids alone, the same split, sizes, validation and evaluator.

Both train until validation has not improved for `--patience` epochs. The rows after the first two move ours towards
RecBole's, or RecBole's towards ours, to see where a difference comes from. Differences and their intervals are over
listeners, of scores averaged over seeds.

    python benchmarks/bert4rec_crosscheck.py --out benchmarks/bert4rec_crosscheck.md
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

from lib import evaluation, recommenders
from lib.evaluation import results, statistics
from lib.recommenders.bert4rec import Bert4Rec
from lib.recommenders.recbole.sequential import BERT4Rec as RecBoles
from lib.study import Study, load_parameters
from lib.study.tables import write_atomically

BERT_SPREAD = 0.02  # standard deviation of all weights at the start, in BERT and in RecBole
SHARED = {"heads": 2, "dropout": 0.1, "mask_share": 0.2}
STUDIES = {  # what fits the size of the study; the same for both models
    "toy": {"length": 50, "width": 64, "layers": 2, "batch_size": 64, "lr": 1e-3},
    "demo": {"length": 25, "width": 64, "layers": 1, "batch_size": 64, "lr": 3e-3},
}


class BertStart(Bert4Rec):
    """Ours with weights that start as RecBole's do: small, at random, and biases at 0 instead of at popularity."""

    def _network(self, content):
        net = super()._network(content)
        for name, weights in net.named_parameters():
            if weights.requires_grad and "LayerNorm" not in name:
                torch.nn.init.normal_(weights, std=0.0 if name.endswith("bias") else BERT_SPREAD)
        return net


class WideStart(RecBoles):
    """RecBole's with weights that start wider, as ours do before what else ours sets."""

    def _options(self):
        return super()._options() | {"initializer_range": self.width**-0.5}


REFERENCE = "RecBole's"
ROWS = {
    REFERENCE: (RecBoles, {}),
    "ours": (Bert4Rec, {}),
    "ours, heard tracks in the softmax": (Bert4Rec, {"exclude_heard": False}),
    "ours, no positions": (Bert4Rec, {"positions": False}),
    "ours, RecBole's start": (BertStart, {}),
    "ours, RecBole's start, heard tracks in the softmax": (BertStart, {"exclude_heard": False}),
    "RecBole's, wider start": (WideStart, {}),
    "RecBole's, last_share 0.5 (its default)": (RecBoles, {"last_share": 0.5}),
}


def make(row, sizes, args):
    """A recommender of one row of the table."""
    kind, options = ROWS[row]
    shared = SHARED | {"max_epochs": args.max_epochs, "patience": args.patience} | sizes
    if issubclass(kind, Bert4Rec):
        return kind(**{"item_vectors": "none", "weight_decay": 0.0} | shared | options)
    length = shared.pop("length")
    return kind(**{"max_length": length, "last_share": 0.0} | shared | options)


def measure(row, study, args):
    """Scores of every listener, the mean over seeds; scores of every seed; and how the trainings ended."""
    todo, train = results.tasks(study), results.parts(study)["train"]
    validate, scores, ends, start = evaluation.validator(todo["val"]), [], [], time.process_time()
    for seed in range(args.seeds):
        model = make(row, STUDIES[study.name], args)
        model.fit(train, None, study.rng("bert4rec_crosscheck", seed), validate=validate)
        ends.append(model.history_)
        scores.append(evaluation.recommend_and_score(model, todo["hot_test"])[1].set_index("user_id"))
    return {
        "scores": sum(scores) / len(scores),
        "seeds": pd.DataFrame([found.mean() for found in scores]),
        "validation": sum(end.frame["validation"].max() for end in ends) / len(ends),
        "epochs": ", ".join(f"{end.best_epoch}/{len(end.frame)}" for end in ends),
        "short": sum(end.stopped == "max_epochs" for end in ends),
        "seconds": (time.process_time() - start) / args.seeds,
    }


def table_row(row, found, reference, k, rng):
    """One row of the table; no difference for the row that is the reference."""
    cells = [row]
    for metric in evaluation.METRICS[::-1]:
        seeds = found["seeds"][f"{metric}@{k}"]
        cells.append(f"{seeds.mean():.3f} ± {seeds.std():.3f}")
    difference = "-"
    if found is not reference:
        pair = (one["scores"].reset_index() for one in (found, reference))
        table = statistics.paired_difference(*pair, rng).set_index(["metric", "k"]).loc[("NDCG", k)]
        difference = f"{table['diff']:+.3f} [{table['ci_low']:+.3f}, {table['ci_high']:+.3f}]"
    cells += [difference, f"{found['validation']:.3f}", found["epochs"], str(found["short"]), f"{found['seconds']:.0f}"]
    return "| " + " | ".join(cells) + " |"


def report(study, args):
    """The table of one study, as lines of Markdown."""
    task = results.tasks(study)["hot_test"]
    k, rng = task.cutoffs[0], study.rng("bert4rec_crosscheck")
    popular = recommenders.create("mostpop").fit(results.parts(study)["train"], None, rng)
    popular = evaluation.recommend_and_score(popular, task)[1].mean(numeric_only=True)
    labels = [f"{metric}@{k}" for metric in evaluation.METRICS[::-1]]
    said = [f"{name} {value:g}" for name, value in STUDIES[study.name].items()]
    said += [f"{label} of the most popular tracks {popular[label]:.3f}" for label in labels]
    head = [*labels, f"NDCG less {REFERENCE} [95 %]", "NDCG on val", "epochs kept/run", "for want of epochs", "s"]
    lines = [
        f"## {study.name}: {len(task.users)} listeners of hot_test, {len(task.candidates)} tracks, {args.seeds} seeds",
        "",
        ", ".join(said) + ".",
        "",
        "| model | " + " | ".join(head) + " |",
        "|" + "---|" * (len(head) + 1),
    ]
    reference = None
    for row in dict.fromkeys([REFERENCE, *args.rows]):
        found = measure(row, study, args)
        reference = reference or found  # the first
        lines.append(table_row(row, found, reference, k, rng))
        print(lines[-1], flush=True)
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="besides RecBole's")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row (default: %(default)s)")
    parser.add_argument("--max-epochs", type=int, default=1000)
    parser.add_argument("--patience", type=int, default=60)
    parser.add_argument("--out", type=Path, help="also write the tables here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# BERT4Rec: ours and RecBole's",
        "",
        "Made by `benchmarks/bert4rec_crosscheck.py`. Ids alone on both sides; "
        + ", ".join(f"{name} {value:g}" for name, value in SHARED.items())
        + f", no weight decay, at most {args.max_epochs} epochs, patience {args.patience} by NDCG on val. Means ± "
        "standard deviation over seeds; intervals over listeners; s: processor seconds a training, one thread.",
        "",
    ]
    lines += [line for name in args.studies for line in report(Study(load_parameters(name)), args)]
    if args.out:
        with write_atomically(args.out) as file:
            file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
