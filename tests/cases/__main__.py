"""``python -m tests.cases FILE...``: play case files against the real process and print what differs."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.cases.loading import Case, CaseFileError, load_cases
from tests.cases.play import DEFAULT_JOBS, CallResult, play_cases
from tests.cases.scope import DEFAULT_FILE, Scope, ScopeError
from tests.cases.vocabulary import unknown_words

EXIT_FAILED, EXIT_USAGE = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 all in scope passed, 1 some failed, 2 the files could not be read."""
    options = _options(arguments)
    try:
        cases = [case for file in options.files for case in load_cases(file)]
        scope = Scope.load(options.scope)
    except (CaseFileError, ScopeError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    for entry in scope.stale(cases):
        print(f"warning: {options.scope.name} names what is not there: {entry}", file=sys.stderr)

    for word in unknown_words(cases):
        print(f"warning: nothing is done with {word}", file=sys.stderr)

    def report(results: list[CallResult]) -> None:
        for result in results:
            if result.verdict == "failed" or options.verbose:
                print(format_result(result), flush=True)

    results = asyncio.run(_interruptible(options, cases, scope, report))
    counts = Counter(result.verdict for result in results)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['out of scope']} out of scope")
    return EXIT_FAILED if counts["failed"] else 0


def format_result(result: CallResult) -> str:
    """``file case/call: verdict`` and each difference indented below it."""
    title = f"{result.file.name} {result.case}/{result.call}: {result.verdict}"
    if result.verdict == "out of scope":
        return f"{title} ({'; '.join(result.notes)})"
    return "\n".join([title, *("    " + note.replace("\n", "\n      ") for note in result.notes)])


async def _interruptible(
    options: argparse.Namespace, cases: list[Case], scope: Scope, report: Callable[[list[CallResult]], None]
) -> list[CallResult]:
    task = asyncio.current_task()
    assert task is not None
    # A terminated runner still stops its processes: cancellation runs the finally blocks.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await play_cases(
        cases, scope, jobs=options.jobs, only=options.only, ignore_scope=options.ignore_scope, report=report
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="case files, golden or routing examples")
    parser.add_argument(
        "-k", dest="only", default="", metavar="SUBSTRING", help="only calls whose case/call holds it"
    )
    parser.add_argument("-j", dest="jobs", type=int, default=DEFAULT_JOBS, help="processes at once")
    parser.add_argument(
        "-v", dest="verbose", action="store_true", help="print passed and out-of-scope calls too"
    )
    parser.add_argument("--scope", type=Path, default=DEFAULT_FILE, help="the file of what is out of scope")
    parser.add_argument("--ignore-scope", action="store_true", help="play what is out of scope too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
