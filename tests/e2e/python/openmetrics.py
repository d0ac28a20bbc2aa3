#!/usr/bin/env python3
"""Reads metrics of standard input with a parser of prometheus_client, and prints the names of the families.

The argument names the format: openmetrics, whose parser is strict, or text."""

import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

read = parser if sys.argv[1:] == ["text"] else openmetrics

for family in read.text_string_to_metric_families(sys.stdin.read()):
    print(family.name)
