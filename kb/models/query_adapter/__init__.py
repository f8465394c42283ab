"""A LoRA adapter of the default encoder for queries, trained to move a query's vector towards the papers that answer it.

Vectors of papers are not changed, so nothing has to be embedded again. See MODEL_CARD.md.
"""
