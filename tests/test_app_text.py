"""Foreign text in Streamlit's Markdown. What a browser makes of it is tested in test_app.py."""

from __future__ import annotations

import re

import pytest

from app.widgets.markdown import escape, is_math, link, message, shorten, visible, with_math
from kb.errors import QueryError

JOINER = "\N{WORD JOINER}"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("Attention Is All You Need", "Attention Is All You Need"),
        ("cs.CL and x-ray 3.14", "cs.CL and x-ray 3.14"),
        ("**bold** _it_", r"\*\*bold\*\* \_it\_"),
        ("[a](javascript:alert(1))", r"\[a\]\(javascript\:alert\(1\)\)"),
        ("<b>&amp;", r"\<b\>\&amp\;"),
        ("1. one", r"1\. one"),
        ("# one\n\n- two\n```", r"\# one \- two \`\`\`"),
        ("$5 or $x$", r"\$5 or \$x\$"),
        (r"a\b", r"a\\b"),
        (":red[x]", r"\:red\[x\]"),
        (":smile:", rf"\:{JOINER}smile\:"),
        (":material/home:", rf"\:{JOINER}material\/home\:"),
        ("BERT: Pre-training", r"BERT\: Pre-training"),
        ("https://a.b www.c.d e@f.gh", rf"https\:{JOINER}\/\/a.b www{JOINER}\.c.d e\@{JOINER}f.gh"),
        ("nDCG@10", r"nDCG\@10"),
        ("a -> b -- c", rf"a \-{JOINER}\> b \-{JOINER}\- c"),
    ],
)
def test_escape_leaves_nothing_to_markdown(text: str, markdown: str) -> None:
    assert escape(text) == markdown


def test_every_punctuation_character_is_escaped_or_stands_within_a_word() -> None:
    text = "".join(map(chr, range(33, 127)))
    assert re.sub(r"\\[!-/:-@\[-`{-~]", "", escape(text)).replace(JOINER, "").isalnum()
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escape(text)).replace(JOINER, "") == text


def test_invisible_characters_go_and_turns_of_direction_show() -> None:
    assert visible("a\u202eb\u2066c\u2069") == "a\ufffdb\ufffdc\ufffd"
    assert visible("soft\u00adhyphen zero\u200bwidth\x00\x1b\x07\U000e0041") == "softhyphen zerowidth"
    assert visible(" two\t\nlines\u2028three ") == "two lines three"
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("Šuster, 王, é, 🤗") == "Šuster, 王, é, 🤗"


def test_shorten_cuts_between_words() -> None:
    assert shorten("a short one", 20) == "a short one"
    assert shorten("one, two, three", 12) == "one, two…"
    assert shorten("x" * 50, 10) == "x" * 9 + "…"
    assert all(len(shorten("some words here to cut", n)) <= n for n in range(2, 30))


@pytest.mark.parametrize(
    "source",
    [
        "k",
        "x_1^2",
        r"O(n \log n)",
        r"\mathbb{R}^{n \times d}",
        r"\frac{a}{b}",
        r"\frac12",
        "[0,1)",
        r"\alpha'",
        "x'^2",
        r"\ell_p",
        r"\text{top-k accuracy}",
        r"\hat{\theta}_{t+1}",
        r"\{x \mid x > 0\}",
        "n=10",
        r"\sqrt{d}",
        "10^{-3}",
        r"^\circ",
        "_2",
        r"Attention(Q,K,V) = softmax(QK^T/\sqrt{d})V",
        r"\operatorname{argmax}_x",
    ],
)
def test_mathematics_is_known(source: str) -> None:
    assert is_math(source)
    assert with_math(f"a ${source}$ b") == f"a ${source}$ b"
    assert with_math(f"${source}$") == with_math(f"$${source}$$") == f"${source}$"


@pytest.mark.parametrize(
    "source",
    [
        "5 and ",
        "x^",
        "x_{",
        "x}",
        "x^a^b",
        "x_a_b",
        r"\frac{a}",
        r"\unknown",
        r"\href{javascript:alert(1)}{x}",
        r"\rule{9em}{9em}",
        r"\def\x{\x\x}\x",
        r"\color{red}x",
        r"\kern-99em x",
        r"\includegraphics{x}",
        "x & y",
        "x # y",
        "x%y",
        r"\text{a$b}",
        "a \u202e b",
        r"\text{\href{x}{y}}",
        "CA and US",
        "<img>" * 99,
        "{" * 40 + "}" * 40,
        r"x\\",
        "x~y",
        "x^'",
        r"\htmlClass{a}{b}",
    ],
)
def test_what_is_no_mathematics_stays_text(source: str) -> None:
    assert with_math(f"a ${source}$ b") == escape(f"a ${source}$ b")


@pytest.mark.parametrize("text", ["from $5 to $10", "$5-$10", "US$ and CA$", "$ x $", "$$", "$$$", "a $b c", "$x$5"])
def test_prices_and_lone_dollars_stay_text(text: str) -> None:
    assert with_math(text) == escape(text)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        (r"\emph{so} \textbf{it \textit{is}} {\em here} \texttt{a}", "so it is here a"),
        (r"50\% of R\&D, \$5, a\_b \#1", r"50\% of R\&D\, \$5\, a\_b \#1"),
        (r"top-\$p\$ at \$5 to \$10", r"top\-$p$ at \$5 to \$10"),
        (r"\(x^2\) and \[ \alpha \] and \(é\)", r"$x^2$ and $\alpha$ and é"),
        (r"3$\times$4, 2.9$\pm$0.2, $<$50\%", r"3$\times$4\, 2.9$\pm$0.2\, $<$50\%"),
        (r"256\times256, 30\deg, a\,b, hy\-phen", r"256×256\, 30°\, a b\, hyphen"),
        (r"\textbf{$k$-means} by \textcolor{red}{us}\footnote{You.}", r"$k$\-means by us \(You\.\)"),
        (r"by Wang~\cite{Wang2026}, \href{https://a.b}{there}", r"by Wang\, there"),
        (r"$\textbf{28%}$ and ``so''", r"28\% and “so”"),
        (r"\ours, \method{} and \frac x", r"\\ours\, \\method\{\} and \\frac x"),
        (r"a \textbf{cut text", "a cut text"),
        (r"\textit{<b>} \textbf{**x**}", r"\<b\> \*\*x\*\*"),
    ],
)
def test_latex_beside_mathematics_is_read(text: str, markdown: str) -> None:
    assert with_math(text) == markdown


@pytest.mark.parametrize(
    ("text", "sentence", "markdown"),
    [
        ("One. Two is *it*. Three", "Two is *it*.", r"One\. :yellow-background[Two is \*it\*\.] Three"),
        (r"\emph{One. Two. Three}", "Two.", r"One\. :yellow-background[Two\.] Three"),
        (r"One \cite{A. B} two.", "B} two.", r"One two\."),
        ("One. Two.", "Four.", r"One\. Two\."),
        ("a $5 or b. c $x", "or b. c", r"a \$5 :yellow-background[or b\. c] \$x"),
        ("\ue0005\ue001 a", "a", r"5 :yellow-background[a]"),
    ],
)
def test_the_sentence_is_marked(text: str, sentence: str, markdown: str) -> None:
    assert with_math(text, sentence) == markdown


def test_text_around_mathematics_is_escaped() -> None:
    assert with_math("*a* $k$-means [b] $5") == r"\*a\* $k$\-means \[b\] \$5"
    assert with_math("$k$-> x") == rf"$k$\-{JOINER}\> x"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://a.b/c",
        "",
        "https://a.b/ c",
        "https://a.b/>x",
        "https://a.b/\u202ex",
        "https://user:word@a.b/",
        "//",
        "https://",
        "http:\\\\a.b",
        "/x",
    ],
)
def test_only_web_addresses_are_linked(url: str) -> None:
    assert link("label", url) == "label"


def test_links() -> None:
    assert link("label", "https://arxiv.org/abs/1706.03762") == "[label](<https://arxiv.org/abs/1706.03762>)"
    assert link("a", "http://a.b/c_(d)?e=1&copy;=2#f", "a [hint]") == r'[a](<http://a.b/c_(d)?e=1&amp;copy;=2#f> "a \[hint\]")'
    assert link("a", "https://a.b/:material/home:") == "[a](<https://a.b/%3Amaterial/home:>)"


def test_messages_keep_their_commands_as_code_and_nothing_else() -> None:
    error = QueryError("[x](y) is not embedded. Run `kb index`, or `rm *`.")
    assert message(error) == r"\[x\]\(y\) is not embedded\. Run `kb index`\, or \`rm \*\`\."
