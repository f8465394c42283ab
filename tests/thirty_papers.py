"""Thirty papers, each with a line on what it is about, and a reader's notes on three of them."""

# ruff: noqa: E501  (a paper a line)

from __future__ import annotations

PaperRow = tuple[str, str, str, str, str, str]

QLORA_CODE = "https://github.com/artidoro/qlora"
#: Id, title, authors, categories, comments, and what it is about in a line.
PAPERS: tuple[PaperRow, ...] = (
    ("1310.4546", "Distributed Representations of Words and Phrases and their Compositionality", "Tomas Mikolov, Ilya Sutskever", "cs.CL", "", "Word vectors learned by negative sampling, with frequent words subsampled and phrases as tokens."),
    ("1409.0473", "Neural Machine Translation by Jointly Learning to Align and Translate", "Dzmitry Bahdanau, Kyunghyun Cho, Yoshua Bengio", "cs.CL cs.LG", "", "A translation model that looks for the source words it needs while it writes each target word."),
    ("1412.6980", "Adam: A Method for Stochastic Optimization", "Diederik P. Kingma, Jimmy Ba", "cs.LG", "", "An optimiser with step sizes adapted from running moments of the gradient."),
    ("1502.03167", "Batch Normalization: Accelerating Deep Network Training", "Sergey Ioffe, Christian Szegedy", "cs.LG", "", "Normalising the inputs of each layer over a mini-batch allows larger learning rates."),
    ("1505.04597", "U-Net: Convolutional Networks for Biomedical Image Segmentation", "Olaf Ronneberger, Philipp Fischer, Thomas Brox", "cs.CV", "", "A contracting and an expanding path with skip connections segment cells from few annotated images."),
    ("1508.04025", "Effective Approaches to Attention-based Neural Machine Translation", "Minh-Thang Luong, Hieu Pham, Christopher D. Manning", "cs.CL", "Code: https://github.com/lmthang/nmt.hybrid", "Global and local attention for translating English and German."),
    ("1512.03385", "Deep Residual Learning for Image Recognition", "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun", "cs.CV", "", "Shortcut connections let image classifiers of over a hundred layers be trained."),
    ("1603.09320", "Efficient and robust approximate nearest neighbor search using HNSW graphs", "Yu. A. Malkov, D. A. Yashunin", "cs.DS", "Code: https://github.com/nmslib/hnswlib", "A layered small-world graph finds near neighbours of vectors fast."),
    ("1607.04606", "Enriching Word Vectors with Subword Information", "Piotr Bojanowski, Edouard Grave, Armand Joulin, Tomas Mikolov", "cs.CL cs.LG", "", "Word vectors as sums over character n-grams help rare words and rich morphology."),
    ("1702.08734", "Billion-scale similarity search with GPUs", "Jeff Johnson, Matthijs Douze, Hervé Jégou", "cs.CV cs.DB", "Code: https://github.com/facebookresearch/faiss", "Fast k-selection on graphics processors for nearest neighbour search over compressed vectors."),
    ("1706.03762", "Attention Is All You Need", "Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, Lukasz Kaiser, Illia Polosukhin", "cs.CL cs.LG", "Code: https://github.com/tensorflow/tensor2tensor", "A translation model built of attention alone, without recurrence, is better and faster to train."),
    ("1710.10903", "Graph Attention Networks", "Petar Veličković, Guillem Cucurull, Arantxa Casanova", "stat.ML cs.LG", "Code: https://github.com/PetarV-/GAT", "Nodes of a graph weigh their neighbours by masked self-attention."),
    ("1810.04805", "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", "Jacob Devlin, Ming-Wei Chang, Kenton Lee, Kristina Toutanova", "cs.CL", "Code: https://github.com/google-research/bert", "A bidirectional encoder pre-trained by filling in masked words is fine-tuned for many tasks."),
    ("1901.02860", "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", "Zihang Dai, Zhilin Yang, Yiming Yang", "cs.LG cs.CL", "", "Recurrence over segments and relative positions let a language model see further back."),
    ("1908.10084", "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", "Nils Reimers, Iryna Gurevych", "cs.CL", "Code: https://github.com/UKPLab/sentence-transformers", "Siamese training gives sentence vectors that compare by cosine."),
    ("2001.08361", "Scaling Laws for Neural Language Models", "Jared Kaplan, Sam McCandlish", "cs.LG stat.ML", "", "The loss of language models falls as a power of size, data and compute."),
    ("2004.04906", "Dense Passage Retrieval for Open-Domain Question Answering", "Vladimir Karpukhin, Barlas Oğuz, Sewon Min", "cs.CL", "Code: https://github.com/facebookresearch/DPR", "Two encoders trained on questions and passages retrieve better than BM25."),
    ("2004.12832", "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT", "Omar Khattab, Matei Zaharia", "cs.IR cs.CL", "Code: https://github.com/stanford-futuredata/ColBERT", "Passages are ranked by the best match of every query token."),
    ("2005.11401", "Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks", "Patrick Lewis, Ethan Perez", "cs.CL cs.LG", "", "A generator reads passages that a dense retriever finds for the question."),
    ("2006.11239", "Denoising Diffusion Probabilistic Models", "Jonathan Ho, Ajay Jain, Pieter Abbeel", "cs.LG stat.ML", "Code: https://github.com/hojonathanho/diffusion", "Images are made by undoing noise step by step."),
    ("2006.15020", "Pre-training via Paraphrasing", "Mike Lewis, Marjan Ghazvininejad", "cs.CL cs.LG", "", "A model learns to retrieve documents by which it can reconstruct another one."),
    ("2010.11929", "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", "Alexey Dosovitskiy, Lucas Beyer", "cs.CV cs.AI", "Code: https://github.com/google-research/vision_transformer", "A transformer over patches of an image classifies as well as convolutions, given enough data."),
    ("2103.00020", "Learning Transferable Visual Models From Natural Language Supervision", "Alec Radford, Jong Wook Kim, Chris Hallacy, Aditya Ramesh, Gabriel Goh, Sandhini Agarwal, Girish Sastry, Amanda Askell, Pamela Mishkin, Jack Clark, Gretchen Krueger, Ilya Sutskever", "cs.CV cs.LG", "Code: https://github.com/OpenAI/CLIP", "Images and their captions from the web train encoders that recognise new classes by name."),
    ("2104.08663", "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval Models", "Nandan Thakur, Nils Reimers", "cs.IR", "Code: https://github.com/beir-cellar/beir", "Eighteen retrieval data sets show how models do without training on them."),
    ("2106.09685", "LoRA: Low-Rank Adaptation of Large Language Models", "Edward J. Hu, Yelong Shen, Phillip Wallis", "cs.CL cs.AI cs.LG", "Code: https://github.com/microsoft/LoRA", "Only small low-rank matrices beside the frozen weights are fine-tuned."),
    ("2112.10752", "High-Resolution Image Synthesis with Latent Diffusion Models", "Robin Rombach, Andreas Blattmann", "cs.CV", "", "Diffusion in the space of an autoencoder makes large images at less cost."),
    ("2205.14135", "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", "Tri Dao, Daniel Y. Fu", "cs.LG", "Code: https://github.com/HazyResearch/flash-attention", "Exact attention computed in tiles that stay in fast memory."),
    ("2210.17323", "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", "Elias Frantar, Saleh Ashkboos", "cs.LG", "Code: https://github.com/IST-DASLab/gptq", "Weights of large language models are rounded to three or four bits after training."),
    ("2305.14314", "QLoRA: Efficient Finetuning of Quantized LLMs", "Tim Dettmers, Artidoro Pagnoni, Ari Holtzman, Luke Zettlemoyer", "cs.LG", f"Code: {QLORA_CODE}", "A large language model in four bits is fine-tuned through low-rank adapters on a single GPU."),
    ("2307.00001", "A withdrawn study of memory in language models", "Ada Beispiel", "cs.CL", "This paper has been withdrawn by the author", "The experiments had an error."),
)  # fmt: skip
NOTES = f"""# Bookmarks

## 2023 [QLoRA: Efficient Finetuning of Quantized LLMs](https://arxiv.org/abs/2305.14314)

A 65B model on **one** 48 GB card; see [the code]({QLORA_CODE}). The double quantisation saves less than I thought.

## 2017 [Attention Is All You Need](https://arxiv.org/abs/1706.03762)

Multi-head attention; the positional encoding is the odd part.

## 2020 [Pre-training via Paraphrasing](https://arxiv.org/abs/2006.15020)

Retrieval as a training signal.
"""
