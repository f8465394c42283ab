"""A retriever that learns from the papers themselves: each is reconstructed from the papers that help to write it.

After MARGE (Lewis et al. 2020, Pre-training via Paraphrasing, arXiv 2006.15020), cut down to a laptop: the encoder of texts stays
as it is, and what is learned is an adapter over its vectors (the retriever) and a small decoder (the reranker).
"""
