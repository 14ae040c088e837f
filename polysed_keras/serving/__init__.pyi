from .client import connect as connect
from .deployment import write_deployment as write_deployment
