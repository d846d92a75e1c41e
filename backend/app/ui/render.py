"""From a template to an answer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import HTMLResponse, Response

from app.ui import text
from app.ui.access import Reader, prefix_of

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).resolve().parent

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # a form that is sent without one has no origin that could be compared
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@cache
def _environment() -> Environment:
    # Only when the first page is wanted: most backends get none, and it takes its time to load.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": text.shown,
        "moment": text.moment,
        "machine": text.machine_moment,
        "clock": text.clock,
        "plain": text.plain,
        "counted": text.counted,
    }
    environment.globals["query"] = query
    return environment


def query(**parameters: Any) -> str:
    """Return the query of an address; what is None or empty is left out."""
    return urlencode({name: value for name, value in parameters.items() if value not in (None, "")})


def page(request: Request, name: str, reader: Reader | None, status: int = 200, **values: Any) -> Response:
    """Return a page.

    Args:
        reader: who gets it; None: somebody who isn't signed in.
    """
    values |= {"reader": reader, "ui": f"{prefix_of(request)}/ui", "has_log": hasattr(request.app.state, "log")}
    values["has_oidc"] = hasattr(request.app.state, "oidc")
    return HTMLResponse(_environment().get_template(name).render(values), status, HEADERS)
