"""Who asks: the key of a request, what its role may do, and the deployment as its tenant sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from ..aclient import AsyncStyleQueue
from ..contract.codes import Code
from ..contract.errors import Permanent
from ..contract.objects import ImageRef
from .keys import INCLUDES, Key, Role, is_mistyped
from .limits import take_turns
from .problems import Refused
from .state import Gateway, GatewayState

_bearer = HTTPBearer(
    scheme_name="key",
    bearerFormat="sq_<id>_<secret>_<crc32>",
    description="A key that `stylequeue keys new` made. It has a tenant, whose jobs alone it sees, and a role: `read`, "
    "`submit`, `admin` or `monitor`; what an operation needs stands with it.",
    auto_error=False,
)


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    key: Key
    queue: AsyncStyleQueue
    """The deployment as the key's tenant sees it: what is another's is not there."""

    @property
    def tenant(self) -> str | None:
        """Whose jobs these are; None: all are seen."""
        return self.key.tenant

    def may_read(self, image: ImageRef) -> bool:
        """Whether a job of the key's might name it, so that whoever has the key may see it."""
        if image.bucket not in self.queue.settings.read_buckets:
            return False
        try:
            if scope := self.key.scope:
                scope.check_image(image, tenant=self.tenant)
        except Permanent:
            return False
        return True

    @property
    def role(self) -> Role:
        """What it may do."""
        return self.key.role


async def _caller(
    needed: SecurityScopes,
    request: Request,
    gateway: GatewayState,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    key = _key(gateway, credentials)
    request.state.key_id = key.id
    for role in needed.scopes:
        if role not in INCLUDES[key.role]:
            raise Refused(
                Code.FORBIDDEN,
                f"a key of the role {key.role!r} may not do this",
                f"it takes one of the role {role!r}: `stylequeue keys new --role {role}`",
            )
    caller = Caller(key, gateway.queue_of(key))
    await take_turns(request, caller.queue)
    return caller


async def check_key(request: Request) -> None:
    """Return if the request bears a key that is known. Raises Refused."""
    _key(request.app.state.gateway, await _bearer(request))


def _key(gateway: Gateway, credentials: HTTPAuthorizationCredentials | None) -> Key:
    text = credentials.credentials if credentials else ""
    key = gateway.keys.find(text)
    if key is None:
        raise _unauthenticated(text)
    return key


def _unauthenticated(text: str) -> Refused:
    if not text:
        what = "the request bears no key"
    elif is_mistyped(text):
        what = "what the request bears is no key: it was cut, or a character is wrong"
    else:
        what = "the key is not known, or no longer"
    hint = "send `Authorization: Bearer sq_...`; `stylequeue keys new` makes a key"
    return Refused(Code.UNAUTHENTICATED, what, hint, {"WWW-Authenticate": 'Bearer realm="stylequeue"'})


Anyone = Annotated[Caller, Security(_caller, scopes=[])]
"""Of a route: who asks, whatever the key's role."""
Reader = Annotated[Caller, Security(_caller, scopes=["read"])]
"""Likewise, if the role may look at jobs; else the answer is 401 or 403."""
Submitter = Annotated[Caller, Security(_caller, scopes=["submit"])]
"""Likewise, if it may hand jobs in."""
Admin = Annotated[Caller, Security(_caller, scopes=["admin"])]
"""Likewise, if it may do all."""
Monitor = Annotated[Caller, Security(_caller, scopes=["monitor"])]
"""Likewise, if it may see how the deployment fares."""
