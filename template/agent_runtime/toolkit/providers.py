"""The providers of language models, by the word before the colon in MODEL_NAME, and how each is reached.

MODEL_API_KEY is the key of OpenAI, Anthropic and Azure, MODEL_ADDRESS another address than the provider's own.  Bedrock
and Vertex AI take the login that the team's prepare-investigate made.  `recorded:FILE` asks nobody: it plays a
conversation that an earlier run kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List
from urllib.parse import urlsplit

from agent_runtime.toolkit import http
from agent_runtime.toolkit.errors import ACCESS_REFUSED, MODEL_FAILED, MODEL_SETTINGS, ToolError

NAME, ADDRESS, KEY = "MODEL_NAME", "MODEL_ADDRESS", "MODEL_API_KEY"
ROOT = Path(__file__).resolve().parents[2]  # of the repository: a conversation may be one of its files
MAX_RESPONSE_BYTES = 1024 * 1024  # the longest answer of a model has a few thousand words


def unusable(why: str) -> ToolError:
    """The error for a model that can't be asked like this."""
    return ToolError(MODEL_SETTINGS, why)


def shown(url: Any) -> str:
    """An address as messages show it: without a user, a password and a query."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def model_of(name: str, key: http.Token, client: Any) -> Any:
    """The model that MODEL_NAME names."""
    from pydantic_ai.exceptions import UserError  # noqa: PLC0415  when used

    kind, _, model = name.partition(":")
    if kind not in _PROVIDERS or not model:
        known = ", ".join(f"{each}:..." for each in _PROVIDERS)
        raise unusable(f"{NAME} is {name!a}; it must be one of {known}")
    try:
        return _PROVIDERS[kind](model, os.environ.get(ADDRESS, "").strip(), key, client)
    except UserError as problem:
        raise unusable(f"{name}: {' '.join(str(problem).split())}") from None


def _needed(key: http.Token) -> str:
    if not key:
        raise ToolError(ACCESS_REFUSED, f"the model needs a token, and {KEY} {key.missing}")
    http.check_token(key)
    return str(key)


def _openai(model: str, address: str, key: http.Token, client: Any) -> Any:
    """OpenAI, or whatever answers like it at MODEL_ADDRESS, with or without a key."""
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415  when used
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    if not address:
        return OpenAIChatModel(model, provider=OpenAIProvider(api_key=_needed(key), http_client=client))
    http.check_token(key)
    compatible = OpenAICompatibleProvider("compatible", base_url=address, api_key=str(key), http_client=client)
    return OpenAIChatModel(model, provider=compatible)


def _azure(model: str, address: str, key: http.Token, client: Any) -> Any:
    """A deployment at the endpoint MODEL_ADDRESS; OPENAI_API_VERSION where that is not one of /v1."""
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415  when used
    from pydantic_ai.providers.azure import AzureProvider  # noqa: PLC0415

    if not address:
        raise unusable(f"azure:{model} needs its endpoint in {ADDRESS}")
    provider = AzureProvider(azure_endpoint=address, api_key=_needed(key), http_client=client)
    return OpenAIChatModel(model, provider=provider)


def _anthropic(model: str, address: str, key: http.Token, client: Any) -> Any:
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415  when used
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    return AnthropicModel(
        model, provider=AnthropicProvider(api_key=_needed(key), base_url=address or None, http_client=client)
    )


def _bedrock(model: str, address: str, key: http.Token, client: Any) -> Any:  # noqa: ARG001  AWS has its own
    """Amazon Bedrock, with the login of prepare-investigate; AWS_REGION says where."""
    from pydantic_ai.models.bedrock import BedrockConverseModel  # noqa: PLC0415  when used
    from pydantic_ai.providers.bedrock import BedrockProvider  # noqa: PLC0415

    region = os.environ.get("AWS_REGION")
    if not region:
        raise unusable(f"bedrock:{model} needs its region in AWS_REGION, which a login in prepare-investigate sets")
    provider = BedrockProvider(region_name=region, base_url=address or None)
    return BedrockConverseModel(model, provider=provider)


def _vertex(model: str, address: str, key: http.Token, client: Any) -> Any:  # noqa: ARG001  Google has its own
    """Google's Vertex AI, with the login of prepare-investigate; GOOGLE_CLOUD_PROJECT and _LOCATION say where."""
    from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415  when used
    from pydantic_ai.providers.google_cloud import GoogleCloudProvider  # noqa: PLC0415

    return GoogleModel(model, provider=GoogleCloudProvider(base_url=address or None, http_client=client))


def _recorded(file: str, address: str, key: http.Token, client: Any) -> Any:  # noqa: ARG001  nobody is asked
    """A conversation of an earlier run: its answers, in their order, whatever the tools return today."""
    from pydantic import ValidationError  # noqa: PLC0415  when used
    from pydantic_ai.messages import ModelMessagesTypeAdapter  # noqa: PLC0415
    from pydantic_ai.models.function import FunctionModel  # noqa: PLC0415

    try:
        talk = ModelMessagesTypeAdapter.validate_json((ROOT / file).read_bytes())
    except (OSError, ValidationError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not a conversation that a run kept"
        raise unusable(f"{file}: {why}") from None
    answers = [each for each in talk if each.kind == "response"]

    def answer(messages: List[Any], _: Any) -> Any:
        given = sum(each.kind == "response" for each in messages)
        if given >= len(answers):
            raise ToolError(MODEL_FAILED, f"{file}: the recorded conversation ends after {given} answers")
        return answers[given]

    return FunctionModel(answer, model_name=Path(file).name)


_PROVIDERS: Dict[str, Callable[[str, str, http.Token, Any], Any]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "azure": _azure,
    "bedrock": _bedrock,
    "vertex": _vertex,
    "recorded": _recorded,
}


def client(seconds: float) -> Any:
    """An HTTP client that reads no more of an answer than a model writes."""
    import httpx2  # noqa: PLC0415  when used

    class Bounded(httpx2.AsyncByteStream):  # type: ignore[misc]
        """A body that breaks off where it gets too long."""

        def __init__(self, stream: Any, place: str) -> None:
            self.stream, self.place = stream, place

        async def __aiter__(self) -> Any:
            left = MAX_RESPONSE_BYTES
            async for chunk in self.stream:
                left -= len(chunk)
                if left < 0:
                    raise ToolError(MODEL_FAILED, f"{self.place}: the answer has more than {MAX_RESPONSE_BYTES} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def bound(response: Any) -> None:
        place = shown(response.url)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ToolError(MODEL_FAILED, f"{place}: the answer is compressed although nobody asked for it")
        response.stream = Bounded(response.stream, place)

    return httpx2.AsyncClient(
        timeout=seconds, headers={"Accept-Encoding": "identity"}, event_hooks={"response": [bound]}
    )
