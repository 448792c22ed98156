"""The Flask application: REST API under /api/v1, its description under /api/docs, the web UI under /."""

from __future__ import annotations

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from edgepress_devices import __version__
from edgepress_server.api import (
    alert_channels,
    alert_rules,
    alert_silences,
    alerts,
    artifacts,
    audit,
    auditing,
    auth,
    body_limit,
    broker_auth,
    budgets,
    calibrations,
    chunks,
    datasets,
    delivery,
    device_pages,
    devices,
    docs,
    enrol,
    enrolment_codes,
    events,
    findings,
    groups,
    headers,
    health,
    jobs,
    keys,
    latency_distribution,
    metrics,
    model_stats,
    models,
    pages,
    people,
    predictions,
    problems,
    profiles,
    profiling,
    pushes,
    recipes,
    releases,
    renew,
    rollout_compare,
    rollout_pages,
    rollout_timeline,
    rollouts,
    sampling,
    searches,
    sessions,
    telemetry,
    telemetry_annotations,
    telemetry_models,
    telemetry_overview,
    telemetry_quarantine,
    telemetry_query,
)
from edgepress_server.api.context import EXTENSION, Context
from edgepress_server.api.stream import EventFan
from edgepress_server.settings import Settings, is_loopback
from edgepress_server.store import Store, open_store

JSON_MAX_BYTES = 1 << 20  # of any body that is no upload; uploads set their own limit

_SECTIONS = (
    health,
    sessions,
    people,
    profiles,
    calibrations,
    profiling,
    devices,
    device_pages,
    enrol,
    enrolment_codes,
    renew,
    models,
    datasets,
    recipes,
    jobs,
    searches,
    artifacts,
    predictions,
    releases,
    rollouts,
    rollout_pages,
    rollout_timeline,
    rollout_compare,
    groups,
    pushes,
    keys,
    delivery,
    chunks,
    telemetry,
    telemetry_query,
    telemetry_overview,
    telemetry_annotations,
    telemetry_models,
    telemetry_quarantine,
    latency_distribution,
    model_stats,
    sampling,
    budgets,
    findings,
    alerts,
    alert_rules,
    alert_silences,
    alert_channels,
    events,
    audit,
    broker_auth,
)


def create_app(settings: Settings, store: Store | None = None) -> OpenAPI:
    """The web role's application. ``store`` None: opened from ``settings.data_dir``.

    Raises StoreError when the store cannot be opened. Call ``app.extensions["edgepress"].fan.close()`` to
    end the live streams when the process stops.
    """
    app = OpenAPI(
        "edgepress_server",
        info=Info(
            title="edgepress",
            version=__version__,
            description="Compress neural networks per device, deliver them over MQTT, watch the fleet run "
            "them. Times are Unix milliseconds; null means absent, never 0 or -1.",
        ),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "description": "`edgepress token create NAME`"},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": auth.COOKIE,
                "description": f"Browsers; every request that writes also sends {auth.CSRF_HEADER}",
            },
        },
        doc_ui=False,  # served by `docs`, without inline scripts
        validation_error_status=400,
        validation_error_model=problems.ErrorBody,
        validation_error_callback=problems.invalid,
        static_folder=None,
    )
    if settings.public_url is not None and is_loopback(settings.host):
        # Only a proxy on this machine can reach us: what it says about the client is true.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = JSON_MAX_BYTES
    store = open_store(settings.data_dir) if store is None else store
    app.extensions[EXTENSION] = Context(settings=settings, store=store, fan=EventFan(store))
    problems.install(app)
    headers.install(app)
    auth.install(app)
    body_limit.install(app)
    auditing.install(app)
    for module in _SECTIONS:
        app.register_api(module.api)
    docs.install(app)
    metrics.install(app, store, devices_most=settings.metrics_devices)
    pages.install(app)
    return app
