#!/usr/bin/env python3
"""Reads the documents of the news with programs that are not ours, and says what is wrong with them.

Standard input is JSON: `documents` by path, and `occurrences`, the starts and ends of each window in seconds, which the
expansion of the calendar is compared with, `from` one instant `until` another.
"""

import json
import re
import sys
from datetime import datetime, timezone

import feedparser
import icalendar
import recurring_ical_events

STATES = "Scheduled|In progress|Verifying|Completed|Investigating|Identified|Monitoring|Resolved"
NOTE = ["DTSTAMP", "DTSTART", "DTEND", "UID", "SUMMARY", "ORGANIZER", "SEQUENCE", "X-MAINTNOTE-PROVIDER",
        "X-MAINTNOTE-ACCOUNT", "X-MAINTNOTE-MAINTENANCE-ID", "X-MAINTNOTE-OBJECT-ID", "X-MAINTNOTE-IMPACT",
        "X-MAINTNOTE-STATUS"]

wrong = []


def check(is_right, *words):
    if not is_right:
        wrong.append(" ".join(str(word) for word in words))


def feed(path, text):
    parsed = feedparser.parse(text.encode())
    check(not parsed.bozo, path, parsed.get("bozo_exception"))
    check(parsed.feed.get("title") and parsed.feed.get("link"), path, "has no title or link")
    ids = [entry.id for entry in parsed.entries]
    check(ids and len(ids) == len(set(ids)), path, "has no entries, or an id twice")
    for entry in parsed.entries:
        html = entry.content[0].value if "content" in entry else entry.summary
        state = re.search("<strong>(.*?)</strong>", html)
        check(state and re.fullmatch(STATES, state[1]), path, entry.title, "has no state")
        check("published_parsed" in entry and entry.link.startswith("http"), path, entry.title, "has no date or link")
        check("Incident/" not in entry.id or re.search("Incident/([A-Za-z0-9]+)$", entry.id), path, entry.id)


def seconds(moment):
    return int(moment.astimezone(timezone.utc).timestamp())


def calendar(path, text, occurrences, start, until):
    parsed = icalendar.Calendar.from_ical(text)
    for event in parsed.walk("VEVENT"):
        check(not event.errors, path, event.get("UID"), event.errors)
        if "X-MAINTNOTE-PROVIDER" in event:
            # A series whose first night is odd has a DURATION.
            missing = [name for name in NOTE if name not in event and not (name == "DTEND" and "DURATION" in event)]
            check(not missing, path, event["UID"], "lacks", missing)
    found = {}
    span = (datetime.fromtimestamp(start, timezone.utc), datetime.fromtimestamp(until, timezone.utc))
    for event in recurring_ical_events.of(parsed).between(*span):
        times = (seconds(event["DTSTART"].dt), seconds(event.end))
        if start <= times[0] < until:
            found.setdefault(str(event["UID"]).split("@")[0], []).append(times)
    for window, expected in occurrences.items():
        expected = [tuple(pair) for pair in expected]
        own = sorted(found.get(window, []))
        if own != expected:
            differ = sorted(set(own) ^ set(expected))[:4]
            told = [[datetime.fromtimestamp(at, timezone.utc).isoformat() for at in pair] for pair in differ]
            check(False, path, window, f"{len(own)} occurrences for {len(expected)}:", told)


def main():
    told = json.load(sys.stdin)
    for path, text in told["documents"].items():
        if path.endswith((".atom", ".rss")):
            feed(path, text)
        elif path.endswith(".ics"):
            calendar(path, text, told["occurrences"], told["from"], told["until"])
    print("\n".join(wrong) or "ok")


main()
