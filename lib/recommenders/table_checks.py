"""Checks of the nested tables of params: recommenders, variants, grids, and the names that one table takes of another.

`lib.study.parameters` calls `check_tables` whenever parameters are loaded; nothing heavy is imported.
"""

import difflib

from lib import backends, recommenders
from lib.backends.imported import is_ready_made
from lib.backends.pseudo import FACTORS
from lib.data.sources import DATASETS
from lib.recommenders import option_models
from lib.study.parameters import MOCK, NO_LISTENERS, SMALL_RANDOM

VALIDATIONS = ("NDCG", "published")
_PUBLISHED_LOSS = ("bert4rec", "hybrid")  # kinds that have one


def check_tables(parameters, base_names=()):
    """Refuse tables of params that name what there is not.

    Parameters
    ----------
    parameters : Parameters
    base_names : sequence of str
        Recommenders and labels of params/base.yaml: lists and tables that a study inherits may name them, though its
        own table does not; they are passed over.

    Raises
    ------
    ValueError
        With one sentence: which table, which entry, what it may be.
    """
    p = parameters
    for name in (p.dataset, p.listening_source):
        _among(name, [*DATASETS, MOCK, NO_LISTENERS], "dataset or listening_source")
    table = {name: {"kind": name} | options for name, options in p.recommender_table.items()}
    for name, options in table.items():
        _check_options(f"recommender_table, {name!r}", options)
    known = dict.fromkeys([*table, *base_names, *recommenders.KINDS])
    _check_variants(p.variant_table, table, known)
    for name, grid in p.tuning_grids.items():
        _check_grid(name, grid, table)
    for name in (*p.scarcity_recommenders, p.compare.recommender):
        _among(name, known, "scarcity_recommenders or compare")
    _check_backends(p, base_names)


def _check_options(where, options):
    options = dict(options)
    kind = options.pop("kind")
    try:
        recommenders.check(kind, options)
    except option_models.OptionError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_variants(variants, table, known):
    for name, options in variants.items():
        where = f"variant_table, {name!r}"
        changed = dict(options)
        of, validate = changed.pop("of", None), changed.pop("validate", "NDCG")
        _among(of, known, f"{where}: of")
        _among(validate, VALIDATIONS, f"{where}: validate")
        if of not in table:
            continue  # of a recommender that this study does not have
        merged = table[of] | changed
        if validate == "published" and merged["kind"] not in _PUBLISHED_LOSS:
            raise ValueError(f"{where}: Expected validate published of {' or '.join(_PUBLISHED_LOSS)}, found {of!r}.")
        _check_options(where, merged)


def _check_grid(name, grid, table):
    where = f"tuning_grids, {name!r}"
    kind = table.get(name, {"kind": name})["kind"]
    if kind not in option_models.OPTIONS:
        if kind not in recommenders.KINDS:
            _among(name, [*table, *recommenders.KINDS], where)
        return  # of one's own, without a model
    for option, values in grid.items():
        for value in values:
            try:
                option_models.check_value(kind, option, value)
            except option_models.OptionError as error:
                raise ValueError(f"{where}: {error}") from None


def _check_backends(p, base_names):
    known = [*backends.names(), FACTORS]
    for name in p.backend_ids:
        if not is_ready_made(name):
            _among(name, known, "backend_ids")
    named = [*p.backend_ids, *p.label_columns, *known, *base_names]
    for name in (*p.trained_backends, *p.compare.backends, *([p.backend] if p.backend else [])):
        if not is_ready_made(name):
            _among(name, named, "trained_backends, compare or backend")
    layered = p.layers_backend
    if layered and layered != SMALL_RANDOM and (layered not in known or "layer" not in backends.options(layered)):
        raise ValueError(f"layers_backend: Expected a backend with layers, found {layered!r}; mert_95m is one.")


def _among(name, known, where):
    if name in known:
        return
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(str, known))}."
    raise ValueError(f"{where}: unknown name {name!r}; {hint}")


def options_schema():
    """JSON schema of one entry of ``recommender_table``, and the definitions it refers to.

    Returns
    -------
    (dict, dict)
    """
    choices, definitions = [], {}
    for kind, model in option_models.OPTIONS.items():
        found = model.model_json_schema()
        found["title"] = kind
        found["properties"] = {"kind": {"const": kind}} | found.get("properties", {})
        definitions[f"options_{kind}"] = found
        choices.append({"$ref": f"#/$defs/options_{kind}"})
    return {"anyOf": choices}, definitions
