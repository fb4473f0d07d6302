"""Exit codes of the command line, and which one a list of problems deserves.

0 done, 1 some items failed, 2 the spec or the call is wrong, 3 the environment is.
"""

from __future__ import annotations

from collections.abc import Iterable

DONE = 0
SOME_FAILED = 1
SPEC_OR_CALL = 2
ENVIRONMENT = 3


def code_for(codes: Iterable[str]) -> int:
    """The exit code for problem codes such as `E201`; warnings (`W…`) count for nothing.

    Only environment problems (E8xx) give 3; as soon as something in the spec or the call is wrong, 2
    wins, for that is what the user can mend first.
    """
    errors = [code for code in codes if code.startswith("E")]
    if not errors:
        return DONE
    return ENVIRONMENT if all(code.startswith("E8") for code in errors) else SPEC_OR_CALL
