"""Kinds of refusals: their codes and words, what happens to the request, and what the user can do."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from hlmat_bench.models.api.error_bodies import Refusal

#: What happens to the request: ``again`` it is repeated; ``fails`` it has failed for good; ``ends`` no request can
#: succeed, so the run ends; ``withheld`` the service's content filter blocks this prompt; ``field`` the server does not
#: accept a field of the request, so the run ends with advice about that field.
Fate: TypeAlias = Literal["again", "fails", "ends", "withheld", "field"]


#: What the user can do, by the subject of a refusal.
ADVICE = {
    "key": "name a key that may use this model",
    "credit": "add credit to the account, or name another key with key_env=; the same command then continues",
    "quota": "wait, or name another key or model; the same command then continues",
    "region": "take a model or a service that is offered where you are",
    "model": "check model= and base_url=",
    "field": "leave that field out, e.g. leave_out=temperature, or add max_tokens_param=max_completion_tokens",
    "vision": "take a model that reads images (a GGUF model also needs its projector: --mmproj)",
    "path": "check base_url=",
    "stream": "add stream=true",
    "size": "take a smaller resize=, a lower quality= or image_format=jpeg",
    "context": "take a smaller resize=, or start the server with a longer context",
    "image": "take image_format=png or image_format=jpeg",
    "proxy": "name the login of the proxy in the environment: https_proxy=http://USER:PASSWORD@HOST:PORT",
    "scheme": "write https:// in base_url=",
    "busy": "take a lower concurrency=, or a longer deadline=",
    "server": "try again later, or look into the log of the server",
    "request": "check the options of the model against what the server takes",
}


class RefusalRule(NamedTuple):
    """A kind of refusal, recognised by its status together with a code or with words of its message."""

    fate: Fate
    subject: str  # a key of `ADVICE`
    statuses: str  # a pattern; 200 is the status of an error in the body of a success that names no other status
    codes: frozenset[str]
    words: re.Pattern[str]

    def fits(self, status: int, error: Refusal) -> bool:
        """Tell whether a refusal with this status is of this kind."""
        found = error.codes & self.codes or self.words.search(error.message)
        return bool(found and re.fullmatch(self.statuses, str(status)))


def _rule(fate: Fate, subject: str, statuses: str, codes: str, *words: str) -> RefusalRule:
    pattern = re.compile("|".join(words) or "(?!)", re.IGNORECASE | re.DOTALL)
    return RefusalRule(fate, subject, statuses, frozenset(codes.split()), pattern)


_SCHEME = _rule(
    "ends", "scheme", "4..", "", r"plain HTTP request was sent to HTTPS", r"HTTP request to an HTTPS server"
)
_CREDIT = _rule(
    "ends",
    "credit",
    "200|400|401|403|404|412|429",
    "insufficient_quota insufficientquota billing_error billing_hard_limit_reached billing_not_active billing_disabled "
    "insufficient_balance not_enough_balance insufficient_credits insufficient_user_quota credit_limit budget_exceeded "
    "exceededbudget exceeded_current_quota_error arrearage account_suspended payment_required 1113",
    r"insufficient (?:\w+ )?(?:credit|balance|fund)",
    r"(?:credit|account|wallet) balance is",
    r"balance is (?:insufficient|too low|not enough)",
    r"(?:no|out of|not enough|requires? more) credits?\b",
    r"(?:used (?:up )?all|exceeded your) (?:\w+ ){0,4}credits?\b",
    r"spending[ -]limit",
    r"budget (?:has been )?exceeded",
    r"exceeded\w*budget",
    r"payment (?:is )?required",
    r"account (?:is )?(?:suspended|in arrears|in good standing|not in good standing)",
    r"余额不足",
    r"欠费",
)
_WITHHELD = _rule(
    "withheld",
    "",
    "200|400|403|422|500",
    "content_filter content_policy_violation responsibleaipolicyviolation data_inspection_failed datainspectionfailed "
    "moderation_blocked content_moderation contentfilter content_filtered image_content_policy_violation 1301",
    r"content[ _-](?:policy|filter|management policy|moderation|exists risk|violates)",
    r"(?:input|prompt|content|request|message|image|text|output)s? (?:was|were|is|are|has been|have been) flagged",
    r"blocked by (?:\w+ )?(?:safety|content|moderation)",
    r"safety (?:system|check|filter|guideline|polic|reason)",
    r"(?:violat|against)\w* [^.]{0,40}(?:usage|content|safety) (?:polic|guideline)",
    r"inappropriate content",
    r"sensitive content",
    r"prohibited.?content",
    r"considered high risk",
    r"data.?inspection",
    r"responsible.?ai",
    r"敏感内容",
    r"不安全",
)
_REGION = _rule(
    "ends",
    "region",
    "400|403|404|451",
    "unsupported_country_region_territory",
    r"(?:country|region|territory|location)[^.]{0,60}not (?:supported|available|allowed)",
    r"not (?:supported|available|allowed) in (?:your|this) (?:country|region|location|territory)",
)
_CONTEXT = _rule(
    "fails",
    "context",
    "200|400|413|422|500",
    "context_length_exceeded exceed_context_size_error string_above_max_length",
    r"context[ _-]?(?:length|size|window|limit)",
    r"(?:prompt|input|request)[^.]{0,40} (?:too long|too many tokens)",
    r"reduce the length",
    r"too long to fit",
    r"exceeds?[^.]{0,60}(?:maximum|max|allowed)[^.]{0,40}tokens",
)
_SIZE = _rule(
    "fails",
    "size",
    "200|400|413|422|429|500",
    "request_too_large image_too_large payload_too_large",
    r"(?:image|request|payload|file|body|entity|input)s?\b[^.]{0,40}too (?:large|big)",
    r"(?:image|request|payload|file|body|entity|input)s?\b[^.]{0,40}exceeds?\b[^.]{0,60}(?:size|bytes|MB|pixels|limit)",
    r"image dimensions",
    r"image size is",
    r"max(?:imum)? bytes",
    r"larger than \d+ ?(?:MB|k)",
)
_STREAM = _rule(
    "ends",
    "stream",
    "200|4..|500",
    "",
    r"\bstream\w*\b[^.]{0,30}(?:must be (?:set to )?true|required)",
    r"only (?:supports? )?(?:the )?stream",
    r"non-?streaming",
    r"enable the stream",
)
_VISION = _rule(
    "ends",
    "vision",
    "200|400|404|415|422|500|501",
    "",
    r"images? ?(?:input|url|content)?s? (?:is|are) not (?:supported|enabled|available|allowed)",
    r"mmproj",
    r"(?:n[o']t|not) (?:support|accept|handle)(?:ed|ing)?:? (?:[\w-]+ ){0,2}"
    r"(?:images?(?! ?(?:format|type|size))|vision|multi-?modal|visual)",
    r"not a (?:multi-?modal|vision)",
    r"not have (?:vision|image)",
    r"support image input",
    r"at most 0 image",
    r"unknown variant `image_url`",
    r"image_url[`'\"]? is (?:only|not) supported",
    r"text[- ]only",
    r"only supports? text",
    r"content['\"]?\s*:? (?:value )?must be a string",
    r"(?:can ?not|can't|unable to) process images\b",
    r"(?:lacks?|without) (?:vision|image|multi-?modal)",
    r"missing data required for image",
    r"(?:vision|multi-?modal\w*|image input)[^.]{0,30} not (?:supported|enabled)",
    r"不支持图",
)
_SECRET = r"(?:api|access|auth|authentication|authorization|proxy server|bearer)[ _-]?(?:key|token|credential|header)"
_KEY = _rule(
    "ends",
    "key",
    "200|400|403|404|500|502",
    "invalid_api_key api_key_invalid unauthenticated authentication_error invalid_authentication unauthorized "
    "authenticationerror invalid_token account_deactivated permission_denied permission_error access_denied "
    "invalid_authentication_error api_key_expired",
    rf"(?:invalid|incorrect|missing|expired|wrong|revoked|no|unknown) (?:or (?:invalid|missing|expired) )?{_SECRET}",
    r"api[ _-]?key[^.]{0,30}(?:not valid|invalid|incorrect|missing|expired|required|not (?:found|provided|allowed))",
    r"provide an? (?:valid )?api[ _-]?key",
    r"no auth credentials",
    r"login fail",
    r"unauthori[sz]ed",
    r"authentication (?:error|failed|required)",
)
_MODEL = _rule(
    "ends",
    "model",
    "200|4..",
    "model_not_found model_not_available model_decommissioned invalid_model deploymentnotfound unknown_model "
    "model_not_supported modelnotfound model_not_exist notfounderror 1211",
    r"\bmodels?\b[^.;]{0,120}?(?:not exist|not found|n't exist|unknown|not (?:a )?valid|not available|not supported"
    r"|no longer|decommission|deprecated|retired|shut down|not loaded|not have access)",
    r"(?:invalid|unknown|no such|unsupported|wrong) model",
    r"not a valid model",
    r"not a chat model",
    r"no models? (?:is |are )?(?:loaded|available)",
    r"model identifier is invalid",
    r"deployment[^.]{0,40}not exist",
    r"no endpoints found",
    r"no allowed providers",
    r"模型不存在",
)
_MODEL_OF_BROKEN = _rule(  # with status 5xx, "not available" is no sign of a wrong name: it may pass
    "ends", "model", "5..", "", r"\bmodel\b[^.;]{0,80}(?:not exist|not found)", r"(?:invalid|unknown|no such) model"
)
_PATH = _rule(
    "ends",
    "path",
    "200|4..|501",
    "",
    r"unexpected endpoint",
    r"invalid url",
    r"unknown (?:request )?url",
    r"unknown (?:endpoint|path)",
    r"no (?:such )?route",
    r"cannot post",
    r"method not allowed",
    r"(?:page|endpoint) not found",
    r"^not found$",
)
_IMAGE = _rule(
    "fails",
    "image",
    "400|415|422|500",
    "invalid_image invalid_image_format image_parse_error invalid_image_url unsupported_image_media_type",
    r"(?:unsupported|invalid|could not|cannot|can't|failed to|unable to)[^.]{0,40}image",
    r"image[^.]{0,40}(?:unsupported|invalid|not (?:represent )?a valid)",
)
_FIELD = _rule(  # `refused_field` did not find the field's name in the message
    "ends",
    "field",
    "400|422",
    "unsupported_parameter unsupported_value unknown_parameter extra_forbidden",
    r"extra inputs are not permitted",
    r"unexpected fields?\b",
    r"unrecognized request argument",
)
#: Rules to try first, in this order.
RULES = (_SCHEME, _WITHHELD, _CREDIT, _REGION, _CONTEXT, _SIZE, _STREAM)
#: Rules to try, in this order, if the refusal is about neither too many requests nor a field.
LATE_RULES = (_FIELD, _VISION, _KEY, _MODEL, _MODEL_OF_BROKEN, _PATH, _IMAGE)

TOO_MANY = _rule(
    "again",
    "busy",
    "200|400|403|429|503|529",
    "rate_limit_exceeded rate_limit_error resource_exhausted throttlingexception too_many_requests ratelimitreached "
    "slow_down throttling ratelimitexceeded throttled",
    r"rate[ -]limit",
    r"too many (?:concurrent )?requests",
    r"throttl",
    r"is (?:currently )?loading",
    r"loading model",
)
DAILY = re.compile(
    r"per[-_ ]?(?:day|week|month)|\b(?:daily|weekly|monthly)\b|\((?:RPD|TPD)\)|by ?day\b|86400 ?s|limit: 0\b",
    re.IGNORECASE,
)
