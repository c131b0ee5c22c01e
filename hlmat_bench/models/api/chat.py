"""Read chat completions, the JSON of responses in OpenAI's API, whole or as a stream of events.

Formats: https://platform.openai.com/docs/api-reference/chat/object,
https://platform.openai.com/docs/api-reference/chat-streaming and, for the events,
https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hlmat_bench.core.errors import TryAgain
from hlmat_bench.models.api.decisions import ErrorAnswer
from hlmat_bench.models.api.error_bodies import json_object
from hlmat_bench.models.api.prices import Price
from hlmat_bench.protocol.interfaces import Reply

#: Most characters of a reply; a longer one is cut off.
LONGEST_REPLY = 1_000_000
_MOST_TOKENS = 1_000_000_000  # of one response; a larger number is not believed
_BROKEN = "broken"

#: For each value of `Reply.finish`, the words of services for it, in lower case. ``broken``: the generation was
#: interrupted, so there is no reply. Sources: the API references of OpenAI, Anthropic, Google, Mistral, Cohere, Zhipu,
#: DeepSeek, Bedrock and of Text Generation Inference and vLLM.
_FINISHED = {
    "stop": "stop end_turn end_of_turn eos eos_token eot stop_sequence stop_token complete completed end finished",
    "length": "length max_tokens max_output_tokens max_length max_completion_tokens model_length token_limit "
    "incomplete model_context_window_exceeded context_length limit",
    "content_filter": "content_filter content_filtered contentfilter safety sensitive prohibited_content recitation "
    "blocklist spii image_safety image_prohibited_content image_recitation guardrail_intervened error_toxic moderation "
    "content_policy flagged",
    "refusal": "refusal refused",
    _BROKEN: "error abort aborted cancelled canceled failed failure timeout network_error interrupted user_cancel "
    "insufficient_system_resource malformed_function_call malformed_response server_error",
}
_MEANING = {word: meaning for meaning, words in _FINISHED.items() for word in words.split()}

_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_THOUGHT_PARTS = ("thinking", "reasoning", "redacted_thinking", "thought")
_TEXT_PARTS = ("text", "output_text", None)
_ERRORS = {"message", "msg", "detail", "errors", "code", "status", "base_resp"}  # in an answer without choices


class _Ending(NamedTuple):
    """The text of one choice, why it ended, and whether the thoughts were in a separate field."""

    text: str
    finish: str | None
    thought: bool


def read(data: bytes, wanted: int, price: Price | None) -> list[Reply]:
    """Return the replies in the body of a response, at most ``wanted`` of them.

    The text of a reply is what the model wrote, or its reason to refuse; it is empty if the model ended at once. Tokens
    and cost are divided among the replies; the cost includes surplus choices. A response without choices that counts
    tokens was paid for, so its replies are empty.

    Raises:
        TryAgain: when the body is no chat completion, has no text, or was interrupted.
        ErrorAnswer: when the body holds an error.
    """
    answer = _answer(data)
    if _is_error(answer.get("error")):
        raise ErrorAnswer
    choices = answer.get("choices")
    usage = answer.get("usage")
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if tokens_in is None and not tokens_out:
        tokens_out = None  # a server that does not count says 0
    if isinstance(choices, list) and choices:
        endings = [_ending(choice) for choice in choices]
    elif tokens_in is not None:
        endings = [_Ending("", None, False)] * wanted
    elif answer.keys() & _ERRORS:
        raise ErrorAnswer
    else:
        raise TryAgain("the answer has no choice", advice="look into the log of the server")
    return _shared_out(endings[:wanted], len(endings), tokens_in, tokens_out, price)


def _shared_out(
    endings: Sequence[_Ending], choices: int, tokens_in: int | None, tokens_out: int | None, price: Price | None
) -> list[Reply]:
    shares = [None] * choices if tokens_out is None else _shares(tokens_out, choices)
    cost = None if price is None else price.of(tokens_in, tokens_out)
    each = None if cost is None else cost / len(endings)
    return [
        Reply(text, tokens_in, share, cost=each, finish=finish, thought=thought)
        for (text, finish, thought), share in zip(endings, shares, strict=False)
    ]


def _answer(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, or the one that its events add up to.

    Raises:
        TryAgain: when there is none.
    """
    try:
        answer = json.loads(data)
    except RecursionError:
        answer = None
    except ValueError:
        answer = _from_events(data)
    if isinstance(answer, dict):
        return answer
    page = data.lstrip()[:1] == b"<"
    raise TryAgain(
        "the answer is not a JSON object" + (" but a web page" if page else ""),
        advice="check base_url=: most servers want it to end in /v1",
    )


def _ending(choice: Any) -> _Ending:
    """Read one choice of a chat completion.

    Raises:
        TryAgain: when the choice has no text, or the generation was interrupted.
        ErrorAnswer: when the choice holds an error.
    """
    choice = choice if isinstance(choice, dict) else {}
    if _is_error(choice.get("error")):
        raise ErrorAnswer
    finish = _meaning(choice.get("finish_reason") or choice.get("stop_reason"))
    if finish == _BROKEN:
        raise TryAgain(
            f"the generation was interrupted (finish_reason {choice['finish_reason']})",
            advice="look into the log of the server",
        )
    message = choice.get("message")
    if not isinstance(message, dict):
        if finish in ("content_filter", "refusal"):
            return _Ending("", finish, False)
        raise _no_message(choice)
    text, thought = _text(message.get("content"))
    thought = thought or any(message.get(field) for field in _THOUGHTS)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return _Ending(text or refusal, "refusal", thought)
    text = text or _called(message.get("tool_calls"))
    if text is None and (finish is not None or thought):
        text = ""
    if text is None:
        raise TryAgain("the answer has a choice without text", advice="look into the log of the server")
    if len(text) > LONGEST_REPLY:
        return _Ending(text[:LONGEST_REPLY], "length", thought)
    return _Ending(text, finish, thought)


def _is_error(value: Any) -> bool:
    """Tell whether a field ``error`` has a value; some servers send an empty one with every response."""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def _meaning(reason: Any) -> str | None:
    """Translate a service's word for why a reply ended into a value of `Reply.finish`; None if it is unknown."""
    if not isinstance(reason, str):
        return None
    word = reason.strip().lower()  # gateways add Google's own word after a colon
    return _MEANING.get(word) or _MEANING.get(word.partition(":")[0])


def _text(content: Any) -> tuple[str | None, bool]:
    """Return the text of a message's content (None without any), and whether it has separate thoughts.

    The content is a string, or a list of parts: https://docs.mistral.ai/capabilities/reasoning/.
    """
    if isinstance(content, str):
        return content, False
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        return None, False
    texts = [text for part in parts if (text := _part(part)) is not None]
    thought = any(isinstance(part, dict) and part.get("type") in _THOUGHT_PARTS for part in parts)
    return ("".join(texts) if texts or thought or not parts else None), thought


def _part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS:
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def _called(calls: Any) -> str | None:
    """Write tool calls that the server has parsed back as text, with the tags of Hermes and Qwen; None without any."""
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    named = [function for function in functions if isinstance(function, dict) and function.get("name")]
    lines = [f'{{"name": {json.dumps(one["name"])}, "arguments": {_as_json(one.get("arguments"))}}}' for one in named]
    return "\n".join(f"<tool_call>\n{line}\n</tool_call>" for line in lines) or None


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _no_message(choice: dict[str, Any]) -> TryAgain:
    """Return the error for a choice without a message, which says what the choice is instead."""
    if isinstance(choice.get("text"), str):
        said, advice = "the response is a plain completion, not a chat", "check base_url=: it must lead to a chat"
    elif choice.get("delta") is not None:
        said, advice = "the response has a part of a stream instead of a message", "add stream=true"
    else:
        said, advice = "the answer has a choice without text", "look into the log of the server"
    return TryAgain(said, advice=advice)


def _count(usage: Any, name: str) -> int | None:
    """Return a number of tokens; None if it is impossible, and for a prompt of 0 tokens: the server did not count."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_TOKENS:
        return None
    if value != int(value) or (value == 0 and name == "prompt_tokens"):
        return None
    return int(value)


def _shares(total: int, parts: int) -> Sequence[int]:
    """Divide a total into integer parts that are as equal as possible, larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def _from_events(data: bytes) -> dict[str, Any] | None:
    """Return the chat completion that a stream of events adds up to; None if the body is no stream.

    Raises:
        TryAgain: when the stream was interrupted.
    """
    chunks = list(_events(data))
    if not chunks:
        return None
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        whole.update({name: chunk[name] for name in ("usage", "error") if chunk.get(name)})
        pieces = chunk.get("choices")
        for piece in pieces if isinstance(pieces, list) else []:
            if isinstance(piece, dict):
                index = piece.get("index")
                _add(choices.setdefault(index if isinstance(index, int) else 0, {}), piece)
    done = any(line.strip() in (b"data: [DONE]", b"data:[DONE]") for line in data[-200:].splitlines())
    if not whole.get("error") and not (done or all(choice.get("finish_reason") for choice in choices.values())):
        raise TryAgain("the stream of the answer was interrupted", advice="look into the log of the server")
    return {"choices": [choices[index] for index in sorted(choices)], **whole}


def _events(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in the data of a stream's events."""
    for event in data.decode(errors="replace").replace("\r\n", "\n").split("\n\n"):
        lines = [line.removeprefix("data:") for line in event.split("\n") if line.startswith("data:")]
        whole = json_object("\n".join(lines))
        # Some servers leave out the empty line between events.
        yield from [whole] if whole else filter(None, map(json_object, lines))


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a part of a stream to its choice, in place."""
    for name in ("finish_reason", "stop_reason", "error"):
        if piece.get(name):
            choice[name] = piece[name]
    delta = next((piece[name] for name in ("delta", "message") if isinstance(piece.get(name), dict)), None)
    if delta is None:
        return
    message = choice.setdefault("message", {"content": None})
    text, thought = _text(delta.get("content"))
    if text:
        message["content"] = (message["content"] or "") + text
    if thought or any(delta.get(field) for field in _THOUGHTS):
        message["reasoning"] = True
    if isinstance(delta.get("refusal"), str):
        message["refusal"] = message.get("refusal", "") + delta["refusal"]
