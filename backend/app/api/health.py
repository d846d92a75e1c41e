"""How the backend is."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app import __version__
from app.api import openapi
from app.api.body import JSON
from app.auth.guard import MaySeeMetrics
from app.metrics import CONTENT_TYPE, Metrics
from app.store.store import Store

router = APIRouter(tags=["health"])
# HEAD, too: load balancers ask so. The server leaves the body out.


@router.head("/", include_in_schema=False)
@router.get("/", **openapi.GET_ROOT)
async def root() -> Response:
    """Return what this is."""
    return _json({"name": "AIMgentix", "status": "operational", "version": __version__})


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", **openapi.GET_HEALTH)
async def healthz() -> Response:
    """Answer as long as the process can answer at all; restart it when it does not."""
    return _json({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", **openapi.GET_READY)
async def readyz(request: Request) -> Response:
    """Answer 200 when events can be stored now, else 503 with the reason; send no traffic then."""
    store: Store = request.app.state.store
    await store.check()
    archive = getattr(request.app.state, "archive", None)
    # Whoever keeps no bundles now still stores events: a proxy must not keep them away.
    said = {} if archive is None else {"archive": archive.failure or "ready"}
    return _json({"status": "ready"} | said)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", **openapi.GET_METRICS)
async def read_metrics(request: Request, _: MaySeeMetrics) -> Response:
    """Return the process' counters in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.render(), media_type=CONTENT_TYPE)


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type=JSON)
