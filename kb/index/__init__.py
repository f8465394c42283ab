"""What is searched: the dense index (exact or IVF-PQ), the lexical index (BM25), and the job that builds them."""
