"""The network of BERT4Rec: vectors of tracks, transformers' BertModel without padding, and a head over tracks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lib.recommenders import cloze

HEAD_START = 0.5  # factor of the head at the start: near even odds, yet like tracks first
# Standard deviations at the start, beside the usual width ** -0.5 (BERT's 0.02 is for its width of 768).
QUERY_SPREAD = 0.3  # attention starts even
POSITION_SPREAD = 0.02  # absolute: small beside vectors of tracks, which say more


def _principal(content: torch.Tensor, width: int) -> torch.Tensor:
    """Projection (width, dim) on the principal axes, turned at random: like tracks stay alike, at unit mean square."""
    axes = torch.pca_lowrank(content, min(width, *content.shape), center=False)[2]
    turned = nn.init.orthogonal_(torch.empty(width, axes.shape[1])) @ axes.T
    return turned / (content @ turned.T).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)


class ItemVectors(nn.Module):
    """The vector of each track that enters the transformer and that the tied head compares with.

    Projected content, plus learned vectors of ids, or either alone. Train tracks come first.

    Parameters
    ----------
    content : Tensor or None, shape (n_tracks, dim)
    n_train : int
        Tracks with a learned vector where there are any.
    width : int
        0 takes `content` as it is.
    finetuned : bool
        Whether `content` is trained; else it is a buffer outside the state of the network.
    ids : bool
        Whether there are learned vectors.
    """

    def __init__(self, content, n_train: int, width: int, *, finetuned: bool, ids: bool):
        super().__init__()
        self.content = self.projection = self.ids = None
        if content is not None:
            if width:
                # at unit mean square length, a step of Adam moves a projected vector as far as a learned one
                content = content / content[:n_train].square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
                self.projection = nn.Linear(content.shape[1], width, bias=False)
                self.projection.weight.data = _principal(content[:n_train], width)
            del self.content
            if finetuned:
                self.content = nn.Parameter(content.clone())
            else:
                self.register_buffer("content", content, persistent=False)
        if ids:
            width = width or content.shape[1]
            self.ids = nn.Parameter(torch.randn(n_train, width) * width**-0.5)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of some train tracks, shape (n, width)."""
        found = 0.0
        if self.content is not None:
            found = F.embedding(items, self.content)
            found = found if self.projection is None else self.projection(found)
        return found if self.ids is None else found + F.embedding(items, self.ids)

    def pairs(self, states: torch.Tensor, n: int) -> list[torch.Tensor]:
        """States and tables by turns, whose products are ``states @ vectors[:n].T``.

        The projection is applied to the few states instead of to all tracks.
        """
        found = []
        if self.content is not None:
            bent = states if self.projection is None else states @ self.projection.weight
            found += [bent, self.content[:n]]
        if self.ids is not None:
            found += [states, self.ids if n == len(self.ids) else F.pad(self.ids, (0, 0, 0, n - len(self.ids)))]
        return found

    def matrix(self) -> torch.Tensor:
        """Vectors of all tracks, shape (n_tracks, width); a track outside train has no learned part."""
        if self.content is None:
            return self.ids
        found = self.content if self.projection is None else self.projection(self.content)
        return found if self.ids is None else found + F.pad(self.ids, (0, 0, 0, len(found) - len(self.ids)))


class Network(nn.Module):
    """transformers' BertModel over sequences without padding, and a head over tracks.

    Parameters
    ----------
    items : ItemVectors
    width, layers, heads, length : int
    dropout : float
    prior : Tensor, shape (n_scored,)
        Where the biases of the tracks in the softmax start, the first ones: the logarithms of their shares of all plays
        leave the vectors free to learn taste instead of popularity.
    tied : bool
        Whether the head compares with `items` or has vectors of its own.
    positions : bool
        Whether order counts; else the history is a set.
    """

    def __init__(
        self, items, width: int, layers: int, heads: int, length: int, dropout: float, prior, *, tied, positions
    ):
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=1,  # the mask; tracks come from `items`
            pad_token_id=None,
            type_vocab_size=1,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=length,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=width**-0.5,  # BERT's 0.02 is for its 768: in a narrow network no context gets through
            attn_implementation="sdpa",
        )
        self.items, self.heads, self.n_scored = items, heads, len(prior)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.transform = nn.Linear(width, width)
        self.output = None if tied else nn.Parameter(torch.randn(len(prior), width) * width**-0.5)
        self.bias = nn.Parameter(prior.clone())
        places = self.bert.embeddings.position_embeddings.weight
        nn.init.normal_(places, std=POSITION_SPREAD if positions else 0.0)
        places.requires_grad_(positions)
        nn.init.zeros_(self.bert.embeddings.token_type_embeddings.weight)  # one type: a constant would drown tracks
        # at first, the head compares tracks with the mean of the context, without what all masks have in common
        mask = F.normalize(F.layer_norm(self.bert.embeddings.word_embeddings.weight.detach(), (width,)))
        self.transform.weight.data = HEAD_START * (torch.eye(width) - mask.T @ mask)
        nn.init.zeros_(self.transform.bias)
        for layer in self.bert.encoder.layer:  # at first, a hidden position is the mean of its context: learned fastest
            nn.init.zeros_(layer.output.dense.weight)
            nn.init.eye_(layer.attention.self.value.weight)
            nn.init.eye_(layer.attention.output.dense.weight)
            for part in (layer.attention.self.query, layer.attention.self.key):
                nn.init.normal_(part.weight, std=QUERY_SPREAD * width**-0.5)

    def forward(self, tokens: torch.Tensor, masked: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the transformer says at the masked positions.

        Parameters
        ----------
        tokens : Tensor of int64, shape (n,)
            Tracks of all sequences one after another, the oldest first.
        masked : Tensor of bool, shape (n,)
        lengths : Tensor of int64, shape (rows,)

        Returns
        -------
        Tensor, shape (masked, width)
            After the head's transform, in the order of `masked`.

        Notes
        -----
        Positions count from the newest track back, so that the place predicted is one that training has seen in
        every sequence. Padding is put in for the attention alone; the last layer works at masked positions alone.
        The same numbers as ``BertModel.forward`` gives there.
        """
        longest = int(lengths.max())
        rows = torch.repeat_interleave(torch.arange(len(lengths), device=tokens.device), lengths)
        slots = torch.arange(len(tokens), device=tokens.device) - (lengths.cumsum(0) - lengths)[rows]
        vectors = torch.where(masked[:, None], self.bert.embeddings.word_embeddings.weight, self.items(tokens))
        back = (lengths[rows] - 1 - slots)[None]
        states = self.bert.embeddings(inputs_embeds=vectors[None], position_ids=back)[0]
        real = None
        if longest * len(lengths) > len(tokens):
            real = (torch.arange(longest, device=tokens.device) < lengths[:, None])[:, None, None]
        places = rows * longest + slots
        *lower, last = self.bert.encoder.layer
        for layer in lower:
            states = self._layer(layer, states, states, places, places, (len(lengths), longest, longest), real)
        asked = masked.nonzero()[:, 0]
        ranks = masked.cumsum(0)[asked] - 1
        firsts = F.pad(torch.bincount(rows[asked], minlength=len(lengths)).cumsum(0), (1, 0))
        most = int(firsts.diff().max())
        targets = rows[asked] * most + ranks - firsts[rows[asked]]
        shape = (len(lengths), longest, most)
        return self.transform(self._layer(last, states[asked], states, targets, places, shape, real))

    def _layer(self, layer, states, context, asked, places, shape, real) -> torch.Tensor:
        """One BertLayer for `states` that attend to `context`, both without padding."""
        rows, longest, most = shape
        attention = layer.attention.self
        query = self._padded(attention.query(states), asked, rows, most)
        key = self._padded(attention.key(context), places, rows, longest)
        value = self._padded(attention.value(context), places, rows, longest)
        dropout = attention.dropout.p if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=real, dropout_p=dropout)
        found = found.transpose(1, 2).reshape(rows * most, -1).index_select(0, asked)
        return layer.feed_forward_chunk(layer.attention.output(found, states))

    def _padded(self, states, places, rows: int, longest: int) -> torch.Tensor:
        """Rows of equal length, split into heads: shape (rows, heads, longest, width / heads)."""
        if rows * longest > len(states):
            states = states.new_zeros(rows * longest, states.shape[1]).index_copy(0, places, states)
        return states.view(rows, longest, self.heads, -1).transpose(1, 2)

    def loss(self, states, targets, negatives=None, exponent: float = 1.0, left_out=None) -> torch.Tensor:
        """Mean loss of the states of masked positions: full softmax, or gBCE against `negatives` (n, k).

        `left_out` as for `lib.recommenders.cloze.cross_entropy`; of the softmax alone.
        """
        tables = [states, self.output] if self.output is not None else self.items.pairs(states, self.n_scored)
        if negatives is None:
            return cloze.cross_entropy(targets, self.bias, *tables, left_out=left_out)
        drawn = torch.cat([targets[:, None], negatives], dim=1)
        logits = self.bias[drawn]
        for bent, table in zip(tables[0::2], tables[1::2], strict=True):
            logits = logits + torch.einsum("nd,nkd->nk", bent, F.embedding(drawn, table))
        return cloze.gbce(logits, exponent)

    def scoring(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors and biases of all tracks that can be scored; one outside the softmax has the mean bias."""
        if self.output is not None:
            return self.output, self.bias
        vectors = self.items.matrix()
        return vectors, torch.cat([self.bias, self.bias.mean().expand(len(vectors) - len(self.bias))])
