"""The library without notebooks: ``python -m lib embed|split|evaluate|import|export|weights``.

Exit codes: 0 done, 1 the input is not what it has to be (one sentence on standard error), 2 wrong usage.
"""

import argparse
import json
import sys
from pathlib import Path


def main(arguments=None):
    """Run one verb; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, KeyError, FileNotFoundError) as error:
        sentence = error.args[0] if isinstance(error, KeyError) else error
        print(f"{parser.prog} {options.verb}: {sentence}", file=sys.stderr)
        return 1


def embed(options):
    """Vectors of audio files."""
    from lib import backends
    from lib.backends import extraction
    from lib.study.tables import write_parquet

    frame, failures = extraction.embed_files(options.files, backends.create(options.backend))
    for path, reason in failures.items():
        print(f"failed {path}: {reason}", file=sys.stderr)
    if frame.empty:
        return 1
    write_parquet(frame, options.out)
    print(f"{len(frame)} of {len(options.files)} files embedded with {options.backend} -> {options.out}")
    return 0


def split(options):
    """The four parts of a listening log."""
    import shutil

    from lib.data import logs, stream
    from lib.study.progress import progress
    from lib.study.tables import write_parquet

    out = options.out.resolve()
    scratch = out.with_name(f".{out.name}.new")  # on the disk of the output: a system's own may be small, or in memory
    try:
        parts = stream.prepare(
            logs.batches(options.events),
            scratch,
            test_date=options.test_date,
            val_users="published",
            progress=progress,
        ).parts
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name in ("train", "val", "hot_test", "cold_test"):
        part = getattr(parts, name)
        write_parquet(part, options.out / f"{name}.parquet")
        print(f"{name}: {len(part)} pairs, {part['user_id'].nunique()} users, {part['track_id'].nunique()} tracks")
    return 0


def evaluate(options):
    """Metrics of recommendation lists."""
    import numpy as np

    from lib import evaluation
    from lib.study.tables import write_parquet

    rng = np.random.default_rng(0)  # the same files give the same intervals
    summary, per_user = evaluation.evaluate_files(options.recommendations, options.truth, options.k, rng=rng)
    if options.out:
        write_parquet(per_user, options.out)
    print(json.dumps(summary))
    return 0


def import_(options):
    """Keep vectors that others have made with a study."""
    from lib.backends import imported
    from lib.study import Study, load_parameters

    study = Study(load_parameters(options.study))
    if not options.backend.startswith(imported.GIVEN):
        raise ValueError(f"Expected a name that begins with {imported.GIVEN}, found {options.backend!r}.")
    vectors = imported.read_vectors(options.file, options.ids)
    path = imported.given_path(study, options.backend)
    imported.export_vectors(vectors, path)
    print(f"{len(vectors)} x {vectors.dim} -> {study.relative(path)}; name {options.backend} in backend_ids to use it")
    return 0


def weights(options):
    """Fetch a backend's published files ahead of time."""
    from lib import backends
    from lib.backends import checkpoints

    entry = backends.REGISTRY.get(options.backend)
    if entry is None or not entry.files:
        fetched = ", ".join(name for name, known in backends.REGISTRY.items() if known.files)
        raise ValueError(
            f"Expected a backend whose weights are files of their own ({fetched}), found {options.backend!r}."
        )
    print(f"{options.backend}: {checkpoints.locate(options.backend)} ({entry.licence})")
    return 0


def export(options):
    """Write a backend's vectors for others."""
    from lib.backends import imported
    from lib.backends.vectors import VectorStore
    from lib.study import Study, load_parameters

    if options.out.suffix not in (".parquet", ".npy"):
        raise ValueError(f"Expected a file that ends in .parquet or .npy, found {options.out.name!r}.")
    study = Study(load_parameters(options.study))
    vectors = VectorStore(study.path("vectors.lance")).read(options.backend)
    imported.export_vectors(vectors, options.out)
    print(f"{len(vectors)} x {vectors.dim} of {options.backend} -> {options.out}")
    return 0


def _backends():
    """Lines on every backend: id, name, what it needs, licence."""
    from lib import backends

    lines = ["backends:"]
    for name in backends.names(twins=False):
        entry = backends.REGISTRY[name]
        needs = "needs make extras; " * bool(entry.packages) + "needs published weights; " * bool(entry.files)
        lines.append(f"  {name:<12} {backends.LABELS[name]:<14} {needs}{entry.licence}")
    return "\n".join([*lines, "Published weights: docs/weights.md. What each backend is: docs/cards/backends.md."])


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m lib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="embed|split|evaluate|import|export|weights")

    verb = verbs.add_parser(
        "embed",
        help="audio files -> one vector each, as Parquet (track_id = file stem, vector)",
        epilog=_backends(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("backend", metavar="BACKEND", help="an id of the list below")
    verb.add_argument("files", metavar="FILE", nargs="+", help="any format libsndfile reads; rows come in this order")
    verb.add_argument("--out", type=Path, required=True, metavar="V.parquet")
    verb.set_defaults(run=embed)

    verb = verbs.add_parser("split", help="listening log -> train, val, hot_test, cold_test by time")
    verb.add_argument(
        "events", type=Path, metavar="EVENTS", help="user_id, track_id, timestamp as .tsv, .tsv.bz2 or .parquet"
    )
    verb.add_argument("--test-date", required=True, metavar="D", help="first day of the test month, YYYY-MM-DD, UTC")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the four .parquet files")
    verb.set_defaults(run=split)

    verb = verbs.add_parser(
        "evaluate", help="lists and truth -> one JSON line of HitRate, Recall, NDCG with 95 %% intervals"
    )
    verb.add_argument("recommendations", type=Path, metavar="RECOMMENDATIONS", help="user_id, rank, track_id, score")
    verb.add_argument("truth", type=Path, metavar="TRUTH", help="user_id, track_id; every user here counts")
    verb.add_argument("--k", type=int, default=50, help="cut-off (default: %(default)s)")
    verb.add_argument("--out", type=Path, metavar="PER_USER", help="also write one row a user, as Parquet")
    verb.set_defaults(run=evaluate)

    verb = verbs.add_parser("import", help="vectors that others have made -> a backend of a study")
    verb.add_argument("study", metavar="STUDY", help="name of a file in params/")
    verb.add_argument("backend", metavar="BACKEND", help="given_ and a name; put it into backend_ids to use it")
    verb.add_argument("file", type=Path, metavar="FILE", help=".npy, .parquet, or features as .tsv, .tsv.bz2, .csv")
    verb.add_argument("--ids", type=Path, metavar="IDS", help="for .npy: an id a line, or a CSV with a column trackid")
    verb.set_defaults(run=import_)

    verb = verbs.add_parser("weights", help="fetch a backend's published files, or say where they are")
    verb.add_argument("backend", metavar="BACKEND")
    verb.set_defaults(run=weights)

    verb = verbs.add_parser("export", help="a backend's vectors of a study -> .parquet, or .npy with its ids beside it")
    verb.add_argument("study", metavar="STUDY", help="name of a file in params/")
    verb.add_argument("backend", metavar="BACKEND")
    verb.add_argument("out", type=Path, metavar="OUT", help="ends in .parquet or .npy")
    verb.set_defaults(run=export)
    return parser


if __name__ == "__main__":
    sys.exit(main())
