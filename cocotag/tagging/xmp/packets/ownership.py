"""Who owns each keyword of a packet that other programs have written since cocotag did. Does not depend on XML or files.

cocotag's notes say which keywords it gave, in which fields, which entries it copied into fields that it began, and what each
field held of the user's. Programs write some fields and leave others: darktable and Lightroom write dc:subject and
lr:hierarchicalSubject, Immich writes digiKam:TagsList alone, digiKam writes all of them. So one field alone does not tell what
happened. The rules:

- A keyword of cocotag's was deleted if a field that has other entries lacks it, or if all its fields lack it. A field that is
  wholly gone says nothing as long as another has the keyword.
- If all of cocotag's keywords are missing from dc:subject and lr:hierarchicalSubject, and digiKam:TagsList has them all, then a
  program has written its own database over them. They are put back; if they are missing again, they were deleted.
- A level above a keyword of cocotag's in dc:subject is cocotag's: darktable writes every level there when it imports. It is the
  user's if it was there before, unless it was deleted in lr:hierarchicalSubject, or if a keyword of the user's has it in a
  field with a hierarchy.
- A single word in a field with a hierarchy that is also the last level of a keyword of cocotag's is cocotag's, if the sidecar
  was made of one with that word in dc:subject: darktable reads both fields there, and shows the keyword twice.
- A word of cocotag's in dc:subject is the user's too once they have added it in lr:hierarchicalSubject, under whatever levels:
  programs write both fields, and the word only once.
- A copy follows its source: it goes when the entry goes that it was made of. A copy that was deleted is not made again there.
- A field that repeats others (`MIRRORS`) owns nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cocotag.tagging.xmp.packets.keywords import (
    DIGIKAM,
    IPTC,
    LIGHTROOM,
    SUBJECT,
    TWIN,
    WRITTEN,
    Entry,
    Field,
    fold,
    of_field,
    words_of,
)
from cocotag.tagging.xmp.packets.record import Added, Record

_SHARED = (SUBJECT, LIGHTROOM)
"""The fields that a program with a database writes together."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What in a packet is whose.

    Attributes:
        ours: Field prefix and entry of everything to remove before the next update: keywords, copies, levels.
        levels: The levels in dc:subject among them.
        refused: Keywords that were deleted since cocotag wrote.
        put_back: Keywords that a database was written over since.
        gone: Field prefix and folded word of keywords of the user's and copies that were deleted there, now or earlier.
    """

    ours: tuple[Entry, ...] = ()
    levels: tuple[str, ...] = ()
    refused: tuple[Added, ...] = ()
    put_back: tuple[Added, ...] = ()
    gone: frozenset[Entry] = frozenset()


def judge(now: Mapping[Field, Sequence[str]], record: Record) -> Ownership:
    """Find the owner of each entry of a packet that was changed since cocotag wrote its notes.

    Args:
        now: The entries of `WRITTEN` and `MIRRORS`, and of `IPTC` if it is updated too.
        record: cocotag's notes, of this packet or of the one that it was made of.
    """
    twins = [entry for field in now if not field.flat for entry in _twins(field, now[field], record)]
    now = {field: _without(entries, field, twins) for field, entries in now.items()}
    words = {field: words_of(field, entries) for field, entries in now.items()}
    refused, put_back = _missing(words, record)
    given = [(field.prefix, field.spell(one.keyword)) for one in record.added for field in now if field.prefix in one.fields]
    taken = _taken(_without(now[LIGHTROOM], LIGHTROOM, [*given, *record.copied]), record)
    given = [(prefix, entry) for prefix, entry in given if prefix != SUBJECT.prefix or fold(entry) not in taken]
    own = {field: _without(now[field], field, [*given, *record.copied]) for field in WRITTEN}
    levels = _levels(own, now, record)
    own[SUBJECT] = [entry for entry in own[SUBJECT] if entry not in levels]
    copies, gone = _copies(own, words, record, overwritten=bool(put_back))
    ours = (*given, *twins, *copies, *((SUBJECT.prefix, one) for one in levels))
    return Ownership(ours, levels, refused, put_back, gone)


def _taken(own: Sequence[str], record: Record) -> set[str]:
    """The words that the user has since added in lr:hierarchicalSubject: dc:subject has them once, for both."""
    return words_of(LIGHTROOM, own) - words_of(LIGHTROOM, of_field(LIGHTROOM, record.held))


def _missing(words: Mapping[Field, set[str]], record: Record) -> tuple[tuple[Added, ...], tuple[Added, ...]]:
    """The keywords that were deleted, and those that a database was written over."""
    deleted: list[Added] = []
    only_in_tags_list: list[Added] = []
    overwritten = True
    for added in record.added:
        word = fold(added.keyword[-1])
        places = [field for field in (*WRITTEN, IPTC) if field.prefix in added.fields and field in words]
        has = [field for field in places if word in words[field]]
        shared = [field for field in places if field in _SHARED]
        overwritten &= not any(field in has for field in shared)
        if shared and DIGIKAM in has and not any(field in has for field in shared):
            only_in_tags_list.append(added)
        if places and (not has or any(words[field] for field in places if field not in has)):
            deleted.append(added)
    if not overwritten:
        return tuple(deleted), ()
    returned = {fold(word) for word in record.returned}
    put_back = tuple(one for one in only_in_tags_list if fold(one.keyword[-1]) not in returned)
    return tuple(one for one in record.added if one in (*deleted, *only_in_tags_list) and one not in put_back), put_back


def _twins(field: Field, entries: Sequence[str], record: Record) -> list[Entry]:
    """The single words beside the same keywords of cocotag's with their levels, in a field with a hierarchy."""
    ours = {fold(one.keyword[-1]) for one in record.added if TWIN in one.fields and len(one.keyword) > 1}
    theirs = set(map(fold, of_field(field, record.held)))
    return [(field.prefix, entry) for entry in entries if fold(entry) in ours - theirs]


def _without(entries: Sequence[str], field: Field, unwanted: Sequence[Entry]) -> list[str]:
    """The entries that are left without some; one in the exact spelling goes before one in another case."""
    exact = Counter(entry for prefix, entry in unwanted if prefix == field.prefix)
    counts = Counter(fold(entry) for prefix, entry in unwanted if prefix == field.prefix)
    gone: set[int] = set()
    for number in sorted(range(len(entries)), key=lambda number: not exact[entries[number]]):
        if counts[fold(entries[number])]:
            counts[fold(entries[number])] -= 1
            gone.add(number)
    return [entry for number, entry in enumerate(entries) if number not in gone]


def _copies(
    own: Mapping[Field, Sequence[str]], words: Mapping[Field, set[str]], record: Record, *, overwritten: bool
) -> tuple[list[Entry], frozenset[Entry]]:
    """The copies in the packet that are still copies, and the words that were deleted in a field.

    Args:
        own: The entries of each field that cocotag neither gave nor copied.
        words: The words of each field.
        record: cocotag's notes.
        overwritten: A program has written its database over what the fields had.
    """
    copied = {field: of_field(field, record.copied) for field in WRITTEN}
    held = {field: words_of(field, of_field(field, record.held)) for field in WRITTEN}
    begun = [field for field in WRITTEN if field.prefix in record.begun]
    owned = {field: words_of(field, entries) for field, entries in own.items()}
    nothing_left = not any(words[field] for field in WRITTEN)
    deleted = {
        (field.prefix, word)
        for field in WRITTEN
        if (words[field] or nothing_left) and not (overwritten and field in _SHARED)
        for word in (held[field] | words_of(field, copied[field])) - words[field]
    }
    kept: list[Entry] = []
    orphans: set[Entry] = set()
    for field in begun:
        for entry in copied[field]:
            of_entry = words_of(field, [entry])
            if not of_entry & words[field]:
                continue
            sources = [one for one in WRITTEN if one is not field and of_entry & held[one]]
            alive = any(of_entry & owned[one] for one in WRITTEN)
            silent = sources and not any(words[one] for one in sources)
            if silent and not alive and any(of_entry & words[one] for one in _SHARED):
                owned[field] |= of_entry  # its source is wholly gone, which says nothing: now it is the user's own
                continue
            kept.append((field.prefix, entry))
            if not alive and (sources or any((one.prefix, word) in deleted for one in WRITTEN for word in of_entry)):
                orphans |= {(field.prefix, word) for word in of_entry}
    new = {word for field in WRITTEN for word in owned[field] - held[field]}
    earlier = {(prefix, word) for prefix, one in record.gone if (word := fold(one)) not in new}
    here = {(field.prefix, word) for field in WRITTEN for word in owned[field]}
    return kept, frozenset((earlier | deleted | orphans) - here)


def _levels(own: Mapping[Field, Sequence[str]], now: Mapping[Field, Sequence[str]], record: Record) -> tuple[str, ...]:
    """The entries of dc:subject that are levels above keywords or copies of cocotag's, and nobody else's."""
    copied = [keyword for field in WRITTEN for entry in of_field(field, record.copied) for keyword in field.read(entry)]
    above = {fold(level) for keyword in (*(one.keyword for one in record.added), *copied) for level in keyword[:-1]}
    if not above:
        return ()
    theirs = words_of(SUBJECT, of_field(SUBJECT, record.held))
    if now[LIGHTROOM]:  # what was deleted there is only a level in dc:subject
        theirs -= words_of(LIGHTROOM, of_field(LIGHTROOM, record.held)) - words_of(LIGHTROOM, own[LIGHTROOM])
    for field in (LIGHTROOM, DIGIKAM):
        theirs |= {fold(level) for entry in own[field] for keyword in field.read(entry) for level in keyword}
    return tuple(entry for entry in own[SUBJECT] if fold(entry) in above - theirs)
