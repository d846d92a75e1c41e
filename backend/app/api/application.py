"""Putting the application together, starting and stopping it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api import health, ingest, openapi, queries, runs
from app.api.connections import bound_connections
from app.api.edge import Edge
from app.api.shortcut import Shortcut
from app.archive.reads import Reads
from app.archive.retention import keep_bundle_retention
from app.archive.storage import Storage, storage_of
from app.auth.guard import Guard
from app.log.faults import Fault
from app.metrics import Metrics
from app.problems import EXPECTED
from app.settings import InvalidSettings, Settings, load_settings
from app.store.base import StoreUnavailable
from app.store.indexer import Indexer
from app.store.location import InvalidLocation
from app.store.retention import keep_retention
from app.store.schema import WrongSchema
from app.store.store import Store
from app.ui import oidc, pages
from app.ui.access import SignInNeeded
from app.ui.errors import answer

if TYPE_CHECKING:
    from app.archive.archive import Archive
    from app.store.sequencer import Sequencer

log = logging.getLogger("app")


class Application:
    """The ASGI application.

    Everything is opened when the server starts it, not when it is imported. A start that fails says why in one line.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._app is None:
            raise RuntimeError("the server has to run the application's lifespan: uvicorn --lifespan on")
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = load_settings()
            metrics = Metrics()
            provider = oidc.provider_of(settings)
            store = Store(settings, metrics)
            metrics.watch_waiting(lambda: store.waiting_events)
            storage = storage_of(settings, store.location)
        except (InvalidSettings, InvalidLocation) as error:
            await send({"type": "lifespan.startup.failed", "message": f"AIMgentix can't start: {error}"})
            return
        try:
            changed = await asyncio.to_thread(store.start)
        except (WrongSchema, StoreUnavailable) as error:
            await send({"type": "lifespan.startup.failed", "message": f"AIMgentix can't use {store.location}: {error}"})
            return
        guard = Guard(store, settings.auth, people=provider is not None)
        try:
            sequencer = await _open_log(settings, store, metrics)
        except (Fault, StoreUnavailable) as error:
            await asyncio.to_thread(store.stop)
            await send({"type": "lifespan.startup.failed", "message": f"AIMgentix can't open its log: {error}"})
            return
        archive = _archive_of(settings, store, storage, sequencer)
        reads = Reads(store, settings.read_minutes * 60)
        self._app = build(
            settings, store, guard, metrics, reads, sequencer=sequencer, archive=archive, provider=provider
        )
        if changed:
            log.info("schema brought up to date")
        bounded = bound_connections(scope, receive, settings)
        await _announce(settings, store, guard, storage)
        if not bounded:
            log.warning(
                "slow clients can keep connections, and a stop, waiting: only uvicorn with httptools is bounded"
            )
        indexer = Indexer(
            store, settings.verify_hours, [key.verifier for key in sequencer.guard.keys] if sequencer else []
        )
        metrics.watch_trails(lambda: indexer.trails)
        tasks = [asyncio.create_task(indexer.run()), asyncio.create_task(reads.run())]
        if settings.retention_days is not None:
            tasks.append(asyncio.create_task(keep_retention(store, settings.retention_days, metrics.expired)))
        if archive is not None:
            metrics.watch_archive(lambda: archive.failure is not None)
            tasks.append(asyncio.create_task(archive.watch()))
        if storage is not None and (settings.archive_retention_days or settings.archive_retention_agents):
            days, agents = settings.archive_retention_days, settings.archive_retention_agents
            tasks.append(asyncio.create_task(keep_bundle_retention(store, storage, days, agents)))
        # What was loaded stays: to look through it for garbage again and again took a tenth of the time of a request.
        gc.freeze()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if sequencer is not None:
            await sequencer.stop()
        # The server has finished all requests by now; what they wait for is stored before this returns.
        await asyncio.to_thread(store.stop)
        log.info("stopped; all acknowledged events are stored")
        await send({"type": "lifespan.shutdown.complete"})


async def _announce(settings: Settings, store: Store, guard: Guard, storage: Storage | None) -> None:
    kept = "all events are kept" if settings.retention_days is None else f"kept for {settings.retention_days} days"
    log.info("AIMgentix backend %s", __version__)
    log.info("stores in %s; %s", store.location, kept)
    if storage is None:
        log.info("keeps no bundles: set AIMGENTIX_ARCHIVE to a folder that all backends share, or to a bucket")
    else:
        log.info("keeps bundles in the %s", storage)
    protection = await guard.describe()
    log.log(logging.WARNING if settings.auth == "off" else logging.INFO, "%s", protection)


async def _open_log(settings: Settings, store: Store, metrics: Metrics) -> Sequencer | None:
    """Return the transparency log, running, or None when there is none.

    Raises:
        Fault: its key or its policy can't be read.
    """
    if settings.log_key is None:
        return None
    # Only then: what signs takes its time to load, and memory.
    from app.store.sequencer import open_sequencer

    sequencer = open_sequencer(store, settings.log_key, settings.log_policy, settings.log_seal_seconds)
    await sequencer.start()
    metrics.watch_log(lambda: sequencer.halted is not None)
    log.info("keeps the transparency log %s", sequencer.guard.origin)
    return sequencer


def _archive_of(
    settings: Settings, store: Store, storage: Storage | None, sequencer: Sequencer | None
) -> Archive | None:
    if storage is None:
        return None
    from app.archive.archive import Archive  # only then: what packs and hashes is of no use elsewhere

    return Archive(store, storage, settings.max_bundle_bytes, sequencer)


def build(
    settings: Settings,
    store: Store,
    guard: Guard,
    metrics: Metrics,
    reads: Reads,
    *,
    sequencer: Sequencer | None = None,
    archive: Archive | None = None,
    provider: oidc.Provider | None = None,
) -> ASGIApp:
    """Return the application around an open store.

    Args:
        reads: what records who reads.
        sequencer: the transparency log, if there is one.
        archive: what keeps bundles, if they are kept.
        provider: through whom people may sign in.
    """
    app = FastAPI(
        title="AIMgentix backend",
        version=__version__,
        summary="Keeps the audit events of agents.",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.store = store
    app.state.guard = guard
    app.state.metrics = metrics
    app.state.reads = reads
    routers = [ingest.router, queries.router, runs.router, health.router, pages.router]
    if sequencer is not None:
        from app.api import log as log_api

        app.state.log = sequencer
        routers.append(log_api.router)
    if provider is not None:
        app.state.oidc = provider
        routers.insert(0, oidc.router)  # before the answer to all pages that are not there
    if archive is not None:
        from app.api import archive as archive_api

        app.state.archive = archive
        routers.append(archive_api.router)
    for router in routers:
        # Flat, not include_router(): looking through nested routers would cost a request more than all of the storing.
        app.router.routes.extend(router.routes)
    for kind in (*EXPECTED, SignInNeeded):
        app.add_exception_handler(kind, answer)
    app.openapi = openapi.document_of(app)  # type: ignore[method-assign]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    inner: ASGIApp = Shortcut(app, [route for route in routes if route.methods == {"POST"}])
    if settings.cors_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Content-Encoding"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    return Edge(inner, metrics, access_log=settings.access_log)
