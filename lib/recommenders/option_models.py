"""Options of every kind of recommender: names, defaults, ranges and choices, checked without loading any recommender.

One model per kind. `lib.study.parameters` checks the tables of params with them before anything starts; the classes
check what they are given with the same models. What an option means stands in the docstring of its class.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

import pydantic

__all__ = ["OPTIONS", "OptionError", "check", "check_value", "defaults"]

Scaling = Literal["none", "centre", "standardise", "whiten", "auto"]
Count = Annotated[int, pydantic.Field(ge=1)]
AtLeast0 = Annotated[float, pydantic.Field(ge=0)]
Above0 = Annotated[float, pydantic.Field(gt=0)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class OptionError(ValueError):
    """An option is unknown, or its value cannot be; the sentence says which and what it may be."""


class Options(pydantic.BaseModel):
    """Base of all options: strict types, no unknown names."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Knn(Options):
    """Options of `lib.recommenders.knn.KNN`."""

    weighting: Literal["uniform", "count"] = "uniform"
    scaling: Scaling = "auto"


class ItemKnn(Options):
    """Options of ItemKNN, ours and RecBole's."""

    neighbours: Count = 100
    shrinkage: AtLeast0 = 10.0


class Ease(Options):
    """Options of EASE."""

    l2: Above0 = 250.0


class Trained(Options):
    """What all trained recommenders share."""

    lr: Above0 = 1e-3
    batch_size: Count = 2048
    max_epochs: Count = 200
    patience: Count = 10
    device: str = "cpu"


class Bpr(Trained):
    """Options of BPR."""

    width: Count = 64
    weight_decay: AtLeast0 = 0.0


class LightGcn(Trained):
    """Options of LightGCN."""

    width: Count = 64
    layers: Count = 2
    l2: AtLeast0 = 1e-5


class Sequential(Trained):
    """What RecBole's sequential models share."""

    width: Count = 64
    layers: Count = 2
    heads: Count = 2
    dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    max_length: Annotated[int, pydantic.Field(ge=2)] = 50
    batch_size: Count = 256

    @pydantic.model_validator(mode="after")
    def _heads_divide(self):
        if self.width % self.heads:
            raise ValueError(f"a width that heads divide, found {self.width} and {self.heads}")
        return self


class SasRec(Sequential):
    """Options of SASRec."""

    targets_per_user: Count = 10
    max_epochs: Count = 100


class RecBoleBert4Rec(Sequential):
    """Options of RecBole's BERT4Rec."""

    dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.2
    mask_share: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.2
    last_share: Share = 0.5
    patience: Count = 20

    @pydantic.model_validator(mode="after")
    def _something_is_masked(self):
        if self.mask_share * self.max_length < 1:
            raise ValueError(f"mask_share of at least 1 / max_length, found {self.mask_share} and {self.max_length}")
        return self


class ShallowNet(Trained):
    """Options of `lib.recommenders.shallow_net.ShallowNet`."""

    anchor: Literal["user", "item"] = "user"
    user_init: Literal["mean", "random"] = "mean"
    user_vectors: Literal["trainable", "frozen"] = "trainable"
    item_vectors: Literal["frozen", "finetuned", "none"] = "frozen"
    width: Count | Literal["native"] = 128
    scaling: Scaling = "standardise"
    n_negatives: Count = 20
    margin: float = 0.2
    exclude_positives: bool = True
    weighting: Literal["uniform", "count"] = "uniform"
    l2: AtLeast0 = 0.0
    lr: Above0 = 1e-2
    batch_size: Count = 4096
    max_epochs: Count = 100
    patience: Count = 5

    @pydantic.model_validator(mode="after")
    def _native_needs_vectors(self):
        if self.width == "native" and self.item_vectors == "none":
            raise ValueError("a number as width where there are no vectors (item_vectors 'none'), found 'native'")
        return self


class Bert4Rec(Trained):
    """Options of `lib.recommenders.bert4rec.Bert4Rec`."""

    item_vectors: Literal["frozen", "finetuned", "none"] = "frozen"
    ids: bool = False
    head: Literal["tied", "separate"] = "tied"
    softmax: Literal["train", "all"] = "train"
    exclude_heard: bool = True
    loss: Literal["softmax", "gbce"] = "softmax"
    n_negatives: Count = 256
    calibration: Share = 0.75
    width: Annotated[int, pydantic.Field(ge=0)] = 64
    layers: Count = 2
    heads: Count = 2
    length: Annotated[int, pydantic.Field(ge=2)] = 200
    prediction_length: Annotated[int, pydantic.Field(ge=0)] = 0
    positions: bool = True
    mask_share: Share = 0.2
    dropout: Share = 0.1
    scaling: Scaling = "standardise"
    weight_decay: AtLeast0 = 0.01
    batch_size: Count = 16

    @pydantic.model_validator(mode="after")
    def _fits_together(self):
        if self.prediction_length and not 2 <= self.prediction_length <= self.length:
            raise ValueError(f"prediction_length 0 or between 2 and length, found {self.prediction_length}")
        if self.item_vectors == "none" and (self.ids or self.softmax == "all" or not self.width):
            raise ValueError(
                "softmax 'train', a width above 0 and ids false where item_vectors is 'none' (only learned vectors of "
                f"train tracks are left), found softmax {self.softmax!r}, width {self.width} and ids {self.ids}"
            )
        if self.head == "separate" and self.softmax == "all":
            raise ValueError(
                "softmax 'train' or head 'tied' (a separate head has vectors of train tracks only), found softmax "
                "'all' and head 'separate'"
            )
        return self


class Towers(Trained):
    """What Hybrid and Bimodal share."""

    item_vectors: Literal["frozen", "finetuned"] = "frozen"
    width: Count = 128
    scaling: Scaling = "standardise"
    weight_decay: AtLeast0 = 0.0


class Hybrid(Towers):
    """Options of `lib.recommenders.hybrid.Hybrid`."""

    item_vectors: Literal["frozen", "finetuned", "none"] = "frozen"
    layers: Literal[1, 2] = 2
    targets: Literal["train", "all"] = "train"
    lr: Above0 = 1e-2
    batch_size: Count = 256
    max_epochs: Count = 100

    @pydantic.model_validator(mode="after")
    def _targets_have_vectors(self):
        if self.item_vectors == "none" and self.targets == "all":
            raise ValueError("targets 'train' where item_vectors is 'none' (cold tracks have no vector), found 'all'")
        return self


class Bimodal(Towers):
    """Options of `lib.recommenders.bimodal.Bimodal`."""

    reading: Literal["content", "collaborative", "averaged"] = "averaged"
    norms: Literal["unit", "raw"] = "unit"
    stopping: Literal["validation", "train_loss"] = "validation"
    temperature: Above0 = 0.1
    collaborative_width: Count = 32
    collaborative_epochs: Count = 100
    weight_decay: AtLeast0 = 0.01
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 64
    patience: Count = 20


OPTIONS: dict[str, type[Options]] = {  # kind: its model; own_*.py files add theirs
    "knn": Knn,
    "mostpop": Options,
    "itemknn": ItemKnn,
    "pop": Options,
    "recbole_itemknn": ItemKnn,
    "ease": Ease,
    "bpr": Bpr,
    "lightgcn": LightGcn,
    "sasrec": SasRec,
    "recbole_bert4rec": RecBoleBert4Rec,
    "bert4rec": Bert4Rec,
    "shallow_net": ShallowNet,
    "bimodal": Bimodal,
    "hybrid": Hybrid,
}


def check(kind: str, options: dict) -> dict:
    """Check the options of a recommender.

    Parameters
    ----------
    kind : str
        A key of `OPTIONS`.
    options : dict
        Those that differ from the defaults.

    Returns
    -------
    dict
        All options of the kind, by name.

    Raises
    ------
    OptionError
        For an unknown kind, option or value.

    Examples
    --------
    >>> check("ease", {"l2": 10.0})
    {'l2': 10.0}
    """
    model = _model(kind)
    for name in options:
        if name not in model.model_fields:
            raise OptionError(_unknown_option(kind, name, list(model.model_fields)))
    try:
        return model(**options).model_dump()
    except pydantic.ValidationError as error:
        raise OptionError(_sentence(error.errors()[0])) from None


def check_value(kind: str, name: str, value) -> None:
    """Check one value of one option by itself, as a grid of values holds it; raises like `check`."""
    fields = _model(kind).model_fields
    if name not in fields:
        raise OptionError(_unknown_option(kind, name, list(fields)))
    try:
        _of_one(fields[name]).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        raise OptionError(_sentence(error.errors()[0] | {"loc": (name,)})) from None


def _of_one(field):
    """A validator of one field by itself."""
    bounds = tuple(field.metadata)
    return pydantic.TypeAdapter(Annotated[(field.annotation, *bounds)] if bounds else field.annotation)


def defaults(kind: str) -> dict:
    """Return the options of a kind and what they are where nobody names them.

    Examples
    --------
    >>> defaults("knn")
    {'weighting': 'uniform', 'scaling': 'auto'}
    """
    return {name: field.default for name, field in _model(kind).model_fields.items()}


def _model(kind):
    if kind not in OPTIONS:
        near = difflib.get_close_matches(str(kind), OPTIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(OPTIONS)}."
        raise OptionError(f"Unknown kind of recommender {kind!r}; {hint}")
    return OPTIONS[kind]


def _unknown_option(kind, name, known):
    near = difflib.get_close_matches(str(name), known, n=1)
    takes = f"it takes {', '.join(known)}." if known else "it takes none."
    return f"Unknown option {name!r} of kind {kind!r}; " + (f"did you mean {near[0]!r}?" if near else takes)


_KINDS_OF_VALUE = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
}


def _sentence(first):
    """The first error of pydantic's as a sentence of ours."""
    kind, value, about = first["type"], first["input"], first.get("ctx", {})
    if kind == "value_error":
        return f"Expected {about['error']}; check params."
    name = str(first["loc"][0])
    bounds = {
        "greater_than_equal": "of at least {ge:g}",
        "greater_than": "above {gt:g}",
        "less_than_equal": "of at most {le:g}",
        "less_than": "below {lt:g}",
    }
    if kind in bounds:
        wanted = f"{name} {bounds[kind].format(**about)}"
    elif kind == "literal_error":
        wanted = f"{name} among " + about["expected"].replace(" or ", ", ").replace("'", "")
    else:
        what = next((said for start, said in _KINDS_OF_VALUE.items() if kind.startswith(start)), first["msg"].lower())
        wanted = f"{name} to be {what}"
    as_text = isinstance(value, str) and _is_number(value)
    hint = f"; YAML reads {value} as text: write {float(value):g}" if as_text else ""
    return f"Expected {wanted}, found {value!r}{hint}; check params."


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
