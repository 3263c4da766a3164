"""A training step of BERT4Rec: logits at masked positions only beside full logits, same batch, masks and weights.

``full`` is the usual formulation: BertModel over padded rows, logits of every position over every track, and a cross
entropy that ignores all but the masked ones. ``masked logits`` changes only the head. ``ours`` is
`lib.recommenders.transformer`: no padding outside the attention, the last layer at masked positions only, and the
cross entropy in blocks. Every formulation runs in a process of its own, which is asked for its peak memory.

    python benchmarks/bert4rec_speed.py --threads 1 2 --out benchmarks/bert4rec_speed.md
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lib.study.tables import write_atomically

LENGTHS = ("200 each", "as in the log")
TABLES = ("finetuned", "frozen")
FORMULATIONS = ("full", "masked logits", "ours")
MEAN_PAIRS, SHAPE = 254, 0.65  # tracks of a listener in the published log, Gamma as in the mock one


def make_batch(args, lengths):
    """Tokens, masks and lengths of one batch."""
    import torch

    from lib.recommenders import cloze

    rng = np.random.default_rng(0)
    held = np.full(args.batch, args.length)
    if lengths != LENGTHS[0]:
        drawn = rng.gamma(SHAPE, MEAN_PAIRS / SHAPE, args.batch).astype(int)
        held = np.clip(drawn, 1, args.length)
    tokens = rng.integers(args.tracks, size=held.sum())
    masked = cloze.cloze_mask(rng.random(len(tokens)), held, args.share)
    return [torch.from_numpy(values) for values in (tokens, masked, held)]


def usual_loss(network, tokens, masked, held, length, everywhere):
    """Cross entropy by BertModel.forward over rows padded to `length`."""
    import torch
    import torch.nn.functional as F

    from lib.recommenders import cloze

    real = torch.arange(length) < held[:, None]
    back = (held[:, None] - 1 - torch.arange(length)).clamp_min(0)
    items = torch.zeros(real.shape, dtype=torch.long).masked_scatter_(real, tokens)
    hidden = torch.zeros(real.shape, dtype=torch.bool).masked_scatter_(real, masked)
    vectors = network.items(items)
    vectors = torch.where(hidden[..., None], network.bert.embeddings.word_embeddings.weight, vectors)
    out = network.bert(inputs_embeds=vectors, attention_mask=real.long(), position_ids=back).last_hidden_state
    states = out.flatten(0, 1) if everywhere else out[hidden]
    targets = torch.where(hidden, items, -100).flatten() if everywhere else items[hidden]
    states = network.transform(states)
    logits = cloze.linear_logits(network.bias, *network.items.pairs(states, network.n_scored))
    return F.cross_entropy(logits, targets, ignore_index=-100)


def measure(args, threads, lengths, table, formulation):
    """Loss of the first step, best wall and processor time of a step, and peak memory, of this process."""
    import torch
    from memory import peak_megabytes

    from lib.recommenders.transformer import ItemVectors, Network

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    content, finetuned = torch.randn(args.tracks, args.width) / args.width**0.5, table == "finetuned"
    items = ItemVectors(content, args.tracks, 0 if finetuned else args.width, finetuned=finetuned, ids=False)
    del content
    shape = (args.width, args.layers, args.heads, args.length)
    network = Network(items, *shape, 0.0, torch.zeros(args.tracks), tied=True, positions=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    tokens, masked, held = make_batch(args, lengths)
    losses, walls, processors = [], [], []
    for _ in range(args.repeats + 1):
        wall, processor = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        if formulation == "ours":
            loss = network.loss(network(tokens, masked, held), tokens[masked])
        else:
            loss = usual_loss(network, tokens, masked, held, args.length, formulation == "full")
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {
        "loss": losses[0],
        "wall": min(walls[1:]),  # the first step also makes the optimiser's state
        "processor": min(processors[1:]),
        "megabytes": peak_megabytes(),
        "masked": int(masked.sum()),
        "tokens": len(tokens),
    }


def in_own_process(args, *case):
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    for name in ("batch", "length", "width", "tracks", "layers", "heads", "share", "repeats"):
        command += [f"--{name}", str(getattr(args, name))]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(args):
    """The table, as lines of Markdown."""
    lines = [
        f"# BERT4Rec: one training step, batch {args.batch}, length {args.length}, width {args.width}, "
        f"{args.tracks:,} tracks",
        "",
        f"{args.layers} layers, {args.heads} heads, a share of {args.share:g} masked, no dropout, AdamW; forward, "
        f"backward and optimiser; best of {args.repeats} steps after a first one. 'finetuned': a trained table of "
        "that width, tied, as published; 'frozen': a table that stays, with a trained projection. Gains are by "
        "processor time for one thread, which other work on the machine does not change, and by wall time for more.",
    ]
    for threads in args.threads:
        lines += ["", "| threads | lengths | table | formulation | wall s | processor s | gain | peak MB | loss |"]
        lines += ["|" + "---|" * 9]
        for lengths in LENGTHS:
            for table in TABLES:
                full = None
                for formulation in FORMULATIONS:
                    found = in_own_process(args, threads, lengths, table, formulation)
                    full = full or found
                    clock = "processor" if threads == 1 else "wall"
                    lines.append(
                        f"| {threads} | {lengths} ({found['tokens']} tracks, {found['masked']} masked) | {table} | "
                        f"{formulation} | {found['wall']:.2f} | {found['processor']:.2f} | "
                        f"{full[clock] / found[clock]:.1f}x | {found['megabytes']:.0f} | {found['loss']:.6f} |"
                    )
                    print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--tracks", type=int, default=55_851)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--share", type=float, default=0.15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args, *args.case)))
        return
    lines = report(args)
    if args.out:
        with write_atomically(args.out) as file:
            file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
