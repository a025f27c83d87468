"""``headpose doctor``: check the installation."""

from __future__ import annotations

import argparse

_MARK = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments: ``headpose doctor`` has none."""


def run(args: argparse.Namespace) -> int:
    """Print the findings and return the exit status: 1 if one of them is a problem."""
    from headpose import doctor, streams

    streams.silence_codecs()
    findings = doctor.examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{_MARK[finding.status]}  {finding.subject.ljust(width)}  {finding.detail}")
    return int(any(finding.status == "problem" for finding in findings))
