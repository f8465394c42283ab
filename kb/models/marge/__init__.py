"""A small MARGE model: a retriever and a reranker trained without labels, by reconstructing papers from similar ones.

After Lewis et al. 2020, Pre-training via Paraphrasing (arXiv 2006.15020). The text encoder is frozen; trained are an adapter over
its vectors (the retriever) and a small decoder (the reranker). See MODEL_CARD.md.
"""
