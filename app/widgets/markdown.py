"""Escaping of outside text for Streamlit's Markdown: shown as it is written, without effect.

Titles, authors, abstracts, notes and addresses come from anywhere. Streamlit reads Markdown with GitHub's additions, then
goes over the text that is left and puts icons for `:material/home:`, emoji for `:smile:`, links for bare addresses and
arrows for `->`. Backslashes keep Markdown itself away. They do not keep those later passes away, which see the text with its
backslashes gone; an invisible word joiner inside the pattern does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence, Set
from urllib.parse import urlencode

from kb.errors import IdentifierError
from kb.identifiers import clean_url
from kb.text.latex import accents_to_unicode, words_to_unicode
from kb.text.tokenize import index_terms

_JOINER = "\N{WORD JOINER}"
_REPLACED = re.compile(
    r"(?P<colon>:)(?=[\w+/-]+:)"  # :smile:  :material/home:  :material_home:
    r"|(?P<scheme>https?:)(?=//)|(?P<www>www)(?=\.)|(?P<at>@)(?=[\w-]+\.)"  # addresses, which would become links
    r"|(?P<arrow>(?:(?<=\s)|^)(?:<(?=->?(?:\s|$))|[-<>~](?=[-=>](?:\s|$))))",  # ->  <-  <->  --  >=  <=  ~=
    re.IGNORECASE,
)
# Every ASCII punctuation character may have a backslash before it. A point or hyphen within a word needs none, so that
# cs.CL stays what one types to find it.
_PUNCTUATION = re.compile(r"(?<=[A-Za-z0-9])[.-](?=[A-Za-z0-9])|([!-/:-@\[-`{-~])")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_JOINING = "\u200c\u200d"  # belong to the spelling of Persian and Indic words


def visible(text: str) -> str:
    """The text on one line, without control and invisible characters.

    Characters that turn the direction of writing become `�`, so that nobody is shown another text than the stored one
    without seeing that something was there.
    """
    text = " ".join(_BIDI.sub("\N{REPLACEMENT CHARACTER}", text).split())
    return "".join(c for c in text if c in _JOINING or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})


def shorten(text: str, length: int) -> str:
    """The text's beginning, cut between words, of at most `length` characters."""
    text = visible(text)
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:–—-") + "…"


def escape(text: str) -> str:
    """Markdown that shows the text literally."""
    joined = _REPLACED.sub(lambda match: match[0] + _JOINER, visible(text))
    return _PUNCTUATION.sub(lambda match: f"\\{match[1]}" if match[1] else match[0], joined)


def with_math(text: str, sentence: str = "", terms: Set[str] = frozenset(), links: bool = False) -> str:
    """Markdown that shows the text literally, but for LaTeX: words without its commands, well-formed mathematics set in the line.

    `sentence`, where it is part of the text, stands on coloured ground. Words whose term is among `terms` are bold. With
    `links`, web addresses are links.
    """
    aside: list[str] = []  # Markdown that is ready; the text has its place

    def put_aside(markdown: str) -> str:
        aside.append(markdown)
        return f"\ue000{len(aside) - 1}\ue001"

    def formula(match: re.Match[str]) -> str:
        source = next(part for part in match.groups()[1:] if part is not None).strip()
        if is_math(source):
            return put_aside(f"${source}$")
        if match[1] is None:
            return match[3] or match[4] or match[0]
        if _IN_WORDS.fullmatch(source):
            return source
        # As it is written, commands too: but where the sentence begins or ends within it, that is kept.
        parts = _PLACE.split(match[0])
        return "".join(f"\ue000{part}\ue001" if i % 2 else put_aside(escape_part(part)) for i, part in enumerate(parts))

    whole, sentence = visible(accents_to_unicode(text)), visible(accents_to_unicode(sentence))
    ends: list[str] = []
    if sentence and sentence in whole:
        before, after = whole.split(sentence, 1)
        ends = [put_aside(":yellow-background["), put_aside("]")]
        whole = f"{before}{ends[0]}{sentence}{ends[1]}{after}"
    shown = words_to_unicode(_FORMULA.sub(formula, whole))
    if not all(end in shown for end in ends):  # one was in a citation or an address, which are left out
        return with_math(text, "", terms, links)
    parts = _PLACE.split(shown)
    return "".join(aside[int(part)] if i % 2 else _text(part, terms, links) for i, part in enumerate(parts))


def _text(text: str, terms: Set[str], links: bool) -> str:
    """Escaped text in which words of these terms are bold, and addresses are links where that is asked for."""
    if not links:
        return _emphasised(text, terms)
    parts = _ADDRESS.split(text)
    return "".join(link(escape(shorten(part, 100)), part) if i % 2 else _emphasised(part, terms) for i, part in enumerate(parts))


def _emphasised(text: str, terms: Set[str]) -> str:
    if not terms:
        return escape_part(text)
    parts = _WORD.split(text)
    return "".join(
        f"**{escape(part)}**" if i % 2 and terms & set(index_terms(part)) else escape_part(part) for i, part in enumerate(parts)
    )


def escape_part(text: str) -> str:
    """As `escape`, keeping the blanks at both ends."""
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return before + escape(text) + after if text.strip() else text


def page_link(label: str, path: str, parameters: Mapping[str, str | Sequence[str]], hint: str = "") -> str:
    """A link within the app, with a label that is Markdown already; an empty path is the search page."""
    address = f"{path or './'}?{urlencode(parameters, doseq=True)}".replace("&", "&amp;")
    title = f' "{escape(hint)}"' if hint else ""
    return f"[{label}](<{address}>{title})"


def link(label: str, url: str, hint: str = "") -> str:
    """A link with a label that is Markdown already; the label alone where the address is not fit to be linked to."""
    try:
        address = clean_url(url)
    except IdentifierError:
        return label
    # Between < and > only entities are still read, and one icon pattern that Streamlit replaces before anything else.
    address = address.replace("&", "&amp;").replace("$", "%24").replace(":material", "%3Amaterial")
    title = f' "{escape(hint)}"' if hint else ""
    return f"[{label}](<{address}>{title})"


def message(error: Exception) -> str:
    """An error of the library as Markdown: the commands that it names stay code, all else is literal."""
    parts = _COMMAND.split(str(error))
    return "".join(f"`{part}`" if i % 2 else escape_part(part) for i, part in enumerate(parts))


# An address up to the blank, without the marks that end a sentence or a bracket around it.
_ADDRESS = re.compile(r"(https?://[^\s<>\"\ue000\ue001]*[^\s<>\"\ue000\ue001.,;:!?)\]}'’”])")
_WORD = re.compile(r"(\w+)")
_COMMAND = re.compile(r"`((?:kb|pip) [\w ./=-]{1,80})`")

# Mathematics ----------------------------------------------------------------------------------------------------------

# As in Pandoc: no blank inside the dollars' ends, and no digit behind them, so that prices stay prices; but a command or script
# between them, or only signs, is no price: `$\\pm$5`.
DOLLARS = re.compile(r"(?<![\\$])(\$\$?)(?![\s$])(?=[^$]*[\\^_]|[-+<>=]*\$|[^$]*\$+(?!\d))([^$]{1,300}?)(?<![\s\\])\1(?!\$)")
# Or as LaTeX has it in another way, or as a letter between dollars that something has escaped: `top-\$p\$`.
_FORMULA = re.compile(DOLLARS.pattern + r"|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]|\\\$([A-Za-z][^$\s\\]{0,20})\\\$")
# Words that stand between dollars for their looks alone: `$\\textbf{28%}$`.
_IN_WORDS = re.compile(r"\\(?:emph|text(?:bf|it|rm|sf|tt|sc)?)\{[^{}\\]*\}")
# Private characters of Unicode, which no text keeps.
_PLACE = re.compile("\ue000(\\d+)\ue001")
# What may occur. Commands that move, size, colour, define or link are not here: with them a title could paint over the page.
_SYMBOLS = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar infty partial nabla forall exists "
    "emptyset varnothing pm mp times div cdot cdots ldots dots star ast circ bullet oplus otimes odot wedge vee cap cup setminus "
    "in notin ni subset subseteq supset supseteq le leq ge geq ll gg ne neq equiv approx sim simeq cong propto to rightarrow "
    "leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow mapsto uparrow downarrow perp parallel mid vert Vert langle "
    "rangle lfloor rfloor lceil rceil log ln exp sin cos tan min max sup inf lim arg det dim ker Pr deg gcd sum prod int top bot "
    "prime dagger quad lesssim gtrsim sqcup sqcap models vdash".split()
)
_ARGUMENTS = dict.fromkeys(
    "mathbb mathcal mathbf mathrm mathit mathsf mathtt mathfrak mathscr boldsymbol operatorname hat widehat tilde widetilde "
    "bar overline underline vec dot ddot sqrt".split(),
    1,
) | dict.fromkeys("frac tfrac dfrac binom".split(), 2)
_TEXT = frozenset("text textbf textit textrm textsf texttt".split())
_TOKEN = re.compile(r"\s+|\\[A-Za-z]+|\\[,;:! {}%|]|[{}^_']|[A-Za-z0-9]|[-+*/=<>()\[\]|.,:;!]")
_PLAIN = re.compile(r"\{([A-Za-z0-9 .,:/()+-]*)\}")
_WORDS = re.compile(r"[A-Za-z]{2,}[,.:;]? +[A-Za-z]{2,}")


def is_math(source: str) -> bool:
    """Whether what stands between two dollars is mathematics that can be set: complete, balanced and of known commands."""
    if _WORDS.search(re.sub(r"\\[A-Za-z]+ *(?:\{[^{}]*\})?", "", source)):
        return False  # two amounts of money with words between them
    return _group(source, 0, depth=0) == len(source)


def _group(source: str, at: int, depth: int) -> int:
    """Read atoms with their scripts until the group ends; the position behind them, -1 where it is malformed."""
    scripts: set[str] | None = None  # those that the last atom has; None where there is no atom to carry any
    while 0 <= at < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            return -1
        match token[0]:
            case "}":
                return at if depth else -1
            case "^" | "_" as script:
                scripts = set() if scripts is None else scripts
                if script in scripts:
                    return -1
                scripts.add(script)
                at = _argument(source, token.end(), depth)
            case "'":
                # A prime is a superscript of its own.
                if scripts is not None and "^" in scripts:
                    return -1
                at = token.end()
            case blank if blank.isspace():
                at = token.end()
            case _:
                scripts = set()
                at = _atom(source, at, depth)
    return at if not depth else -1


def _atom(source: str, at: int, depth: int) -> int:
    """Read one atom, with the arguments of its command."""
    token = _TOKEN.match(source, at)
    if token is None or depth > 8:
        return -1
    name, end = token[0][1:], token.end()
    if token[0] == "{":
        end = _group(source, end, depth + 1)
        return end + 1 if end >= 0 else -1
    if not (token[0].startswith("\\") and name.isalpha()):
        return end
    if name in _TEXT:
        plain = _PLAIN.match(source, end)
        return plain.end() if plain else -1
    if name not in _SYMBOLS and name not in _ARGUMENTS:
        return -1
    for _ in range(_ARGUMENTS.get(name, 0)):
        end = _argument(source, end, depth)
    return end


def _argument(source: str, at: int, depth: int) -> int:
    """Read a group in braces, or one atom, that a command or script takes."""
    while 0 <= at < len(source) and source[at].isspace():
        at += 1
    if not 0 <= at < len(source) or source[at] in "}^_'":
        return -1
    return _atom(source, at, depth)
