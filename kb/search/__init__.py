"""The one search pipeline: retrieve, rerank, explain; and its evaluation."""
