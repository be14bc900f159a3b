"""The operator's file: templates, endpoints and tenants, as `STYLEQUEUE_OPERATOR_FILE` names them."""

from .file import OperatorFile, editing
from .tables import Endpoint, Operator, TenantLimits
from .templates import Template

__all__ = ["Endpoint", "Operator", "OperatorFile", "Template", "TenantLimits", "editing"]
