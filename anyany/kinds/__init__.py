"""Kinds, axes, lists and messages: the vocabulary of edges. Nothing here imports torch."""
