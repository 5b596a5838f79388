"""What a script of an agent runs under, inside the sandbox: the toolbox on the path, and nothing else of the machine.

Run as `python -I -S runner.py TOOLBOX SCRIPT`. Standard library only.
"""

import builtins
import sys
import traceback
from types import TracebackType


def _without_us(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


def main() -> None:
    """Run the script as the main program."""
    toolbox, script = sys.argv[1:3]
    sys.argv = [script]
    sys.path[:0] = [".", "scratch"]
    sys.path.append(toolbox)
    sys.excepthook = _without_us
    vars(builtins).update(
        exit=sys.exit, quit=sys.exit
    )  # `site`, which makes these, would bring in the machine's packages
    with open(script, encoding="utf-8") as file:  # noqa: PTH123
        source = file.read()
    names = {"__name__": "__main__", "__file__": script, "__builtins__": builtins}
    exec(compile(source, script, "exec"), names)  # noqa: S102  (this is the untrusted program, in its sandbox)


if __name__ == "__main__":
    main()
