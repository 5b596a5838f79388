"""One call to a model through litellm: bounded in time and in retries, and its outcome always typed."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

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
_REPEATABLE = (408, 409, 429, 200)  # 200: an answer that is not JSON, as a proxy on the way may give
_CHARACTERS_PER_TOKEN = 4  # only for providers that report no usage


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


class StoppedError(Exception):
    """The run is ending and the call was waiting to be repeated; the attempt goes on in a later run."""


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
    return litellm


async def ask(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    key: str,
    seconds_left: float,
    policy: CallPolicy,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Make one call, repeating it within the policy's bounds; the outcome as a record for the step log.

    The record is a `reply` (message, finish_reason, usage, model, seconds) or a `failure` (kind: context,
    policy, timeout or provider; message; seconds). `seconds` counts the time that the model had, not waits
    between repeats. Raises OperatorError and StoppedError.
    """
    used = 0.0
    timeouts = 0
    for attempt in range(1, policy.tries + 1):
        budget = max(0.05, min(policy.seconds, seconds_left - used))
        began = time.monotonic()
        try:
            response = await _call(endpoint, messages, tools, key, budget)
            return _reply(response, used + time.monotonic() - began, endpoint, messages)
        except Exception as error:  # litellm lets through whatever its layers raise
            kind = _kind(error, endpoint)
            if kind == "timeout":
                used += time.monotonic() - began
                timeouts += 1
            final = attempt == policy.tries or timeouts >= policy.timeout_tries or used >= seconds_left
            if kind not in ("timeout", "again") or final:
                return _failure("provider" if kind == "again" else kind, error, used, endpoint)
            await _wait(_pause(error, attempt, policy), stopping)
    raise AssertionError("unreachable: the last try returns")


async def _call(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    key: str,
    budget: float,
) -> Any:
    import litellm

    # wait_for around it: litellm's own timeout is per socket read and a slow trickle of bytes escapes it
    return await asyncio.wait_for(
        litellm.acompletion(
            model=endpoint.litellm,
            messages=list(messages),
            tools=list(tools),
            max_tokens=endpoint.max_tokens,
            timeout=budget,
            num_retries=0,
            max_retries=0,
            api_key=endpoint.api_key,
            api_base=endpoint.api_base,
            extra_headers={"Idempotency-Key": key},
            **endpoint.parameters,
        ),
        budget,
    )


def _kind(error: Exception, endpoint: Endpoint) -> str:
    """What a failed call means: timeout, again (worth repeating), context, policy or provider.

    Raises OperatorError for what no repetition can mend.
    """
    import litellm

    status = getattr(error, "status_code", None)
    if isinstance(error, TimeoutError | litellm.Timeout):
        return "timeout"
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


def _failure(kind: str, error: Exception, seconds: float, endpoint: Endpoint) -> dict[str, Any]:
    message = sound(_described(error, endpoint))
    return {"event": "failure", "kind": kind, "message": message, "seconds": round(seconds, 3)}


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


async def _wait(seconds: float, stopping: Callable[[], bool]) -> None:
    """Sleep, but not beyond the moment at which the run is told to end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopping():
            raise StoppedError
        await asyncio.sleep(min(left, 0.25))


def _reply(response: Any, seconds: float, endpoint: Endpoint, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
        "usage": _usage(getattr(response, "usage", None), message, messages),
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


def _usage(usage: Any, message: dict[str, Any] | None, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tokens by kind; estimated from the texts, and marked so, when the provider reports none."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if not prompt and not completion:
        sizes = [len(str(m)) // _CHARACTERS_PER_TOKEN for m in (messages, message or "")]
        return {
            "prompt": sizes[0],
            "completion": sizes[1],
            "cached": 0,
            "written": 0,
            "reasoning": 0,
            "estimated": True,
        }
    before = getattr(usage, "prompt_tokens_details", None)
    after = getattr(usage, "completion_tokens_details", None)
    return {
        "prompt": prompt,
        "completion": completion,
        "cached": _count(before, "cached_tokens"),
        "written": _count(before, "cache_creation_tokens"),
        "reasoning": _count(after, "reasoning_tokens"),
    }


def _count(holder: Any, name: str) -> int:
    value = getattr(holder, name, None)
    return max(0, int(value)) if isinstance(value, int | float) and value == value else 0


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
