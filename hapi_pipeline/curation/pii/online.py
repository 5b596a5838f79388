"""Personal profiles, messenger links and handles. Public company and brand pages are not personal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .detector import Detector
from .model import Finding
from .page import Page, pattern, words

_HANDLE = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{2,38}"
_MESSENGER = r"(?:skype|telegram|wechat|weixin|snapchat|discord|viber|icq|zalo)"
# Words that are a messenger's name only sometimes ("the line is drawn") need "id" or an at sign.
_AMBIGUOUS_MESSENGER = r"(?:line|teams|signal|imo|kik)"
_NETWORK = (
    r"(?:instagram|insta|ig|twitter|tweeter|tiktok|facebook|fb|snapchat|telegram|skype|discord|"
    r"threads|mastodon)"
)
_INTRODUCED = r"(?:\s{0,2}(?:id|username|user name|name|handle|contact|account|me)){0,2}"

# Links that lead to one person. Company pages (linkedin.com/company, brand pages on networks) are public by
# purpose.
_LINKS = (
    r"(?i)linkedin\.com/(?:in|pub)/[^\s/?#<>\"')\],]{2,100}",
    r"(?i)(?:t(?:elegram)?\.me|telegram\.dog)/[a-z0-9_+]{4,40}",
    r"(?i)wa\.me/(?:\+?[0-9]{6,17}|qr/[a-z0-9]+|message/[a-z0-9]+)",
    r"(?i)whatsapp\.com/send/?\?phone=\+?[0-9]{6,17}",
    r"(?i)\b(?:m\.me|join\.skype\.com/invite|signal\.me/#p|line\.me/ti/p|"
    r"discord(?:app)?\.com/users|wechat\.com/u|"
    r"zalo\.me|viber\.me)/[^\s<>\"')\],]{3,60}",
    r"(?i)facebook\.com/(?:profile\.php\?id=[0-9]{5,20}|people/[^\s<>\"')]{3,80})",
    r"(?i)(?:skype|viber|tg|whatsapp|facetime|xmpp|msnim):(?://)?[a-z0-9][^\s<>\"')\],]{3,"
    r"60}\?(?:chat|call|add|domain|number)",
    r"live:\.?cid\.[0-9a-f]{8,20}",
)
_NOT_A_PERSON = re.compile(
    r"(?:t|telegram)\.(?:me|dog)/(?:s|share|joinchat|addstickers|proxy|iv|botfather|c)(?:\W|$)", re.IGNORECASE
)

# "skype: some.one", "my telegram id is some_one", "on Skype (some.one)"
_LABELLED = (
    rf"(?i)\b({_MESSENGER}){_INTRODUCED}\s{{0,2}}(?:[:=\-]|\bis\b|[(\[]|@)[\s:@]{{0,"
    rf"3}}({_HANDLE}(?:#[0-9]{{4}})?)"
)
_THEN_ID = rf"(?i)\b({_MESSENGER})\b[^\n]{{0,24}}\bmy (?:id|username|handle|nick\w*) ?(?:is|:)\s?@?({_HANDLE})"
_AT_HANDLE = (
    rf"(?i)\b(?:my|our|me|us|dm|pm|message|ping|tweet|follow|contact|find|add)\b[^\n@]{{0,"
    rf"24}}\b({_NETWORK}|tweet)\b[^\n@\w]{{0,3}}(?:is|at|me|on|:|id|handle|-| )*[^\n@\w]{{0,"
    rf"3}}@({_HANDLE})"
)
_HANDLE_ON = (
    rf"(?i)\b(?:dm|pm|message|ping|text|contact|add|find|reach|hit)\b[^\n@]{{0,"
    rf"16}}@({_HANDLE})\s(?:on|in|via)\s({_NETWORK}|{_MESSENGER})\b"
)
_AMBIGUOUS = (
    rf"(?i)\b({_AMBIGUOUS_MESSENGER})\s{{0,2}}(?:id\s{{0,2}}(?:[:=\-]|is\b)?\s{{0,2}}@?|"
    rf"[:=\-]?\s{{0,2}}@)({_HANDLE})"
)
_TWEET_AT = rf"(?i)\btweet(?:s|ing)?\s(?:at|me|to|as|from|under)?[^\n@\w]{{0,3}}@({_HANDLE})"
_DISCORD_TAG = r"(?i)\bdiscord\b[^\n]{0,32}?\b([a-z0-9_.]{2,32})#[0-9]{4}\b"
_HANDLES = (_LABELLED, _THEN_ID, _AT_HANDLE, _HANDLE_ON, _AMBIGUOUS, _TWEET_AT, _DISCORD_TAG)

_LINK_PATTERNS = tuple(pattern(source) for source in _LINKS)
_HANDLE_PATTERNS = tuple(pattern(source) for source in _HANDLES)

_NOT_A_HANDLE = words(
    """
    id name username handle and or the for not please call chat group groups channel bot bots api
    app apps integration account video meeting meetings message messages messenger server
    communication available preferred only required number zoom slack email whatsapp telegram skype
    discord interview yes no must will can need should http https www based like etc is are on to in
    with via online ready optional if we you your our this that also support marketing community bio
    ads page clone user users who how what when where here there link links invite a an any all one
    very now just being used using not-required non tbd none n/a na everyone all admin admins
    """
)


def _find_profiles(page: Page) -> Iterator[Finding]:
    for compiled in _LINK_PATTERNS:
        for match in page.matches(compiled):
            if not _NOT_A_PERSON.match(match.group()) and not page.char_before(match.start()).isalnum():
                yield Finding("profile_link", match.start(), match.end(), 0.9)
    for compiled in _HANDLE_PATTERNS:
        for match in page.matches(compiled):
            if _is_personal_handle(page, match):
                yield Finding("profile_link", match.start(), match.end(), 0.7)


def _is_personal_handle(page: Page, match: Any) -> bool:
    words = [group for group in match.groups() if group]
    names = [
        w for w in words if not re.fullmatch(rf"{_NETWORK}|{_MESSENGER}|{_AMBIGUOUS_MESSENGER}|tweet", w, re.IGNORECASE)
    ]
    if not names:
        return False
    handle = names[-1].lower().rstrip(".-")
    if len(handle) < 3 or handle.split("#")[0] in _NOT_A_HANDLE:
        return False
    has_mark = "@" in match.group() or "#" in match.group() or "live:" in match.group().lower()
    looks_made_up = bool(re.search(r"[0-9_.\-]", handle.rstrip(".")))
    sure = has_mark or looks_made_up or re.search(r"\b(?:id|username|handle|my)\b", match.group().lower())
    return bool(sure or (re.search(r"[:(]", match.group()) and not _starts_sentence(page, match)))


def _starts_sentence(page: Page, match: Any) -> bool:
    """`Skype: Reliable connection needed` goes on after the word; a handle ends there."""
    return bool(re.match(r" [a-z]{2,}", page.after(match.end(), 4)))


# Without the counted repetitions of the patterns, which would blow up the automaton of the first stage.
_PROFILE_TRIGGERS = (
    r"(?i)linkedin\.com/(?:in|pub)/",
    r"(?i)\b(?:t(?:elegram)?\.me|telegram\.dog|wa\.me|m\.me|zalo\.me|viber\.me|signal\.me|line\.me)/",
    r"(?i)whatsapp\.com/send",
    r"(?i)(?:discord(?:app)?\.com/users|wechat\.com/u|facebook\.com/(?:profile|people)|join\.skype\.com)",
    r"(?i)(?:tg|whatsapp|facetime|xmpp|msnim):",
    rf"(?i){_MESSENGER}",
    r"live:\.?cid\.",
    rf"(?i)\b{_AMBIGUOUS_MESSENGER}\s{{0,2}}id",
    rf"(?i)\b(?:{_NETWORK}|tweet)[^\n@]*@",
    r"@[A-Za-z0-9_.\-]+\s(?i:on|in|via)\s",
    rf"(?i)\b{_AMBIGUOUS_MESSENGER}\s{{0,2}}[:=\-]?\s{{0,2}}@",
)

PROFILE_LINK = Detector("profile_link", _PROFILE_TRIGGERS, _find_profiles)
