"""What a refusal means: a table of what servers send, in words and values of our own, and what to do about each."""
# ruff: noqa: E501  (tables: one refusal a line)

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.models.api.decisions import Decision, RequestContext, decide
from hlmat_bench.models.api.error_bodies import read_error
from hlmat_bench.models.api.refused_fields import refused_field

FIELDS = frozenset({"seed", "temperature", "max_tokens", "n", "skip_special_tokens", "detail", "reasoning_effort"})


def decided(status: int, body: Any, headers: dict[str, str] | None = None, *, deadline: float = 600.0) -> Decision:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return decide(status, headers or {}, data, RequestContext({}, FIELDS, deadline))


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


PAGE = "<html>\r\n<head><title>{}</title></head><body><center><h1>{}</h1></center></body></html>"

ENDS = {
    "key, OpenAI": (401, error("Incorrect API key provided: sk-12.", code="invalid_api_key"), "key"),
    "key, FastAPI": (401, {"detail": "Not authenticated"}, "key"),
    "key, Google's list": (
        400,
        [error("API key not valid. Please pass one.", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}])],
        "key",
    ),
    "key, xAI": (400, {"code": "a wrong argument", "error": "Incorrect API key provided: k."}, "key"),
    "key, in a 200": (200, error("User unknown.", code=401), "key"),
    "key, named in a 200": (200, error("who are you", type="authentication_error"), "key"),
    "key, of a gateway's 500": (500, error("upstream said no", code="401"), "key"),
    "key, page of a firewall": (403, PAGE.format("403 Forbidden", "no"), "key"),
    "model, LiteLLM": (400, error("/chat/completions: Invalid model name passed in model=nix", code="400"), "model="),
    "model, vLLM": (404, {"object": "error", "message": "The model `nix` does not exist.", "code": 404}, "model="),
    "model, a router": (400, error("nix/nax is not a valid model ID", code=400), "model="),
    "model, a router's 200": (200, error("No endpoints found for nix/nax.", code=404), "model="),
    "model, DeepSeek": (400, error("Model Not Exist", type="invalid_request_error"), "model="),
    "model, a 500": (500, {"error": "model 'nix' not found, try pulling it first"}, "model="),
    "model, with seed in its name": (400, error("Invalid model name passed in model=doubao-seed-1-6"), "model="),
    "model, retired": (410, {"detail": "gone"}, "model="),
    "credit, 402": (402, error("This request requires more credits, or fewer max_tokens."), "credit"),
    "credit, 402 without a word": (402, "", "credit"),
    "credit, Anthropic": (400, error("Your credit balance is too low to use this API."), "credit"),
    "credit, OpenAI": (429, error("You exceeded your current quota.", code="insufficient_quota"), "credit"),
    "credit, a proxy's budget": (400, error("Budget has been exceeded! Current cost: 2.0", type="budget_exceeded"), "credit"),
    "credit, Chinese": (429, error("余额不足或无可用资源包", code="1113"), "credit"),
    "credit, a team's": (403, error("Your team has used all available credits."), "credit"),
    "credit, a token's budget": (400, error("ExceededTokenBudget: spend for token: 7"), "credit"),
    "key, in a 200 of another form": (200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "key"),
    "path, FastAPI's 200": (200, {"detail": "Not Found"}, "base_url="),
    "text only, a type": (400, error("'messages.0.content' : value must be a string"), "reads images"),
    "text only, lacks": (422, {"detail": "model lacks vision capability"}, "reads images"),
    "stream only, in other words": (400, error("must be false for non-streaming calls"), "stream=true"),
    "region, Google": (400, error("User location is not supported for this.", status="FAILED_PRECONDITION"), "offered"),
    "region": (403, error("Country, region, or territory not supported"), "offered"),
    "region, by law": (451, "", "offered"),
    "text only, llama.cpp": (500, error("image input is not supported - hint: provide the mmproj", code=500), "reads images"),
    "text only, vLLM": (400, {"message": "nix is not a multimodal model", "code": 400}, "reads images"),
    "text only, serde": (422, "Failed: messages[0]: unknown variant `image_url`, expected `text`", "reads images"),
    "text only, router": (404, error("No endpoints found that support image input", code=404), "reads images"),
    "text only, LM Studio": (400, {"error": "Model does not support images."}, "reads images"),
    "path, LM Studio": (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, "base_url="),
    "path, FastAPI": (404, {"detail": "Not Found"}, "base_url="),
    "path, plain text": (404, "404 page not found", "base_url="),
    "path, method": (405, {"detail": "Method Not Allowed"}, "base_url="),
    "path, moved": (308, "", "base_url="),
    "stream only": (400, error("This model only supports streaming, set stream to true"), "stream=true"),
    "plain HTTP to TLS": (400, PAGE.format("400 The plain HTTP request was sent to HTTPS port", "400"), "https://"),
    "proxy's login": (407, PAGE.format("407 Proxy Authentication Required", ""), "login of the proxy"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_what_no_request_can_escape_ends_the_run(case: str) -> None:
    status, body, advice = ENDS[case]
    decision = decided(status, body)
    assert decision.fate == "ends", decision
    assert advice in decision.advice
    assert f"HTTP {status}" in decision.message


REFUSED_FIELDS = {
    "pydantic": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 3}]}, "seed"),
    "pydantic within a message": (400, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}, "seed"),
    "pydantic as text": (422, {"message": '{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}'}, "seed"),
    "python's repr": (400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]", "code": 400}, "seed"),
    "Google": (400, [error('Invalid JSON payload received. Unknown name "seed": Cannot find field.')], "seed"),
    "LiteLLM": (400, error("litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=claude-9."), "seed"),
    "LiteLLM's dict": (400, error("x does not support parameters: {'seed': 3}, for model=y"), "seed"),
    "Anthropic": (400, error("seed: Extra inputs are not permitted"), "seed"),
    "OpenAI": (400, error("Unrecognized request argument supplied: seed"), "seed"),
    "Bedrock": (400, {"message": "Malformed input request: #: extraneous key [seed] is not permitted"}, "seed"),
    "serde": (422, {"error": "unknown field `seed`, expected one of `model`, `temperature`, `max_tokens`"}, "seed"),
    "Groq": (400, error("property 'seed' is unsupported, did you mean 'speed'?"), "seed"),
    "seed too large": (400, error("seed must be less than or equal to 2147483647"), "seed"),
    "transformers serve": (422, {"detail": "Unexpected fields in the request: {'skip_special_tokens'}"}, "skip_special_tokens"),
    "two at once": (400, [error('Unknown name "seed": no.\nUnknown name "skip_special_tokens": no.')], "skip_special_tokens"),
    "python's 500": (500, error("create() got an unexpected keyword argument 'skip_special_tokens'"), "skip_special_tokens"),
    "temperature": (400, error("Unsupported value: 'temperature' does not support 0 with this model.", param="temperature", code="unsupported_value"), "temperature"),
    "temperature, TGI": (422, {"error": "Input validation error: `temperature` must be strictly positive"}, "temperature"),
    "max_tokens": (400, error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", code="unsupported_parameter"), "max_tokens"),
    "detail": (422, {"detail": [{"loc": ["body", "messages", 0, "content", 0, "image_url", "detail"], "msg": "Input should be 'auto' or 'low'", "input": {"seed": 1}}]}, "detail"),
    "n": (400, error("only n = 1 is supported"), "n"),
    "n, larger": (400, error("n > 1 is not supported"), "n"),
    "within a gateway's words": (400, error("Error code: 400 - {'detail': [{'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}]}"), "seed"),
    "JSON schema": (400, error("Additional properties are not allowed ('seed' was unexpected)"), "seed"),
    "zod": (400, error("Unrecognized key(s) in object: 'seed'"), "seed"),
    "a range": (400, error("parameter seed should be [0, 2147483647]"), "seed"),
    "n, by name": (400, error("must be 1", param="n"), "n"),
    "effort": (400, error("Unsupported parameter: 'reasoning_effort' is not supported with this model."), "reasoning_effort"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_FIELDS)
def test_a_field_that_is_refused_is_named_with_what_leaves_it_out(case: str) -> None:
    status, body, field = REFUSED_FIELDS[case]
    decision = decided(status, body)
    assert (decision.fate, decision.field) == ("field", field)
    wanted = {
        "detail": "leave detail= out",
        "reasoning_effort": "leave reasoning_effort= out",
        "max_tokens": "add max_tokens_param=max_completion_tokens",
    }
    assert wanted.get(field, f"leave_out={field}") in decision.advice


FAILS = {
    "too large, nginx": (413, PAGE.format("413 Request Entity Too Large", "413"), "quality="),
    "too large, Anthropic": (400, error("messages.0: image exceeds 5 MB maximum: 6 > 5 bytes"), "quality="),
    "too large for the rate": (429, error("Request too large for gpt-9: tokens per min: Limit 10, Requested 20."), "quality="),
    "context, vLLM": (400, {"message": "This model's maximum context length is 99 tokens. 'max_tokens' is too large: 128", "code": 400}, "longer context"),
    "context, llama.cpp": (400, error("the request exceeds the available size", type="exceed_context_size_error"), "longer context"),
    "image data": (400, error("Could not process image"), "image_format=png"),
    "image dimensions": (400, error("At least one of the image dimensions exceed max allowed size: 9 pixels"), "resize="),
    "image format": (400, error("You uploaded an unsupported image.", code="invalid_image_format"), "image_format=png"),
    "anything else": (400, error("no reason"), "options of the model"),
    "no word": (418, "", "options of the model"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILS)
def test_what_one_request_meets_fails_with_advice(case: str) -> None:
    status, body, advice = FAILS[case]
    decision = decided(status, body)
    assert decision.fate == "fails", decision
    assert advice in decision.advice


WITHHELD = {
    "OpenAI": (400, error("no", code="content_policy_violation")),
    "Azure": (400, error("The response was filtered", innererror={"code": "ResponsibleAIPolicyViolation"})),
    "a router": (403, error("Your chosen model requires moderation and your input was flagged", code=403)),
    "a router that charged nothing": (
        403,
        error("Your input was flagged for violence. No credits were charged", code=403),
    ),
    "a router's 200": (200, error("your input was flagged", code=403)),
    "xAI": (403, error("Content violates usage guidelines.")),
    "DashScope": (400, error("Input data may contain inappropriate content.", code="data_inspection_failed")),
    "DeepSeek": (400, error("Content Exists Risk", type="invalid_request_error")),
    "Zhipu": (400, error("可能包含不安全或敏感内容", code="1301")),
}


@pytest.mark.parametrize("case", WITHHELD)
def test_a_prompt_that_a_service_withholds_is_no_fault_of_the_key(case: str) -> None:
    assert decided(*WITHHELD[case]).fate == "withheld"


def test_an_account_that_is_flagged_is_no_prompt_that_is_withheld() -> None:
    body = error("Your account has been flagged for review; contact support", code=403)
    assert decided(403, body).fate == "ends"


AGAIN: dict[str, tuple[int, Any, dict[str, str], float | None, bool]] = {
    "no word": (429, "", {}, None, True),
    "a header": (429, "", {"retry-after": "3"}, 3.0, True),
    "milliseconds": (429, "", {"retry-after-ms": "350", "retry-after": "9"}, 0.35, True),
    "with a unit": (429, "", {"retry-after": "9s"}, 9.0, True),
    "Google": (429, [error("Too much", status="RESOURCE_EXHAUSTED", details=[{"retryDelay": "47s"}])], {}, 47.0, True),
    "Google's words": (429, [error("Quota exceeded for metric: per_minute, limit: 5. Please retry in 47.3s.")], {}, 47.3, True),
    "OpenAI's words": (429, error("Rate limit reached. Please try again in 1m2.5s."), {}, 62.5, True),
    "Groq, a day's": (429, error("Rate limit reached on tokens per day (TPD). Please try again in 5m28s."), {}, 328.0, True),
    "Azure": (429, error("Please retry after 26 seconds."), {}, 26.0, True),
    "a field": (429, {"message": "slow", "retry_after": 2.5}, {}, 2.5, True),
    "limits in headers": (429, error("slow"), {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "9m"}, 360.0, True),
    "in a 200": (200, error("slow down", code=429), {}, None, True),
    "by words": (400, error("Too many requests"), {}, None, True),
    "a model that loads": (503, {"error": "Model nix is currently loading", "estimated_time": 20.5}, {}, 20.5, True),
    "overloaded": (529, error("Overloaded", type="overloaded_error"), {}, None, False),
    "busy": (503, "", {"retry-after": "4"}, 4.0, False),
    "a gateway": (502, PAGE.format("502 Bad Gateway", "502"), {}, None, False),
    "broken": (500, error("something with a seed that must be"), {}, None, False),
    "error in a 200": (200, error("hiccup"), {}, None, False),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAIN)
def test_what_passes_is_asked_again_after_the_pause_that_is_told(case: str) -> None:
    status, body, headers, after, too_many = AGAIN[case]
    decision = decided(status, body, headers)
    assert decision.fate == "again", decision
    assert decision.after == (None if after is None else pytest.approx(after))
    assert decision.too_many is too_many


DAYS: dict[str, tuple[Any, dict[str, str], str]] = {
    "beyond the deadline": (error("slow"), {"retry-after": "25920"}, r"used up until \d{4}-\d\d-\d\d \d\d:\d\d UTC"),
    "a router's": (error("Rate limit exceeded: free-models-per-day. Add credit", metadata={"headers": {}}), {}, "used up"),
    "Google's": (
        [error("Quota exceeded", details=[{"violations": [{"quotaId": "RequestsPerDayPerModel"}]}, {"retryDelay": "47s"}])],
        {},
        "used up",
    ),
    "no quota at all": (error("Quota exceeded for metric: m, limit: 0, model: x"), {}, "used up"),
    "a week's": (error("Weekly usage limit reached"), {}, "used up"),
    "for ever": (error("slow"), {"retry-after": "9" * 400}, "until an unknown time"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAYS)
def test_a_quota_that_outlasts_the_deadline_ends_the_run(case: str) -> None:
    body, headers, said = DAYS[case]
    decision = decided(429, body, headers)
    assert decision.fate == "ends"
    assert re.search(said, decision.advice)
    assert "the same command" in decision.advice


def test_the_end_of_a_limit_may_be_a_time() -> None:
    soon = str(int((time.time() + 100) * 1000))
    for body, headers in (
        (error("slow", metadata={"headers": {"X-RateLimit-Reset": soon}}), {}),
        (error("slow"), {"x-ratelimit-reset": soon[:-3]}),
    ):
        after = decided(429, body, headers).after
        assert after is not None
        assert 90 < after <= 101
    assert decided(429, error("slow"), {"x-ratelimit-reset": "12"}).after == 12


def test_a_longer_deadline_waits_longer() -> None:
    assert decided(429, "", {"retry-after": "700"}).fate == "ends"
    assert decided(429, "", {"retry-after": "700"}, deadline=3600).after == 700


def test_a_field_that_was_not_sent_is_not_to_blame() -> None:
    said = read_error(json.dumps(error("Unknown name \"top_k\": no. Supported fields: 'seed'")).encode())
    assert refused_field(400, said, FIELDS) == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "Too long.", "code": "c"}}', "Too long."),
        (b'[{"error": {"message": "In a list."}}]', "In a list."),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "busy"}', "busy"),
        (b'{"errors": ["one", {"message": "two"}]}', "one; two"),
        (b'{"detail": "plain"}', "plain"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "bad", "input": {"detail": "echo"}}]}', "body.n: bad"),
        (b'{"type": "about:blank", "title": "Out of stock", "detail": "none left", "status": 403}', "Out of stock; none left"),
        (b'{"base_resp": {"status_code": 1004, "status_msg": "login fail"}}', "login fail"),
        (b'{"error": {"message": "Provider failed", "metadata": {"raw": "{\\"error\\": \\"why\\"}"}}}', "Provider failed; why"),
        (b'{"odd": 1}', '{"odd": 1}'),
        (b"[1]", "[1]"),
        (b"<html><head><title>502 Bad &amp; Gateway</title></head>", "502 Bad & Gateway"),
        (b"<html><body><h1>Nothing</h1> here</body>", "Nothing"),
        (b"<p>only text</p>", "only text"),
        (b"busy", "busy"),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (b"null", ""),
    ],
)  # fmt: skip
def test_the_words_are_taken_out_of_a_body(body: bytes, message: str) -> None:
    assert read_error(body).message == message


def test_a_body_that_is_nested_too_deep_is_read_as_text() -> None:
    assert read_error(b"[" * 100_000).message
    assert read_error(b'{"error":' * 300 + b"1" + b"}" * 300).message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "status", "loc", "msg", "retryDelay", "x"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(
    st.integers(200, 599),
    JSON | st.text(),
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset"]), st.text()),
)
def test_any_body_leads_to_a_decision(status: int, body: Any, headers: dict[str, str]) -> None:  # fmt: skip
    data = body.encode(errors="replace") if isinstance(body, str) else json.dumps(body).encode()
    decision = decide(status, headers, data, RequestContext({}, FIELDS))
    assert decision.after is None or decision.after >= 0
    assert decision.advice or decision.fate == "withheld"
