"""The threads of the event loop that makes the calls, and what is done without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_at_once: ContextVar[bool] = ContextVar("at_once", default=False)


@contextmanager
def at_once(really: bool) -> Iterator[None]:
    """Within this block, work that is handed to a `Threads` executor in a copy of the context is done where it stands.

    litellm has each request put together by a thread, although for most providers nothing is waited for there; with
    hundreds of calls at once the change of threads costs more than the work.
    """
    before = _at_once.set(really)
    try:
        yield
    finally:
        _at_once.reset(before)


class Threads(ThreadPoolExecutor):
    """Threads that honour `at_once`."""

    def submit(self, work: Callable[..., T], /, *given: Any, **named: Any) -> Future[T]:
        """Have work done by a thread, or do it."""
        context = getattr(getattr(work, "func", None), "__self__", None)  # of functools.partial(context.run, …)
        if not isinstance(context, Context) or not context.get(_at_once, False):
            return super().submit(work, *given, **named)
        done: Future[T] = Future()
        try:
            done.set_result(work(*given, **named))
        except BaseException as error:
            done.set_exception(error)
        return done
