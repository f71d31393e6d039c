"""Recurrent networks and Transformers by their shapes; one token is one row of a feature map."""

from __future__ import annotations

from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network, Node

_ZAREMBA = (
    "W. Zaremba, I. Sutskever, O. Vinyals, Recurrent neural network regularization, arXiv:1409.2329 (medium LSTM)"
)
_BERT = "J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, BERT, NAACL 2019 (base: one encoder block)"
_LLAMA = "H. Touvron et al., LLaMA: open and efficient foundation language models, arXiv:2302.13971 (7B)"


def lstm() -> Network:
    """Two LSTM layers of 650 units over 35 tokens and a linear layer to 10,000 words; the embedding is a table look-up."""
    b = Builder("lstm", (650, 35, 1))
    x = b.recurrent("lstm2", b.recurrent("lstm1", b.input, 650, 4), 650, 4)
    b.linear("decoder", x, 10_000, tokens=True)
    return b.build("LSTM language model, 2 x 650 units, 35 steps, 10,000 words", _ZAREMBA)


def _attention(b: Builder, name: str, x: Node, tokens_read: int) -> Node:
    width = x.channels
    q, k, v = (b.linear(f"{name}.{part}", x, width, tokens=True) for part in ("q", "k", "v"))
    scores = b.product(f"{name}.scores", q, k, tokens_read, x.height * tokens_read * width)
    # Softmax makes the scores non-negative; the mix of signed values is signed.
    mixed = b.product(f"{name}.mix", b.passed(f"{name}.softmax", scores, signed=False), v, width, scores.macs)
    return b.linear(f"{name}.o", mixed, width, tokens=True)


def transformer_block() -> Network:
    """One encoder block of BERT base over 128 tokens: 768 wide, 3,072 in the feed-forward part."""
    b = Builder("transformer", (768, 128, 1))
    x = b.add("add1", (_attention(b, "attention", b.input, 128), b.input))
    y = b.linear("ffn.1", x, 3072, tokens=True)
    b.add("add2", (b.linear("ffn.2", b.passed("gelu", y, signed=True), 768, tokens=True), x))
    return b.build("One Transformer encoder block, 768 wide, 128 tokens", _BERT)


def transformer_7b(tokens: int = 1, context: int = 2048) -> Network:
    """A Transformer of 6.6 billion weights that makes ``tokens`` tokens after ``context`` cached ones."""
    width, inner = 4096, 11008
    b = Builder("transformer-7b", (width, tokens, 1))
    x = b.input
    for layer in range(32):
        part = f"block{layer}"
        x = b.add(f"{part}.add1", (_attention(b, f"{part}.attention", x, context), x))
        gate, up = (b.linear(f"{part}.{name}", x, inner, tokens=True) for name in ("gate", "up"))
        both = b.add(f"{part}.gated", (gate, up))  # elementwise; product or sum makes no difference here
        x = b.add(f"{part}.add2", (b.linear(f"{part}.down", both, width, tokens=True), x))
    b.linear("head", x, 32_000, tokens=True)
    return b.build("Decoder Transformer of LLaMA-7B's shapes, one token after a context of 2,048", _LLAMA)
