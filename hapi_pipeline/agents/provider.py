"""One call to a model through litellm: bounded in time and in retries, and its outcome always typed."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hapi_pipeline.agents.executor import at_once
from hapi_pipeline.agents.pools import Gate, SetAsideError, StoppedError, Ticket, pause
from hapi_pipeline.agents.texts import redact, sound
from hapi_pipeline.registry import Model, Price
from hapi_pipeline.settings import UserError

_RESERVED = frozenset(
    [
        "model",
        "messages",
        "tools",
        "max_tokens",
        "max_completion_tokens",
        "num_retries",
        "max_retries",
        "timeout",
        "api_key",
        "api_base",
        "base_url",
        "stream",
        "n",
        "extra_headers",
        "mock_response",
    ]
)
_OWN_ENDPOINT = "hosted_vllm/"  # litellm's name for any address that speaks OpenAI's language
_REPEATABLE = (408, 409, 429, 200)  # 200: an answer that is not JSON, as a proxy on the way may give
_CHARACTERS_PER_TOKEN = 4  # for providers that report no usage, and before a call is made
_TOKENS_PER_PICTURE = 1500
_KEPT_TOOL_SIZES = 16
_MAX_TOKENS = 10**9  # of one call; what a provider reports beyond it is no count of tokens
MAX_REPLY_BYTES = 64 << 20
MAX_PACKED_REPLY_BYTES = 256 << 10  # of a compressed answer, which may grow a thousandfold
_TOO_LARGE = "the answer is larger than any model's reply"
_UNREADABLE = "Invalid response object"  # litellm's words for an answer that is JSON but no chat completion


@dataclass(frozen=True)
class CallPolicy:
    """Bounds on one call: seconds, and how often and how patiently a failed one is repeated."""

    seconds: float = 600.0
    tries: int = 6
    timeout_tries: int = 2  # each of them may be billed
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 60.0


@dataclass(frozen=True)
class Endpoint:
    """Where and how a model is reached. Holds a secret: never write it anywhere."""

    litellm: str
    api_base: str | None
    api_key: str | None
    parameters: Mapping[str, Any]
    max_tokens: int
    key_name: str | None = None

    @property
    def secret(self) -> str | None:
        """What must never be written."""
        return self.api_key if self.key_name else None

    def __repr__(self) -> str:
        return f"Endpoint({self.litellm!r}, {self.api_base!r})"


class OperatorError(Exception):
    """The provider turns down every call of this model (key, model id, account): somebody has to act."""


def endpoint_of(model: Model, simulated_base: str | None) -> Endpoint:
    """How to reach a model; UserError when something is missing that the operator must set."""
    taken = _RESERVED & set(model.parameters)
    if taken or model.litellm is None:
        raise UserError(f"The parameters of model {model.name!r} must not set {', '.join(sorted(taken))}.")
    if model.simulated:
        if simulated_base is None:
            raise UserError(f"Model {model.name!r} is simulated, and no simulated provider is running.")
        return Endpoint(model.litellm, simulated_base, "simulated", model.parameters, model.max_tokens)
    key = os.environ.get(model.api_key_env) if model.api_key_env else None
    if model.api_key_env and not key:
        raise UserError(f"Model {model.name!r} needs its key in the environment variable {model.api_key_env}.")
    if key is None and model.api_base:
        key = "none"  # an endpoint of one's own may want no key, but the client libraries want something to send
    return Endpoint(model.litellm, model.api_base, key, model.parameters, model.max_tokens, model.api_key_env)


def prepare_litellm() -> Any:
    """The litellm module, imported and set up (about four seconds, once a process)."""
    os.environ.update(
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # else the import fetches prices from the network
        LITELLM_MODE="PRODUCTION",  # else the import reads .env files into the environment
        LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True",
    )
    import litellm

    litellm.suppress_debug_info = True  # else it prints to stdout when a call fails
    litellm.telemetry = False
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)  # it prints to stdout what a chatty root logger lets through
    litellm.drop_params = False  # a parameter that a model does not know is an error, not something to leave out
    _bound_answers()
    _warmed(litellm)
    return litellm


@functools.lru_cache(maxsize=1)
def _warmed(litellm: Any) -> None:
    """Have litellm load what it loads at its first call (a second), before calls with limits of time are made.

    A call with tools that reaches nobody; it fails where an installation lacks what calls with tools need.
    """
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object", "properties": {}}}}
    asked = [{"role": "user", "content": "."}]
    try:
        litellm.completion(
            model=_OWN_ENDPOINT + "none", messages=asked, tools=[tool], mock_response=".", api_base="http://127.0.0.1:9"
        )
    except Exception as error:
        if "No module named" in str(error):
            raise UserError(
                f"The installed litellm cannot make calls with tools ({error}); install it as litellm[mcp]."
            ) from error
    getattr(litellm.main, "encoding", None)  # a table of tokens, read from its own files


def _bound_answers() -> None:
    """Make litellm's transport give up on answers that would fill the memory (a compressed one, say)."""
    import httpx
    from litellm.llms.custom_httpx import aiohttp_transport

    stream = aiohttp_transport.AiohttpResponseStream
    if stream.__name__ == "BoundedStream":
        return

    class BoundedStream(stream):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> Any:
            packed = self._aiohttp_response.headers.get("Content-Encoding", "identity").lower() != "identity"
            left = MAX_PACKED_REPLY_BYTES if packed else MAX_REPLY_BYTES
            async for chunk in super().__aiter__():
                left -= len(chunk)
                if left < 0:
                    raise httpx.ReadError(_TOO_LARGE)
                yield chunk

    aiohttp_transport.AiohttpResponseStream = BoundedStream


@dataclass
class _Tries:
    """What the tries of one call have used so far."""

    made: int = 0
    seconds: float = 0.0  # that the model had
    timeouts: int = 0
    maybe_billed: int = 0

    def used_up(self, policy: CallPolicy, seconds_left: float) -> bool:
        return self.made >= policy.tries or self.timeouts >= policy.timeout_tries or self.seconds >= seconds_left


async def ask(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    key: str,
    seconds_left: float,
    policy: CallPolicy,
    gate: Gate,
    stopping: Callable[[], bool] = lambda: False,
    *,
    halted: Callable[[], bool] = lambda: False,
    about_to_call: Callable[[], Awaitable[None]] | None = None,
    may_set_aside: bool = False,
) -> dict[str, Any]:
    """Make one call, repeating it within the policy's bounds; the outcome as a record for the step log.

    The record is a `reply` (message, finish_reason, usage, model, seconds) or a `failure` (kind: context,
    policy, timeout or provider; message; seconds). `seconds` counts the time that the model had, not waits
    between repeats or for the gate; `maybe_billed` the tries that reached the provider and brought no answer.
    `about_to_call` is awaited once, before the first try. `halted` says, whenever a try's turn has come, that it is
    not to be made after all.

    Raises OperatorError, StoppedError, and with `may_set_aside` SetAsideError, where the tries are used up while
    the whole pool is paused: then it is the provider that is down, and not this call that is wrong.
    """
    tries, expected = _Tries(), tokens_of(messages, tools)
    try:
        while True:
            ticket = await gate.enter(expected, stopping, halted)
            try:
                if about_to_call is not None and not tries.made:
                    await about_to_call()
                budget = max(0.05, min(policy.seconds, seconds_left - tries.seconds))
                record = await _try(endpoint, messages, tools, key, budget, gate, ticket, tries)
            finally:
                gate.leave(ticket, None, None)
            if not isinstance(record, _Failed):
                return record
            if record.kind not in ("timeout", "again") or tries.used_up(policy, seconds_left):
                if record.kind in ("timeout", "again") and may_set_aside and gate.paused:
                    raise SetAsideError(_described(record.error, endpoint)) from record.error
                return _failure(record, tries, endpoint)
            await pause(_pause(record.error, tries.made, policy), stopping)
    except StoppedError as error:
        error.maybe_billed = tries.maybe_billed
        raise


@dataclass(frozen=True)
class _Failed:
    """A try that brought no reply."""

    kind: str
    error: Exception


async def _try(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    key: str,
    budget: float,
    gate: Gate,
    ticket: Ticket,
    tries: _Tries,
) -> dict[str, Any] | _Failed:
    """One try: the record of the reply, or what went wrong. The gate and the count of tries learn of both."""
    began = time.monotonic()
    try:
        response = await _call(endpoint, messages, tools, key, budget)
        record = _reply(response, tries.seconds + time.monotonic() - began, endpoint, ticket.tokens)
    except Exception as error:  # litellm lets through whatever its layers raise
        kind = _kind(error, endpoint)
        gate.leave(ticket, None, kind in ("timeout", "again"), _retry_after(error))
        if kind == "nonsense":
            return _nonsense(endpoint, ticket.tokens, tries, time.monotonic() - began)
        _charge(tries, error, kind, time.monotonic() - began)
        return _Failed(kind, error)
    gate.leave(ticket, record["usage"]["prompt"] + record["usage"]["completion"], failed=False)
    return record | {"maybe_billed": tries.maybe_billed}


def _charge(tries: _Tries, error: Exception, kind: str, seconds: float) -> None:
    tries.made += 1
    tries.maybe_billed += _maybe_billed(error, kind)
    if kind == "timeout":
        tries.seconds += seconds
        tries.timeouts += 1


def _maybe_billed(error: Exception, kind: str) -> bool:
    """Whether the provider may have done the work and billed it, although no answer came."""
    import httpx

    if kind == "timeout":
        return True
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, httpx.HTTPStatusError):  # an answer of its own; the first two come from proxies as well
            return cause.response.status_code in (408, 502, 504)
        if isinstance(cause, ConnectionRefusedError | httpx.TooManyRedirects) or "Cannot connect" in str(cause):
            return False
    lost = any(isinstance(c, httpx.RequestError | json.JSONDecodeError) for c in causes)
    return lost or _UNREADABLE in str(error)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, the outermost first."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def tokens_of(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> int:
    """About how many tokens a request has, by the length of its texts."""
    size, pictures = _size_of_tools(tools), 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            pictures += sum(part.get("type") == "image_url" for part in content)
            content = "".join(str(part.get("text", "")) for part in content)
        size += len(content or "") + sum(len(str(call)) for call in message.get("tool_calls") or [])
    return size // _CHARACTERS_PER_TOKEN + pictures * _TOKENS_PER_PICTURE


_tool_sizes: dict[int, tuple[Sequence[Mapping[str, Any]], int]] = {}


def _size_of_tools(tools: Sequence[Mapping[str, Any]]) -> int:
    """Characters of the tools' description; there are few sets of tools, and each goes out with every call."""
    known = _tool_sizes.get(id(tools))
    if known is None or known[0] is not tools:
        if len(_tool_sizes) >= _KEPT_TOOL_SIZES:
            _tool_sizes.clear()
        known = _tool_sizes[id(tools)] = tools, len(str(tools)) if tools else 0
    return known[1]


def most_usd(endpoint: Endpoint, prompt_tokens: int, price: Price | None) -> float:
    """The most that a call can cost in USD: nothing cached, and a reply as long as it may be."""
    usage = {"prompt": prompt_tokens, "completion": endpoint.max_tokens, "cached": 0, "written": 0}
    return cost_of(usage, price) or 0.0


async def _call(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    key: str,
    budget: float,
) -> Any:
    import litellm

    # a limit of our own: litellm's is per socket read and a slow trickle of bytes escapes it
    async with asyncio.timeout(budget):
        with _unlogged(), at_once(endpoint.litellm.startswith(_OWN_ENDPOINT)):
            return await litellm.acompletion(
                model=endpoint.litellm,
                messages=list(messages),
                tools=list(tools),
                max_tokens=endpoint.max_tokens,
                timeout=budget,
                num_retries=0,
                max_retries=0,
                api_key=endpoint.api_key,
                api_base=endpoint.api_base,
                extra_headers={"Idempotency-Key": key, "Accept-Encoding": "identity"},
                **endpoint.parameters,
            )


@contextmanager
def _unlogged() -> Iterator[None]:
    """Let litellm leave out its own bookkeeping (a tenth of what a call costs it): the step log is ours.

    The switch is none of its public interface; where it is missing, calls only cost more.
    """
    try:
        from litellm._internal_context import is_internal_call
    except ImportError:
        yield
        return
    before = is_internal_call.set(True)
    try:
        yield
    finally:
        is_internal_call.reset(before)


def introduce(endpoint: Endpoint, price: Price | None) -> None:
    """Tell litellm what a model at an address of one's own costs, or it searches its whole list at every call.

    Only a model that it does not know, and only under its own id; our books never use litellm's figure.
    """
    import litellm

    if price is None or not endpoint.litellm.startswith(_OWN_ENDPOINT) or endpoint.litellm in litellm.model_cost:
        return
    costs = {"input_cost_per_token": price.input / 1e6, "output_cost_per_token": price.output / 1e6}
    litellm.register_model({endpoint.litellm: costs | {"litellm_provider": _OWN_ENDPOINT.rstrip("/"), "mode": "chat"}})


def _kind(error: Exception, endpoint: Endpoint) -> str:
    """What a failed call means: timeout, again (worth repeating), context, policy, nonsense (a reply that the model
    made and that cannot be taken apart) or provider.

    Raises OperatorError for what no repetition can mend.
    """
    import httpx
    import litellm

    status = getattr(error, "status_code", None)
    if isinstance(error, TimeoutError | litellm.Timeout):
        return "timeout"
    if _UNREADABLE in str(error) and any(isinstance(c, RecursionError) for c in _causes(error)):
        return "nonsense"
    if _UNREADABLE in str(error) or any(
        _TOO_LARGE in str(c) or isinstance(c, httpx.TooManyRedirects) for c in _causes(error)
    ):
        return "provider"
    if isinstance(error, litellm.ContextWindowExceededError):
        return "context"
    if isinstance(error, litellm.ContentPolicyViolationError):
        return "policy"
    if status in (401, 402, 403, 404) or isinstance(error, litellm.UnsupportedParamsError):
        raise OperatorError(_explained(error, endpoint)) from error
    if "No module named" in str(error):  # a broken installation looks like a lost connection
        raise OperatorError(_explained(error, endpoint)) from error
    if isinstance(error, litellm.APIConnectionError) or status in _REPEATABLE or (status or 0) >= 500:
        return "again"
    return "provider"


def _explained(error: Exception, endpoint: Endpoint) -> str:
    key = f" with the key in {endpoint.key_name}" if endpoint.key_name else ""
    return f"{endpoint.litellm}{key}: {_described(error, endpoint)}"


def _described(error: Exception, endpoint: Endpoint) -> str:
    """The error in 500 characters at most, without keys; never its attributes: they hold the conversation."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return redact(" ".join(text.split()), endpoint.secret)[:500]


def _nonsense(endpoint: Endpoint, sent_tokens: int, tries: _Tries, seconds: float) -> dict[str, Any]:
    """The record of a reply of which only that it came is known: counted as if it had been as long as it may be."""
    usage = {"prompt": sent_tokens, "completion": endpoint.max_tokens, "cached": 0, "written": 0, "reasoning": 0}
    return {
        "event": "reply",
        "message": None,
        "finish_reason": "unreadable",
        "native_finish_reason": None,
        "model": None,
        "response_id": None,
        "usage": usage | {"estimated": True},
        "litellm_cost": None,
        "seconds": round(tries.seconds + seconds, 3),
        "maybe_billed": tries.maybe_billed,
    }


def _failure(failed: _Failed, tries: _Tries, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "event": "failure",
        "kind": "provider" if failed.kind == "again" else failed.kind,
        "message": sound(_described(failed.error, endpoint)),
        "seconds": round(tries.seconds, 3),
        "maybe_billed": tries.maybe_billed,
    }


def _pause(error: Exception, attempt: int, policy: CallPolicy) -> float:
    """Seconds before the next try: as the provider asks, within bounds, else exponential; with jitter."""
    asked = _retry_after(error)
    if asked is not None:
        return min(asked, policy.longest_retry_after) * random.uniform(1.0, 1.2)  # noqa: S311
    return min(policy.longest_wait, policy.first_wait * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311


def _retry_after(error: Exception) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or {}
    value = next((str(v) for k, v in dict(headers).items() if str(k).lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None  # NaN is no answer


def _reply(response: Any, seconds: float, endpoint: Endpoint, sent_tokens: int) -> dict[str, Any]:
    """The record of a reply. `message` is None when the provider answered with nothing."""
    choice = response.choices[0] if response.choices else None
    message = None if choice is None else sound(_plain_message(choice.message), endpoint.secret)
    native = (getattr(choice, "provider_specific_fields", None) or {}).get("native_finish_reason")
    hidden = getattr(response, "_hidden_params", None) or {}
    return {
        "event": "reply",
        "message": message,
        "finish_reason": getattr(choice, "finish_reason", None),
        "native_finish_reason": native,
        "model": sound(getattr(response, "model", None)),
        "response_id": sound(getattr(response, "id", None)),
        "usage": _usage(getattr(response, "usage", None), message, sent_tokens),
        "litellm_cost": hidden.get("response_cost"),  # only to compare: it is silently 0 for models it does not know
        "seconds": round(seconds, 3),
    }


def _plain_message(message: Any) -> dict[str, Any]:
    """The whole message as JSON data (signatures and thoughts included), without fields that say nothing."""
    data: dict[str, Any] = message.model_dump()
    fields = data.get("provider_specific_fields")
    if isinstance(fields, dict) and not any(v is not None for v in fields.values()):
        data.pop("provider_specific_fields")
    return {k: v for k, v in data.items() if v is not None or k == "content"}


def _usage(usage: Any, message: dict[str, Any] | None, sent_tokens: int) -> dict[str, Any]:
    """Tokens by kind; estimated from the texts, and marked so, where the provider reports none."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    received = tokens_of([message]) if message else 0
    before = getattr(usage, "prompt_tokens_details", None)
    after = getattr(usage, "completion_tokens_details", None)
    estimated = not prompt or not (completion or not received)
    return {
        "prompt": prompt or max(1, sent_tokens),
        "completion": completion or received,
        "cached": _count(before, "cached_tokens"),
        "written": _count(before, "cache_creation_tokens"),
        "reasoning": _count(after, "reasoning_tokens"),
    } | ({"estimated": True} if estimated else {})


def _count(holder: Any, name: str) -> int:
    value = getattr(holder, name, None)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MAX_TOKENS:
        return 0
    return int(value)


def cost_of(usage: Mapping[str, int], price: Price | None) -> float | None:
    """USD for the tokens of one call by the registry's price list; None without a price."""
    if price is None:
        return None
    cached = min(usage["cached"], usage["prompt"])
    written = min(usage["written"], usage["prompt"] - cached)
    dollars: float = (
        (usage["prompt"] - cached - written) * price.input
        + cached * (price.input if price.cached_read is None else price.cached_read)
        + written * (price.input if price.cache_write is None else price.cache_write)
        + usage["completion"] * price.output
    )
    return dollars / 1e6
