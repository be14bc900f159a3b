"""What Prometheus scrapes: the deployment's metrics, and this process's own."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.core import Metric

from ..metrics import CONTENT_TYPE, counter, exposition, gauge
from .edge import Traffic
from .fleet import Looked
from .problems import document
from .state import GatewayState
from .streams import Streams

router = APIRouter(tags=["fleet"], responses=document())


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "In Prometheus's format."}
    },
)
async def get_metrics(request: Request, gateway: GatewayState, deployment: Looked) -> Response:
    """Scrape metrics: the same of any gateway or keeper, but for `stylequeue_gateway_...`, which are this process's.

    The label `group` names tenants: a tenant's group of consumers is called `tenant/group`.
    """
    beside = own(request.app.state.traffic, gateway.streams)
    return Response(exposition(await deployment.census(), beside), media_type=CONTENT_TYPE)


def own(traffic: Traffic, streams: Streams) -> list[Metric]:
    """Of this process alone."""
    by = ["method", "route", "status"]
    return [
        counter("gateway_requests", "Requests that this process answered.", by, traffic.counts),
        counter("gateway_request_seconds", "What they took, waiting for jobs' ends included.", by, traffic.seconds),
        gauge("gateway_open_streams", "Streams of events that it has open.", [], {(): len(streams.senders)}),
    ]
