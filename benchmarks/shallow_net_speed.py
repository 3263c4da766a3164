"""A training step of Shallow Net at Music4All-Onion scale: each distinct vector projected once, or one pair at a time.

Run ``python benchmarks/shallow_net_speed.py --out benchmarks/shallow_net_speed.md``; one thread unless asked.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import time

import numpy as np
import pandas as pd
import torch
from memory import peak_megabytes
from threadpoolctl import threadpool_limits

from lib.backends.vectors import Vectors
from lib.recommenders.pairs import Pairs
from lib.recommenders.ranking import block_size
from lib.recommenders.shallow_net import Network, ShallowNet

K = 50
MARGIN = 0.2
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
COMMON = {"n_negatives": 20, "batch_size": 10_000}
VARIANTS = {
    "published": {
        "anchor": "item",
        "user_vectors": "frozen",
        "item_vectors": "finetuned",
        "exclude_positives": False,
        "width": "native",
    },
    "corrected": {
        "anchor": "user",
        "user_vectors": "trainable",
        "item_vectors": "frozen",
        "exclude_positives": True,
        "width": "native",
    },
}


def world(options, rng):
    """Distinct pairs of the published number and spread over users, as row numbers."""
    lengths = np.clip(np.ceil(rng.gamma(0.65, 255.6 / 0.65, options.users)), 1, 4427).astype(int)
    users = np.repeat(np.arange(options.users), lengths)
    codes = np.unique(users * options.tracks + rng.integers(0, options.tracks, len(users)))
    return np.divmod(codes, options.tracks)


def per_pair(network, batch, margin):
    """The published formulation: user, track and negative of every pair and negative go through the layer."""
    tables = (network.users, network.items) if network.anchor == "user" else (network.items, network.users)
    negatives = batch.columns.shape[1] - 1
    anchors = torch.from_numpy(np.repeat(batch.anchors[batch.rows], negatives))
    positives = torch.from_numpy(np.repeat(batch.others[batch.columns[:, 0]], negatives))
    drawn = torch.from_numpy(batch.others[batch.columns[:, 1:]].reshape(-1))

    def cosine(left, right):
        left, right = network(tables[0].index_select(0, left)), network(tables[1].index_select(0, right))
        return torch.nn.functional.cosine_similarity(left, right)

    weights = torch.from_numpy(np.repeat(batch.weights, negatives))
    return (torch.relu(margin - cosine(anchors, positives) + cosine(anchors, drawn)) * weights).mean()


def once(network, batch, margin):
    """Ours."""
    return network.loss(batch, margin)


def backward(formulation, network, batch, parts):
    """Loss of a batch, its gradients left in the network."""
    if formulation is once or parts == 1:
        loss = formulation(network, batch, MARGIN)
        loss.backward()
        return loss.item()
    total = 0.0
    for part in np.array_split(np.arange(len(batch.rows)), parts):
        some = dataclasses.replace(
            batch, rows=batch.rows[part], columns=batch.columns[part], weights=batch.weights[part]
        )
        loss = formulation(network, some, MARGIN) * (len(part) / len(batch.rows))
        loss.backward()
        total += loss.item()
    return total


def warm_up():
    """What torch loads at the first step is nobody's."""
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(layer.parameters(), fused=True)
    optimiser.zero_grad()
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()


def step(variant, formulation, options):
    """Seconds, loss, gradient of the layer and peak memory of one step; run in a process of its own."""
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    rng = np.random.default_rng(0)
    users, tracks = world(options, rng)
    chosen = VARIANTS[variant] | COMMON
    anchors, others, shape = users, tracks, (options.users, options.tracks)
    if chosen["anchor"] == "item":
        anchors, others, shape = tracks, users, shape[::-1]
    pairs = Pairs(anchors, others, np.ones(len(anchors), np.float32), shape, chosen)
    tables = [rng.standard_normal((n, options.dim), dtype=np.float32) for n in (options.users, options.tracks)]
    torch.manual_seed(0)
    network = Network(*tables, chosen)
    del tables, anchors, others, users, tracks
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], fused=True)
    batches = pairs.batches(np.random.default_rng(1))
    warm_up()
    seconds, found, before = [], {}, peak_megabytes()
    for _ in range(options.repeats if formulation is once else 1):
        start = clock()
        batch = next(batches)
        drawn = clock()
        optimiser.zero_grad()
        loss = backward(formulation, network, batch, options.parts)
        # the first step alone is compared: later ones begin at other weights
        found = found or {"loss": loss, "gradient": network.layer.weight.grad.numpy().copy()}
        stepped = clock()
        optimiser.step()
        seconds.append((clock() - start, drawn - start, clock() - stepped))
    total, draw, adam = min(seconds)
    sizes = {"distinct": (len(batch.anchors), len(batch.others))}
    return found | sizes | {"step": total, "draw": draw, "adam": adam, "peak": peak_megabytes(), "before": before}


def lists(width, options):
    """Seconds of all lists and of the bare product, and peak memory; run in a process of its own."""
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    rng = np.random.default_rng(0)
    ids = np.array([f"{number:08d}" for number in range(options.tracks)])
    users, tracks = world(options, rng)
    kept = users < options.list_users
    train = pd.DataFrame({"user_id": np.char.add("user", ids[users[kept]]), "track_id": ids[tracks[kept]]})
    vectors = Vectors(ids, rng.standard_normal((len(ids), options.dim), dtype=np.float32))
    model = ShallowNet(width=width, scaling="none", max_epochs=1)
    model._train = lambda scaled, hot, weights, *others: untrained(model, scaled, hot, weights)
    model.fit(train, vectors, rng)
    names = np.unique(train["user_id"])
    seconds = []
    with threadpool_limits(options.threads):
        for _ in range(options.repeats):
            start = clock()
            model.recommend(names, K, ids, train)
            listed = clock()
            for first in range(0, len(names), block_size(len(ids))):
                model._profiles[first : first + block_size(len(ids))] @ model._unit.T
            seconds.append((listed - start, clock() - listed))
    ours, bare = np.min(seconds, axis=0)
    return {"ours": ours, "bare": bare, "peak": peak_megabytes(), "users": len(names)}


def untrained(model, scaled, hot, weights):
    """Lists take as long with the weights that training begins with."""
    model._network = Network((weights @ scaled).astype(np.float32), scaled[hot], model.options)
    model._project(scaled, hot)


def apart(function, *arguments):
    """Call in a fresh process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main():
    """Time the steps and the lists, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=21_018)
    parser.add_argument("--tracks", type=int, default=55_262)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--list-users", type=int, default=11_642)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", type=int, default=1, help="split the batch of one pair at a time: less memory")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: for a machine that is not idle")
    parser.add_argument("--out", help="write the tables to this file too")
    options = parser.parse_args()
    lines = [
        f"# Shallow Net: {options.users:,} users, {options.tracks:,} tracks, {options.dim} dimensions, width the same",
        "",
        f"One step on {COMMON['batch_size']:,} pairs x {COMMON['n_negatives']} negatives: drawing negatives, loss, "
        f"gradients, Adam; {options.clock} time, {options.threads} thread(s), ours the best of {options.repeats}. Both "
        "on the same batch, negatives and weights"
        + (f", one pair at a time in {options.parts} parts to fit the memory here" if options.parts > 1 else "")
        + "; peak memory of a process of its own, with the tables and train pairs in it.",
        "",
        "| variant | distinct anchors, others | one pair at a time, s | ours, s | of which draws, Adam | ratio | "
        "peak MB, pair / ours | loss and gradient differ by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in VARIANTS:
        ours, theirs = (apart(step, variant, formulation, options) for formulation in (once, per_pair))
        scale = np.abs(theirs["gradient"]).max()
        lines.append(
            f"| {variant} | {ours['distinct'][0]:,}, {ours['distinct'][1]:,} | {theirs['step']:.1f} | "
            f"{ours['step']:.2f} | {ours['draw']:.2f}, {ours['adam']:.2f} | {theirs['step'] / ours['step']:.1f}x | "
            f"{theirs['peak']:,.0f} / {ours['peak']:,.0f} (before: {ours['before']:,.0f}) | "
            f"{abs(theirs['loss'] - ours['loss']):.0e}, "
            f"{np.abs(theirs['gradient'] - ours['gradient']).max() / scale:.0e} of the largest |"
        )
    lines += ["", f"Lists of {K}:", "", "| width | users | ours, s | bare product, s | ratio | peak MB |"]
    lines.append("|---|---|---|---|---|---|")
    for width in ("native", 128):
        found = apart(lists, width, options)
        lines.append(
            f"| {options.dim if width == 'native' else width} | {found['users']:,} | {found['ours']:.2f} | "
            f"{found['bare']:.2f} | {found['ours'] / found['bare']:.2f}x | {found['peak']:,.0f} |"
        )
    lines += [
        "",
        "The bound of 1.3x is for the vectors' own width; where a small width makes the product itself short, taking "
        "out what was heard and the top 50 weigh more.",
    ]
    print("\n".join(lines))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
