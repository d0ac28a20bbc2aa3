#!/usr/bin/env python3
"""Reads metrics of standard input with the strict parser of prometheus_client, and prints the names of the families."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name)
