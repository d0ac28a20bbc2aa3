#!/usr/bin/env python3
"""Writes expected.txt: recurrence rules, and what python-dateutil 2.9.0 makes of them.

dateutil computes local times, and zoneinfo makes instants of them, as `src/plan/flags/every.rs` does with its own code
and jiff. Both are used with local times alone, since dateutil would not move a time that does not exist. Needs
python-dateutil; the test that reads the file needs nothing: `cargo test --lib recurrence_is_that_of_dateutil`.

A line: zone, start, rule, number of starts until 2031 (at most 100), a sum over them, the first three, and the last.
"""

import random
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Australia/Sydney", "America/Santiago",
    "Asia/Kathmandu", "Africa/Casablanca", "Europe/Dublin", "America/Havana", "Pacific/Chatham", "Asia/Gaza",
]
END = datetime(2031, 1, 1)
MOST = 100

FIXED = """
FREQ=YEARLY
FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29
FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
FREQ=YEARLY;BYDAY=20MO
FREQ=YEARLY;BYDAY=-1FR
FREQ=YEARLY;BYDAY=53SU
FREQ=YEARLY;BYYEARDAY=1,100,-1
FREQ=YEARLY;BYYEARDAY=366
FREQ=YEARLY;INTERVAL=2;BYMONTH=1,7;BYDAY=MO
FREQ=YEARLY;BYMONTHDAY=13;BYDAY=FR
FREQ=YEARLY;BYMONTH=11;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=TU
FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1
FREQ=YEARLY;BYMONTH=6;BYDAY=SA,SU;BYSETPOS=2,-2
FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1
FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1
FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3
FREQ=MONTHLY;BYMONTHDAY=-1
FREQ=MONTHLY;BYMONTHDAY=29,30,31
FREQ=MONTHLY;BYMONTHDAY=31;INTERVAL=5
FREQ=MONTHLY;BYDAY=5SU
FREQ=MONTHLY;BYDAY=2TU,-1SU
FREQ=MONTHLY;BYMONTH=3,10;BYDAY=-1SU
FREQ=MONTHLY;BYDAY=SU;BYSETPOS=-1;BYHOUR=1,2,3
FREQ=MONTHLY;BYMONTHDAY=1,15;BYHOUR=2,14;BYSETPOS=2,-1
FREQ=MONTHLY;INTERVAL=18;BYMONTHDAY=10,11
FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO
FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU
FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SA;WKST=WE
FREQ=WEEKLY;BYMONTH=3,10,11
FREQ=WEEKLY;BYDAY=SU;BYHOUR=1,2,3;BYMINUTE=0,30
FREQ=WEEKLY;INTERVAL=4;BYDAY=SU
FREQ=DAILY
FREQ=DAILY;INTERVAL=10;COUNT=50
FREQ=DAILY;BYMONTH=1
FREQ=DAILY;BYMONTHDAY=-1,1
FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR
FREQ=DAILY;BYMONTH=3,10;BYDAY=SU;BYHOUR=0,1,2,3
FREQ=DAILY;BYHOUR=2,22;BYSETPOS=-1
FREQ=DAILY;INTERVAL=7;UNTIL=20280101T000000
FREQ=HOURLY;INTERVAL=6
FREQ=HOURLY;INTERVAL=7
FREQ=HOURLY;INTERVAL=49
FREQ=HOURLY;BYHOUR=1,2,3;BYDAY=SU
FREQ=HOURLY;INTERVAL=2;BYMONTH=3,10,11;BYDAY=SU
FREQ=HOURLY;INTERVAL=5;BYMINUTE=0,20,40;BYMONTHDAY=-1
""".split()


def some(dice, values, most):
    return sorted(dice.sample(values, dice.randint(1, most)))


def random_rule(dice):
    freq = dice.choice(["YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "WEEKLY", "DAILY", "HOURLY"])
    parts = [f"FREQ={freq}"]
    days = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    join = lambda values: ",".join(str(value) for value in values)
    add = lambda name, values, most: parts.append(f"{name}={join(some(dice, values, most))}")
    if dice.random() < 0.5:
        parts.append(f"INTERVAL={dice.randint(1, 6 if freq != 'HOURLY' else 60)}")
    if dice.random() < 0.3:
        add("BYMONTH", list(range(1, 13)), 4)
    if freq != "WEEKLY" and dice.random() < 0.4:
        add("BYMONTHDAY", [n for n in range(-31, 32) if n], 5)
    if freq in ("YEARLY", "HOURLY") and dice.random() < 0.2:
        add("BYYEARDAY", [n for n in range(-366, 367) if n], 6)
    if dice.random() < 0.6:
        chosen = some(dice, days, 4)
        if freq in ("YEARLY", "MONTHLY") and dice.random() < 0.5:
            most = 5 if freq == "MONTHLY" or any(part.startswith("BYMONTH=") for part in parts) else 53
            chosen = [f"{dice.choice([1, 2, -1, -2, most, -most])}{day}" for day in chosen]
        parts.append(f"BYDAY={join(chosen)}")
    if dice.random() < 0.3:
        add("BYHOUR", list(range(24)), 3)
    if dice.random() < 0.15:
        add("BYMINUTE", list(range(0, 60, 5)), 2)
    if freq in ("YEARLY", "MONTHLY", "DAILY") and dice.random() < 0.35:
        add("BYSETPOS", [1, 2, 3, 5, -1, -2, -4], 2)
    if freq in ("WEEKLY", "YEARLY") and dice.random() < 0.4:
        parts.append(f"WKST={dice.choice(days)}")
    return ";".join(parts)


def line(rule, zone, start):
    # An end makes dateutil stop; without one a rule that never comes would keep it busy until the year 9999.
    ended = rule if "COUNT" in rule or "UNTIL" in rule else f"{rule};UNTIL={END:%Y%m%dT%H%M%S}"
    try:
        local = rrulestr(ended, dtstart=start)
    except ValueError:  # an hour of BYHOUR that no interval reaches
        return None
    tz = ZoneInfo(zone)
    instants = set()
    for planned in local:
        if planned >= END or len(instants) >= MOST + 50:
            break
        instants.add(planned.replace(tzinfo=tz).astimezone(timezone.utc))
    instants = sorted(instants)[:MOST]
    if not instants:
        return None
    total = sum(int(at.timestamp()) * (index + 1) for index, at in enumerate(instants)) % (1 << 32)
    shown = [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in [*instants[:3], instants[-1]]]
    return " ".join([zone, f"{start:%Y%m%dT%H%M%S}", rule, str(len(instants)), str(total), *shown])


def main():
    dice = random.Random(13)
    starts = [datetime(2026, 1, 25, 2, 30), datetime(2026, 3, 1, 0, 0), datetime(2025, 10, 31, 23, 15)]
    lines = []
    for index, rule in enumerate(FIXED):
        for zone in (ZONES[index % len(ZONES)], ZONES[(index * 5 + 1) % len(ZONES)], "Europe/Berlin"):
            lines.append(line(rule, zone, starts[index % len(starts)]))
    while len(lines) < 700:
        start = datetime(2026, dice.randint(1, 12), dice.randint(1, 28), dice.choice([0, 1, 2, 3, 22]), dice.choice([0, 30]))
        rule, zone = random_rule(dice), dice.choice(ZONES)
        found = line(rule, zone, start)
        if found and dice.random() < 0.15:
            found = line(f"{rule};COUNT={dice.randint(1, int(found.split()[3]))}", zone, start)
        lines.append(found)
    lines = sorted({line for line in lines if line})
    Path(__file__).with_name("expected.txt").write_text("\n".join(lines) + "\n")
    print(len(lines), "rules")


main()
