"""LaTeX read as Unicode: unfinished and hostile input falls back to the raw text, in bounded time."""

from __future__ import annotations

import pytest

from kb.text.latex import accents_to_unicode, bibtex_title, to_unicode, words_to_unicode

# A command without its arguments stays as it stands, with all that follows; what comes before it is converted.
UNFINISHED = [
    (r"A bound of order \sqrt", r"A bound of order \sqrt"),
    (r"Red \textcolor{red}", r"Red \textcolor{red}"),
    (r"50\% of {BERT} and R\'enyi \frac", r"50% of BERT and Rényi \frac"),
    (r"We use \verb", r"We use \verb"),
    (r"\title", r"\title"),
    (r"Of order $\sqrt[3]{n}$ or \sqrt[", r"Of order ³√(n) or \sqrt["),
    (r"R\'enyi " + "{" * 600, "Rényi " + "{" * 600),
]
# What takes pylatexenc exponential time, or more memory with each level.
NESTED = [r"\sqrt[", r"\sqrt[{", r"\frac{", r"\begin{array}[", r"\cite[", r"\'{", r"\hat{", r"\footnote{", "{", "[", "$", r"\["]


@pytest.mark.parametrize(("text", "read"), UNFINISHED)
def test_an_unfinished_command_stays_as_it_stands(text: str, read: str) -> None:
    assert to_unicode(text) == read


def test_an_unfinished_command_is_escaped_in_a_bibtex_title() -> None:
    assert bibtex_title(r"A bound of order \sqrt") == r"A bound of order \textbackslash{}sqrt"
    assert bibtex_title(r"Of order $\frac$ now") == r"Of order \textbackslash{}frac now"  # as mathematics it would stop LaTeX
    assert bibtex_title(r"Of order $\sqrt{n}$ now") == r"Of order {$\sqrt{n}$} now"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("opening", NESTED)
def test_nested_commands_take_time_in_proportion_to_their_length(opening: str) -> None:
    for depth in (20, 100, 1000):
        text = "R\\'enyi " + opening * depth
        assert to_unicode(text).startswith("Rényi")
        assert len(to_unicode(text)) <= 5 * len(text)
        for convert in (words_to_unicode, accents_to_unicode, bibtex_title):
            assert len(convert(text)) <= 20 * len(text)


def test_finished_latex_is_read() -> None:
    assert to_unicode(r"Schr\"odinger bridges, {\'E}tale, \v{S}, stra\ss{}e") == "Schrödinger bridges, Étale, Š, straße"
    assert to_unicode(r"$O(n \log n)$ for 50\% of {BERT}'s \emph{heads}") == "O(n log n) for 50% of BERT's heads"
