"""How the command line tells of a mistake."""

from __future__ import annotations

import re


def assert_error(result, message):
    """One line on stderr, nothing but it, and status 1."""
    status, out, err = result
    assert status == 1
    assert out == ""
    assert re.fullmatch(r"headpose: error: [^\n]+\n", err), err
    assert re.search(message, err), err
