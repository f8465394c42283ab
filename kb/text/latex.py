"""LaTeX in titles, names and abstracts: conversion to Unicode, and escaping for BibTeX."""

from __future__ import annotations

import logging
import re
import unicodedata
from functools import cache
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db
from pylatexenc.latexwalker import LatexWalker, LatexWalkerError

_HAS_LATEX = re.compile(r"[\\${}~%^]|``|''|--")
# Inline mathematics by pandoc's rule: no blank after the first dollar, none before the second, no digit after it, so that
# "$5 and $10" is money; or any pair of dollars with a command or superscript in between.
_MATH = re.compile(
    r"(?<!\\)\$(?:(?P<marked>[^$\\^]*(?:\\[A-Za-z]|\^)(?:[^$\\]|\\.)*)|(?=\S)(?P<plain>[^$\\]+)(?<=\S)(?=\$(?!\d)))\$"
)
_SCRIPT = re.compile(r"([\^_])(?:\{\s*([0-9+-]+)\s*\}|([0-9]))")
_OUTER_SCRIPT = re.compile(r"([\^_])(?:\{\s*([0-9+-]+)\s*\}|(?<=\^)([0-9]+))")
_DEGREE = re.compile(r"\^(?:\\circ\b|\{\s*\\circ\s*\})")
# An accented letter or a non-ASCII letter, with optional braces around it.
_COMMAND = (
    r"""\\(?:["'`^~=.](?:\{\\?[A-Za-z]\}|\\[ij]\b|[A-Za-z])|[uvHcdbkrt](?:\{\\?[A-Za-z]{1,2}\}|\ [A-Za-z])"""
    r"|(?:ss|o|O|aa|AA|ae|AE|oe|OE|l|L|i|j)\b(?:\{\})?)"
)
_ACCENT = re.compile(rf"\{{({_COMMAND})\}}|({_COMMAND})")
# An operator name gets blanks around it, as in print: `O(n log n)`.
_OPERATOR = re.compile(
    r"((?<=[A-Za-z0-9)}])\s*)?(\\(?:log|ln|exp|sin|cos|tan|min|max|lim|sup|inf|det|dim)(?![A-Za-z]))"
    r"(\s*(?=\{?[A-Za-z0-9]|\\(?!left)[A-Za-z]))?"
)
# pylatexenc reads every root as a square root.
_ROOT = re.compile(r"\\sqrt\s*\[\s*([0-9])\s*\]")
# pylatexenc drops the argument of \texttt, usually a method's name, and fails on \href.
_TYPEWRITER = re.compile(r"\\(?:texttt|mathtt)\s*\{([^{}]*)\}")
_LINK = re.compile(r"\\href\s*\{(?P<address>[^{}]*)\}(?:\s*\{(?P<text>[^{}]*)\})?|\\href(?![A-Za-z])")
# Font commands and switches, innermost first; also an unclosed one at the end of a truncated text.
_FONT_COMMANDS = (
    "emph|text(?:bf|it|sc|tt|sf|rm|sl|md|up|normal|superscript|subscript)?|[mh]box|underline|uline|url|textcolor\\s*\\{[^{}]*\\}"
)
_FONT = re.compile(
    rf"\\(?:{_FONT_COMMANDS})\s*\{{([^{{}}]*)(?:\}}|$)|\{{\\(?:em|bf|it|sc|tt|sf|rm|sl|bfseries|itshape)\b\s*([^{{}}]*)(?:\}}|$)"
)
_FOOTNOTE = re.compile(r"\s*\\footnote\s*\{([^{}]*)(?:\}|$)")
_CITATION = re.compile(r"[\s~]{0,3}\\(?:cite[a-z]*|ref|label)\*?\s*(?:\[[^\[\]]*\])*\{[^{}]*\}")
_LITERAL = re.compile(r"(?<!\\)\\([%&$#_{}])")
_DEGREES = re.compile(r"(?<=\d)\s?\\deg(?:ree)?(?![A-Za-z])")
_SPACE = re.compile(r"\\(?:[ ,;:]|q?quad\b)|\\[-!/@]")
_NAME = re.compile(r"\\([A-Za-z]+)(?![A-Za-z{])\s*")
_QUOTED = re.compile(r"``([^`]{1,300}?)''")
# Steps, tokens read or nodes converted, that a text may take; 12,000 real abstracts take at most 1 for each character.
_MIN_STEPS, _STEPS_PER_CHARACTER = 100, 4
_MAX_NESTING = 4  # levels of nested commands
# Mathematical alphanumeric symbols, replaced by plain letters so that a search finds the word.
_MATH_LETTERS = re.compile("[\U0001d400-\U0001d7ff]+")
_SUPERSCRIPTS = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_SUBSCRIPTS = str.maketrans("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋")
# Characters that pylatexenc does not know, with which Zotero and others write HTML in titles.
_CHARACTERS = {
    "textless": "<", "textgreater": ">", "textbar": "|", "textunderscore": "_", "textbraceleft": "{", "textbraceright": "}",
    "textquotedbl": '"', "slash": "/", "copyright": "©", "pounds": "£", "S": "§", "P": "¶",
}  # fmt: skip
_PUNCTUATION = "\"'“”‘’([{<>}]),.:;!?"
_SPECIALS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
# Commands allowed in the mathematics of an exported title; anything else is written as Unicode.
_EXPORTED_COMMANDS = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell infty times cdot pm approx sim to "
    "rightarrow leftarrow leftrightarrow Rightarrow leq geq le ge neq in subset cup cap circ star ast dagger partial nabla sum "
    "prod int sqrt frac log exp min max bar hat tilde vec dot overline underline mathbb mathbf mathcal mathfrak mathit mathrm "
    "mathsf mathtt boldsymbol bm text textbf textit textrm textsf texttt textsc prime perp parallel oplus otimes dots ldots "
    "cdots quad left right langle rangle lfloor rfloor lceil rceil".split()
)


class _TooComplexError(Exception):
    """A text takes more steps than its length allows."""


class _UnreadableError(Exception):
    """A command lacks arguments; `position` is where it begins."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def _max_steps(text: str) -> int:
    return _MIN_STEPS + _STEPS_PER_CHARACTER * len(text)


class _Parser(LatexWalker):  # type: ignore[misc]
    r"""Parser with bounded time; pylatexenc's takes exponential time for nested `\sqrt[`."""

    def __init__(self, text: str) -> None:
        super().__init__(text, tolerant_parsing=True)
        self._steps_left = _max_steps(text)

    def get_token(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        self._steps_left -= 1
        if self._steps_left < 0:
            raise _TooComplexError
        return super().get_token(*arguments, **options)


class _Converter(LatexNodes2Text):  # type: ignore[misc]
    r"""Converter with bounded time. Raises _UnreadableError for a command that lacks arguments, and _TooComplexError.

    pylatexenc's takes exponential time, and makes exponentially long texts, for nested accents such as `\'{\'{`.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_context(), math_mode="text", keep_comments=True, strict_latex_spaces=False)
        self._steps_left = self._max_length = _max_steps(text)

    def node_to_text(self, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        self._steps_left -= 1
        text = str(super().node_to_text(*arguments, **options)) if self._steps_left >= 0 else ""
        if self._steps_left < 0 or len(text) > self._max_length:
            raise _TooComplexError
        return text

    def apply_simplify_repl(self, node: Any, simplify_repl: Any, what: str) -> str:  # noqa: ANN401
        try:
            text = str(super().apply_simplify_repl(node, simplify_repl, what))
        except (LookupError, TypeError, AttributeError):
            raise _UnreadableError(node.pos) from None
        if text == simplify_repl and len(text) > 1 and "%" in text:  # a template that was not filled in
            raise _UnreadableError(node.pos)
        return text


@cache
def _context() -> Any:  # noqa: ANN401
    # A command without its arguments is handled below; pylatexenc logs it as a fault of its configuration.
    logging.getLogger("pylatexenc").setLevel(logging.ERROR)
    context = get_default_latex_context_db()
    context.add_context_category(
        "characters", macros=[MacroTextSpec(name, text) for name, text in _CHARACTERS.items()], prepend=True
    )
    return context


def _convert(text: str) -> str:
    r"""LaTeX as Unicode; text that cannot be parsed, or not in bounded time, stays raw except for its accents.

    So does what follows a command without its arguments, such as the `\sqrt` at which an abstract was cut off.
    """
    try:
        return _convert_strictly(text)
    except _UnreadableError as error:
        at = error.position
    except _CONVERTER_ERRORS:
        return accents_to_unicode(text)
    try:
        return _convert_strictly(text[:at]) + accents_to_unicode(text[at:])
    except (_UnreadableError, *_CONVERTER_ERRORS):
        return accents_to_unicode(text)


def _convert_strictly(text: str) -> str:
    return str(_Converter(text).nodelist_to_text(_Parser(text).get_latex_nodes()[0]))


# What pylatexenc raises, even when told to be tolerant, and what bounds it.
_CONVERTER_ERRORS = (_TooComplexError, RecursionError, LatexWalkerError, LookupError, TypeError, AttributeError)


def to_unicode(text: str) -> str:
    r"""Convert LaTeX to Unicode on one line: accents, symbols, `X²` for `X$^2$`, no braces, dashes for two or three hyphens.

    A bare `%` is a per cent sign.
    """
    if not _HAS_LATEX.search(text):
        return " ".join(text.split())
    text = _LINK.sub(lambda link: link["text"] or link["address"] or "", _TYPEWRITER.sub(r"\1", text))
    pieces: list[str] = []
    at = 0
    for match in _MATH.finditer(text):
        pieces += [_text_to_unicode(text[at : match.start()]), _text_to_unicode(_prepared_math(_math(match)))]
        at = match.end()
    pieces.append(_text_to_unicode(text[at:]))
    return " ".join("".join(pieces).split())


def accents_to_unicode(text: str) -> str:
    """Convert accented and non-ASCII letters only; everything else, mathematics included, stays LaTeX."""
    return _ACCENT.sub(lambda match: _accented(match[1] or match[2]), text) if "\\" in text else text


@cache
def _accented(command: str) -> str:
    return _Converter(command).latex_to_text(command)  # type: ignore[no-any-return]


def words_to_unicode(text: str) -> str:
    r"""Convert text outside mathematics for display: `50%` for `50\%`, `so` for `\emph{so}`, `×` for `\times`, quotation marks.

    Citations are removed; unknown commands stay.
    """
    if "\\" in text:
        text = _LINK.sub(lambda link: link["text"] or link["address"] or "", _CITATION.sub("", text))
        for _ in range(_MAX_NESTING):
            text = _FONT.sub(lambda match: match[1] or match[2] or "", _FOOTNOTE.sub(r" (\1)", text))
        text = _NAME.sub(_symbol, _SPACE.sub(lambda match: "" if match[0][1] in "-!/@" else " ", text))
        text = _LITERAL.sub(r"\1", _DEGREES.sub("°", text))
    return _QUOTED.sub(r"“\1”", text)


def _symbol(match: re.Match[str]) -> str:
    """The character of a symbol command; the command itself if it is unknown."""
    found = _symbol_of(match[1])
    return found + match[0][len(match[1]) + 1 :] if found else match[0]


@cache
def _symbol_of(name: str) -> str:
    specification = get_default_latex_context_db().get_macro_spec(name)
    found = getattr(specification, "simplify_repl", None)
    return found if isinstance(found, str) and len(found) == 1 else ""


def _text_to_unicode(text: str) -> str:
    """Convert LaTeX without mathematics; leading and trailing blanks are kept."""
    if not _HAS_LATEX.search(text):
        return text
    text = re.sub(r"(?<!\\)([%$&])", r"\\\1", _OUTER_SCRIPT.sub(_script, text))
    start, end = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return start + _MATH_LETTERS.sub(_plain_letter, _convert(text.strip())) + end


def _plain_letter(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])


def _math(match: re.Match[str]) -> str:
    return (match["marked"] or match["plain"]).strip()


def _prepared_math(math: str) -> str:
    math = _ROOT.sub(lambda root: root[1].translate(_SUPERSCRIPTS) + r"\sqrt", math)
    return _OPERATOR.sub(_spaced, _SCRIPT.sub(_script, _DEGREE.sub("°", math)))


def _spaced(operator: re.Match[str]) -> str:
    before, name, after = operator.groups()
    return ("" if before is None else r"\ ") + str(name) + ("" if after is None else r"\ ")


def _script(match: re.Match[str]) -> str:
    digits = match[2] or match[3]
    return digits.translate(_SUPERSCRIPTS if match[1] == "^" else _SUBSCRIPTS)


def escape(text: str) -> str:
    """Escape LaTeX's special characters in plain text."""
    return "".join(_SPECIALS.get(c, c) for c in text)


def bibtex_title(title: str) -> str:
    r"""A title as a BibTeX value: mathematics kept, words with inner capitals in braces, everything else escaped.

    Mathematics with other than symbol commands, or with unbalanced braces, is written as Unicode.
    """
    pieces: list[str] = []
    at = 0
    for match in _MATH.finditer(title):
        pieces.append(_escaped_words(title[at : match.start()], after_math=at > 0, before_math=True))
        pieces.append(f"{{${_math(match)}$}}" if _is_exportable(_math(match)) else _escaped_words(match[0]))
        at = match.end()
    pieces.append(_escaped_words(title[at:], after_math=at > 0))
    return " ".join("".join(pieces).split())


def _escaped_words(text: str, *, after_math: bool = False, before_math: bool = False) -> str:
    """Words of a title for BibTeX; a word that touches mathematics, as in R$^2$Gen, is protected as a name."""
    if not text.strip():
        return text
    start, end = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    words = to_unicode(text).split(" ")
    protected = [_protected(word, is_last=not before_math and at == len(words)) for at, word in enumerate(words, start=1)]
    if after_math and text[0].isalnum():
        protected[0] = _protected(words[0], is_name=True)
    if before_math and text[-1].isalnum():
        protected[-1] = _protected(words[-1], is_name=True)
    return start + " ".join(protected) + end


def _protected(word: str, *, is_name: bool = False, is_last: bool = False) -> str:
    """The word escaped, in braces if a style that lowercases titles would spoil it: BERT, GANs, 3D, O(1).

    Punctuation stays outside, because BibTeX keeps the capital after a colon only if it sees the colon.
    """
    letters = word.strip(_PUNCTUATION)
    if not letters:
        return escape(word)
    before, _, after = word.partition(letters)
    inner = any(c.isupper() for c in letters[1:]) and not _is_compound(letters)
    # A single capital is a name, as in Vitamin C; so is a final A: Command A.
    alone = letters[:1].isupper() and not letters[1:2].isalpha() and (letters != "A" or bool(after) or is_last)
    if not (inner or alone or (is_name and any(map(str.isupper, letters)))):
        return escape(word)
    return f"{escape(before)}{{{escape(letters)}}}{escape(after)}"


def _is_compound(word: str) -> bool:
    """True if every capital begins a part of a hyphenated word, as in Self-Attention."""
    return all(not any(c.isupper() for c in part[1:]) and len(part) > 1 for part in re.split(r"[-–—/]", word) if part)


def _is_exportable(math: str) -> bool:
    commands = set(re.findall(r"\\([A-Za-z]+)", math))
    if not commands <= _EXPORTED_COMMANDS or re.search(r"\\[^A-Za-z,;:! {}|]|[%#&~]", math):
        return False
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", math):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    # What stays a command in Unicode lacks its arguments, and would stop LaTeX.
    return depth == 0 and not math.endswith("\\") and "\\" not in _text_to_unicode(_prepared_math(math))
