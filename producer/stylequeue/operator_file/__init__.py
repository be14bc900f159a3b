"""The operator's file: templates, endpoints and tenants, as `STYLEQUEUE_OPERATOR_FILE` names them."""

from .endpoints import Endpoint
from .file import OperatorFile, editing
from .rules import Rule
from .sources import Source
from .tables import MAX_NOTIFY, Operator, TenantLimits
from .templates import Template

__all__ = [
    "MAX_NOTIFY",
    "Endpoint",
    "Operator",
    "OperatorFile",
    "Rule",
    "Source",
    "Template",
    "TenantLimits",
    "editing",
]
