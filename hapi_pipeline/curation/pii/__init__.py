"""Find personal data in text: what kind, where and how sure, never the value itself.

A scan has two stages. One pass of an RE2 set over the text says which kinds of personal data are possible
at all;
only those detectors then look closely, with checksums (Luhn, ISO 7064 mod 97-10, national check digits from
`python-stdnum`), numbering plans (`phonenumbers`) and the words around a candidate. A text is

* rejected when something other than a name is found with a score of at least `REJECT_THRESHOLD`,
* reviewed by a person when only names or weak findings are there,
* kept otherwise.

`scan_text` runs every detector and is the definition; `scan_texts` is the fast way to the same answer.
"""

from .files import scan_file
from .model import DETECTOR_VERSION, REJECT_THRESHOLD, Decision, Finding, decide
from .scan import scan_text, scan_texts

__all__ = [
    "DETECTOR_VERSION",
    "REJECT_THRESHOLD",
    "Decision",
    "Finding",
    "decide",
    "scan_file",
    "scan_text",
    "scan_texts",
]
