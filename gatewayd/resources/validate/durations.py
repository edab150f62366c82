"""What durations, percentages and regular expressions must satisfy (semantics 19.5, 19.6)."""

from functools import lru_cache

import re2

from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import Percent

#: Istio's limit; also what keeps the compiled pattern small.
MAX_REGEX_CHARS = 1024


def check_duration(seconds: float | None, path: Path, out: Notes) -> None:
    """At least one millisecond, and no finer than that."""
    if seconds is None:
        return
    if seconds < 0.001:
        out.error(path, "a duration must be at least 1ms")
    elif abs(seconds * 1000 - round(seconds * 1000)) > 1e-6 * max(1.0, seconds):
        out.error(path, "a duration may not be finer than a millisecond")


def check_percentage(percent: Percent | None, path: Path, out: Notes) -> None:
    """0 to 100, and not smaller than Envoy can count."""
    if percent is None:
        return
    value = percent.value
    if not 0 <= value <= 100:
        out.error((*path, "value"), f"a percentage must be from 0 to 100, not {value:g}")
    elif 0 < value < 0.0001:
        out.error((*path, "value"), f"{value:g} is below the smallest percentage, 0.0001")


def check_regex(pattern: str, path: Path, out: Notes) -> None:
    """RE2 syntax, at most 1024 characters, not empty."""
    if problem := regex_problem(pattern):
        out.error(path, problem, code="IST0122")


@lru_cache(maxsize=4096)
def regex_problem(pattern: str) -> str:
    """Return what is wrong with a regular expression, empty if nothing."""
    if not pattern:
        return "a regular expression may not be empty"
    if len(pattern) > MAX_REGEX_CHARS:
        return f"a regular expression may have at most {MAX_REGEX_CHARS} characters, not {len(pattern)}"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "syntax error"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        return f'"{pattern[:80]}" is not a regular expression in RE2 syntax: {text}'
    return ""
