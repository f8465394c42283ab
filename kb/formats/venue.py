"""Publication venue, parsed from arXiv's journal reference or the authors' comment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

VenueKind = Literal["journal", "conference"]


@dataclass(frozen=True, slots=True)
class Venue:
    """A publication venue with volume, number and pages."""

    name: str
    kind: VenueKind
    year: int | None = None
    volume: str = ""
    number: str = ""
    pages: str = ""


# Conference acronyms as used in comments, with the name for bibliographies.
_CONFERENCES = {
    "AAAI": "AAAI Conference on Artificial Intelligence",
    "ACCV": "Asian Conference on Computer Vision",
    "ACL": "Annual Meeting of the Association for Computational Linguistics",
    "ACM MM": "ACM International Conference on Multimedia",
    "AISTATS": "International Conference on Artificial Intelligence and Statistics",
    "BMVC": "British Machine Vision Conference",
    "CHI": "CHI Conference on Human Factors in Computing Systems",
    "CIKM": "ACM International Conference on Information and Knowledge Management",
    "COLING": "International Conference on Computational Linguistics",
    "COLM": "Conference on Language Modeling",
    "COLT": "Conference on Learning Theory",
    "CoRL": "Conference on Robot Learning",
    "CVPR": "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "EACL": "Conference of the European Chapter of the Association for Computational Linguistics",
    "ECAI": "European Conference on Artificial Intelligence",
    "ECCV": "European Conference on Computer Vision",
    "ECIR": "European Conference on Information Retrieval",
    "EMNLP": "Conference on Empirical Methods in Natural Language Processing",
    "FAccT": "ACM Conference on Fairness, Accountability, and Transparency",
    "ICASSP": "IEEE International Conference on Acoustics, Speech and Signal Processing",
    "ICCV": "IEEE/CVF International Conference on Computer Vision",
    "ICDE": "IEEE International Conference on Data Engineering",
    "ICDM": "IEEE International Conference on Data Mining",
    "ICIP": "IEEE International Conference on Image Processing",
    "ICLR": "International Conference on Learning Representations",
    "ICME": "IEEE International Conference on Multimedia and Expo",
    "ICML": "International Conference on Machine Learning",
    "ICPR": "International Conference on Pattern Recognition",
    "ICRA": "IEEE International Conference on Robotics and Automation",
    "ICSE": "International Conference on Software Engineering",
    "IJCAI": "International Joint Conference on Artificial Intelligence",
    "IJCNN": "International Joint Conference on Neural Networks",
    "Interspeech": "Interspeech",
    "IROS": "IEEE/RSJ International Conference on Intelligent Robots and Systems",
    "ISBI": "IEEE International Symposium on Biomedical Imaging",
    "KDD": "ACM SIGKDD Conference on Knowledge Discovery and Data Mining",
    "LREC": "International Conference on Language Resources and Evaluation",
    "LREC-COLING": "Joint International Conference on Computational Linguistics, Language Resources and Evaluation",
    "MICCAI": "International Conference on Medical Image Computing and Computer Assisted Intervention",
    "MIDL": "Conference on Medical Imaging with Deep Learning",
    "NAACL": "Conference of the North American Chapter of the Association for Computational Linguistics",
    "NeurIPS": "Advances in Neural Information Processing Systems",
    "NIPS": "Advances in Neural Information Processing Systems",
    "RecSys": "ACM Conference on Recommender Systems",
    "RSS": "Robotics: Science and Systems",
    "SIGGRAPH": "ACM SIGGRAPH Conference",
    "SIGGRAPH Asia": "ACM SIGGRAPH Asia Conference",
    "SIGIR": "ACM SIGIR Conference on Research and Development in Information Retrieval",
    "UAI": "Conference on Uncertainty in Artificial Intelligence",
    "WACV": "IEEE/CVF Winter Conference on Applications of Computer Vision",
    "WSDM": "ACM International Conference on Web Search and Data Mining",
    "WWW": "The Web Conference",
}
_JOURNALS = {
    "IJCV": "International Journal of Computer Vision",
    "JAIR": "Journal of Artificial Intelligence Research",
    "JMLR": "Journal of Machine Learning Research",
    "RA-L": "IEEE Robotics and Automation Letters",
    "TACL": "Transactions of the Association for Computational Linguistics",
    "TIP": "IEEE Transactions on Image Processing",
    "TKDE": "IEEE Transactions on Knowledge and Data Engineering",
    "TMLR": "Transactions on Machine Learning Research",
    "TMM": "IEEE Transactions on Multimedia",
    "TNNLS": "IEEE Transactions on Neural Networks and Learning Systems",
    "TPAMI": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
}
_NAMES = {name.upper(): name for name in [*_CONFERENCES, *_JOURNALS]}
_ACRONYM = re.compile(
    r"(?<![\w-])(?P<name>" + "|".join(re.escape(n).replace(r"\ ", r"\s+") for n in sorted(_NAMES, key=len, reverse=True)) + r")"
    r"(?:[\s\-–/']*(?P<year>(?:20|19)\d{2}|(?<=['’])\d{2}|(?<=\s)\d{2}(?![\d\w]))|(?![\w-])|(?=['’-]))"
    r"(?:['’](?P<short>\d{2})\b)?",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(
    r"\b(?:accepted|to appear|appear(?:s|ed|ing)?|published|camera[- ]ready|in proceedings|proceedings of|presented|"
    r"conference version|oral|spotlight|poster|highlight)\b",
    re.IGNORECASE,
)
# Words after which a venue is a submission, or the venue of another text.
_NOT_ACCEPTED = re.compile(
    r"\b(?:submitted|submission|under review|in review|review(?:ing)? at|preprint|rejected|withdrawn from|prepar|to be submitted|"
    r"challenge|competition|template|format|style|extended version of|extension of|journal version|based on|ARR|tutorial|"
    r"(?:doctoral|phd) (?:consortium|symposium)|demo)\b",
    re.IGNORECASE,
)
_WORKSHOP = re.compile(r"workshop|\bWS\b|CVPRW|ICCVW|ECCVW|WACVW|ICMLW", re.IGNORECASE)
_ACCEPTED_JOURNAL = re.compile(
    r"\b(?i:accepted|to appear|published|publication|appears?)\b(?:\s+(?:by|at|in|to|for|as|publication|the|a|an|journal))+\s+"
    r"(?P<name>(?:IEEE|ACM)\s+(?:Transactions|Journal|Robotics|Signal)\b[^.,;:()\[\]\d]*|(?:[A-Z][\w&-]+\s+)*(?:Journal|Letters)"
    r"\b[^.,;:()\[\]\d]*|(?:Nature|Science|Scientific)\s+(?:[A-Z]\w+)(?:\s+[A-Z]\w+)*|Neural Networks|Pattern Recognition|"
    r"(?:Medical Image Analysis|Information Fusion|Neurocomputing|Knowledge-Based Systems))",
)
_YEAR = re.compile(r"\b(?:19|20)\d{2}\b")
_CONFERENCE_WORDS = re.compile(
    r"\b(?:proc(?:eedings|\.)?|conference|conf\.|workshop|symposium|meeting|advances in neural|lecture notes|findings of)\b",
    re.IGNORECASE,
)
_JOURNAL_PARTS = re.compile(
    r"(?P<name>\D{4,}?),?\s*(?:vol(?:ume|\.)?\s*)?(?P<volume>\d{1,4})(?:\s*\((?P<number>\d{1,3})\)|\s*,\s*no\.?\s*(?P<no>\d{1,3}))?"
    r"(?:\s*[,:]\s*(?:pp?\.?\s*)?(?P<pages>\w?\d+(?:\s*[-–]+\s*\w?\d+)?))?\s*,?\s*(?:\(?(?P<year>(?:19|20)\d{2})\)?)?\.?"
)


def published_venue(journal_ref: str, comments: str) -> Venue | None:
    """Venue of the published version: from the journal reference, else from an unambiguous comment; `None` if unknown.

    A comment counts if one of its clauses has a known venue with "accepted", "to appear" or similar, or is a known venue and its
    year alone; never if it mentions a submission, a review, a challenge or another version.
    """
    if journal_ref.strip() and not re.match(r"\s*arxiv|\s*corr\b", journal_ref, re.IGNORECASE):
        return _from_journal_ref(" ".join(journal_ref.split()))
    for clause in re.split(r"[.;](?:\s|$)|\n|,\s+(?=(?:code|project|\d+ pages)\b)", comments):
        if clause and (found := _from_comment(clause)):
            return found
    return None


def _from_journal_ref(text: str) -> Venue:
    years = _YEAR.findall(text)
    year = int(years[-1]) if years else None
    acronym = _ACRONYM.search(text)
    if _CONFERENCE_WORDS.search(text) or (acronym and _NAMES.get(" ".join(acronym["name"].upper().split())) in _CONFERENCES):
        return Venue(text, "conference", year)
    parts = _JOURNAL_PARTS.fullmatch(text)
    if parts is None:
        return Venue(text, "journal", year)
    pages = re.sub(r"\s*[-–]+\s*", "–", parts["pages"] or "")
    return Venue(parts["name"].strip(" ,"), "journal", year, parts["volume"], parts["number"] or parts["no"] or "", pages)


def _from_comment(clause: str) -> Venue | None:
    if _NOT_ACCEPTED.search(clause):
        return None
    workshop = _WORKSHOP.search(clause) is not None
    for match in _ACRONYM.finditer(clause):
        name = _NAMES[" ".join(match["name"].upper().split())]
        if name.upper() == name and match["name"] != name and match["name"].casefold() in {"chi", "www", "tip", "rss", "acl"}:
            continue  # in lower case these are ordinary words
        year = _full_year(match["year"] or match["short"])
        if not (_ACCEPTED.search(clause) or (year and _is_venue_only(clause, match))):
            continue
        if year is None and (near := _YEAR.search(clause)):
            year = int(near[0])
        if name in _JOURNALS and not workshop:
            return Venue(_JOURNALS[name], "journal", year)
        findings = re.search(r"\bfindings\b", clause, re.IGNORECASE)
        full = ("Findings of the " if findings else "") + _CONFERENCES[name] + (" Workshops" if workshop else "")
        return Venue(full.replace("the The ", "the "), "conference", year)
    journal = None if workshop else _ACCEPTED_JOURNAL.search(clause)
    if journal:
        years = _YEAR.findall(clause)
        return Venue(" ".join(journal["name"].split()), "journal", int(years[-1]) if years else None)
    return None


def _is_venue_only(clause: str, match: re.Match[str]) -> bool:
    """True if the clause is venue and year with little else: `CVPR 2025`, `ICCV 2025 (main conference), 14 pages`."""
    rest = (clause[: match.start()] + " " + clause[match.end() :]).casefold()
    rest = re.sub(r"\d+\s*(?:pages?|figures?|tables?|pp)\b|https?://\S+", " ", rest)
    words = re.findall(r"[a-z]{3,}", rest)
    known = {"main", "conference", "findings", "track", "paper", "long", "short", "pages", "figures", "workshop", "workshops"}
    known |= {
        "the",
        "and",
        "with",
        "code",
        "project",
        "page",
        "appendix",
        "supplementary",
        "material",
        "including",
        "ieee",
        "cvf",
    }
    known |= {"proceedings", "industry", "datasets", "benchmarks", "references"}
    return set(words) <= known


def _full_year(text: str | None) -> int | None:
    if not text:
        return None
    return int(text) if len(text) == 4 else 2000 + int(text)
